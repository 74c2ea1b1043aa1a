"""Band roles and the camera come from evidence that agrees, or are refused."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.rasters import P4M, scene, write
from uavssr.errors import InputRefused, UsageError
from uavssr.io.msi.request import Request
from uavssr.io.msi.source import MsiSource, open_msi
from uavssr.sensors import SENSORS, Band, Sensor
from uavssr.tiling import Window

COMMAND = r"uavssr reconstruct \S*field\.tif "


@given(order=st.permutations(range(5)))
def test_any_order_of_named_bands_is_found(
    tmp_path_factory: pytest.TempPathFactory, order: list[int]
) -> None:
    Y = scene(height=4, width=4)
    path = write(
        tmp_path_factory.mktemp("order") / "f.tif", Y[order], names=[P4M[i] for i in order]
    )
    source = open_msi(path, sensor="p4m")
    np.testing.assert_array_equal(source.read(Window(0, 0, 4, 4))[0], Y)
    assert [band.index - 1 for band in source.summary.bands] == [order.index(i) for i in range(5)]


@pytest.mark.parametrize(
    ("evidence", "text"),
    [
        ({"colours": ("blue", "green", "red", "rededge", "nir")}, "colour interpretation rededge"),
        ({"wavelengths": (450, 560, 650, 730, 840)}, "wavelength tag 730 nm"),
        ({"names": P4M, "wavelengths": (450, 560, 650, 730, 840)}, "description 'RedEdge', wave"),
    ],
)
def test_bands_are_found_by_other_evidence(
    tmp_path: Path, evidence: dict[str, object], text: str
) -> None:
    path = write(tmp_path / "field.tif", scene(), **({"names": None} | evidence))
    assert text in open_msi(path, sensor="p4m").summary.bands[3].evidence


def test_bands_without_evidence_are_refused_with_a_command(tmp_path: Path) -> None:
    """RELIABILITY row 14: five bands are not evidence that they are the usual five."""
    path = write(tmp_path / "field.tif", scene(), names=None)
    command = rf"{COMMAND}--sensor rededge3 --bands ROLE,ROLE,ROLE,ROLE,ROLE --out"
    with pytest.raises(InputRefused, match=rf"band 4 = unnamed.*expected each of.*{command}"):
        open_msi(path, sensor="rededge3")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("Blue", "Green", "Red", "NIR"), "band 4 = nir; expected"),
        ((*P4M, "Yellow edge thing"), "band 6 = rededge"),
        ((*P4M, None), "band 6 = unnamed"),
        (("Red", "Green", "Blue"), "band 3 = blue; expected"),
        (("Blue", "Blue", "Red", "RedEdge", "NIR"), "band 2 = blue"),
        (("Blue-475", "Green-560", "Red-668", "RedEdge-717", "NIR-842"), "description 'Blue-475'"),
    ],
)
def test_wrong_bands_are_listed_with_what_was_expected(
    tmp_path: Path, names: tuple[str | None, ...], found: str
) -> None:
    """RELIABILITY row 14."""
    path = write(tmp_path / "field.tif", scene(len(names)), names=names)
    with pytest.raises(InputRefused, match=found) as caught:
        open_msi(path, sensor="p4m")
    assert "expected each of blue, green, red, rededge, nir of p4m once" in str(caught.value)


def test_proposed_command_works(tmp_path: Path) -> None:
    """A five-band file taken for a four-band camera: the extra band is skipped by name."""
    path = write(tmp_path / "field.tif", scene())
    with pytest.raises(InputRefused, match="--bands skip,green,red,rededge,nir --out"):
        open_msi(path, sensor="sequoia")
    source = open_msi(path, sensor="sequoia", bands=["skip", "green", "red", "rededge", "nir"])
    assert [band.index for band in source.summary.bands] == [2, 3, 4, 5]


@pytest.mark.parametrize("name", ["LWIR", "Panchro"])
def test_band_of_another_kind_is_left_out(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "field.tif", scene(6), names=(*P4M, name))
    assert open_msi(path, sensor="altum").summary.left_out == (f"band 6 (description {name!r})",)


def test_refusal_of_many_bands_stays_short(tmp_path: Path) -> None:
    path = write(tmp_path / "cube.tif", scene(100, 5, 5), names=None)
    with pytest.raises(InputRefused, match="band 16 = unnamed and 84 more; expected") as caught:
        open_msi(path, sensor="p4m")
    assert len(str(caught.value)) < 1500


def test_alpha_is_no_matter_of_place(tmp_path: Path) -> None:
    names = ("Green", "Red", "RedEdge", "NIR")
    path = write(tmp_path / "field.tif", scene(4), names=names)
    assert open_msi(path, sensor="m3m").summary.mask_evidence.startswith("no nodata tag, alpha")
    odd = write(tmp_path / "odd.tif", scene(6), names=(*P4M, "Alpha"), alpha="yes")
    with pytest.raises(InputRefused, match=r"description 'Green' disagrees with .* alpha"):
        open_msi(odd, sensor="p4m")


def test_evidence_that_disagrees_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "field.tif", scene(), wavelengths=(450, 560, 840, 730, 650))
    fact = r"band 3: description 'Red' disagrees with wavelength tag 840 nm"
    with pytest.raises(InputRefused, match=rf"{fact}.*{COMMAND}.*--bands"):
        open_msi(path, sensor="p4m")
    colours = ("red", "green", "blue", "undefined", "undefined")
    path = write(tmp_path / "field.tif", scene(), colours=colours)
    with pytest.raises(InputRefused, match="disagrees with colour interpretation red"):
        open_msi(path, sensor="p4m")


def test_bands_option_overrules_colours_with_a_warning(tmp_path: Path) -> None:
    """GDAL by default marks four bands of bytes as red, green, blue and alpha."""
    numbers = (scene(4) * 255).astype("uint8")
    path = write(tmp_path / "field.tif", numbers, names=None, photometric="RGB", alpha="yes")
    roles = ["green", "red", "rededge", "nir"]
    source = open_msi(path, sensor="m3m", bands=roles, scale="1/255")
    assert [band.index for band in source.summary.bands] == [1, 2, 3, 4]
    assert (
        "band 4 is nir as asked, against its colour interpretation alpha" in source.summary.warnings
    )
    assert source.summary.mask_evidence.startswith("no nodata tag, alpha")


@pytest.mark.parametrize(
    "options", [{"bands": ["red", "green", "blue", "rededge", "nir"]}, {"bidx": [3, 2, 1, 4, 5]}]
)
def test_options_overrule_descriptions_and_wavelengths_with_a_warning(
    tmp_path: Path, options: dict[str, object]
) -> None:
    """The summary names the evidence against the options."""
    Y = scene()
    path = write(tmp_path / "field.tif", Y, wavelengths=(450, 560, 650, 730, 840))
    source = open_msi(path, sensor="p4m", **options)
    np.testing.assert_array_equal(source.read(Window(0, 0, 40, 50))[0], Y[[2, 1, 0, 3, 4]])
    warning = "band 1 is red as asked, against its description 'Blue' and wavelength tag 450 nm"
    assert warning in source.summary.warnings
    assert len(source.summary.warnings) == 2


def test_proposed_command_resolves_a_disagreement(tmp_path: Path) -> None:
    names = ("Red", "Green", "Blue", "NIR", "RedEdge", "Extra")
    path = write(
        tmp_path / "field.tif", scene(6), names=names, wavelengths=(650, 560, 450, 650, 730, 500)
    )
    with pytest.raises(InputRefused, match="'NIR' disagrees with wavelength tag 650 nm") as caught:
        open_msi(path, sensor="p4m")
    source = follow(caught.value)
    assert [band.index for band in source.summary.bands] == [3, 2, 1, 5, 4]
    assert any("against its wavelength tag 650 nm" in text for text in source.summary.warnings)


def follow(error: InputRefused) -> MsiSource:
    """Open the input with the command at the end of an error."""
    words = shlex.split(str(error)[str(error).index("uavssr reconstruct") :])[2:]
    first = next(i for i, word in enumerate(words) if word.startswith("--"))
    options = dict(zip(words[first::2], words[first + 1 :: 2], strict=True))
    assert options.pop("--out").endswith("_cube.tif")
    bands, bidx = options.pop("--bands", None), options.pop("--bidx", None)
    return open_msi(
        words[:first],
        bands=bands.split(",") if bands else None,
        bidx=[int(text) for text in bidx.split(",")] if bidx else None,
        **{key[2:].replace("-", "_"): value for key, value in options.items()},
    )


@pytest.mark.parametrize(
    ("names", "bands"),
    [
        (None, "ROLE,ROLE,ROLE,ROLE,ROLE"),
        ((*[None] * 6,), "ROLE,ROLE,ROLE,ROLE,ROLE,ROLE"),
        (("Red", "Green", "Blue", None, None), "red,green,blue,ROLE,ROLE"),
        (("Blue", "Blue", "Red", "RedEdge", "NIR"), "ROLE,ROLE,red,rededge,nir"),
        (
            ("Blue-475", "Green-560", "Red-668", "RedEdge-717", "NIR-842"),
            "ROLE,green,ROLE,ROLE,nir",
        ),
        ((*P4M[:4], "Extra", None), "blue,green,red,rededge,ROLE,ROLE"),
    ],
    ids=[
        "stripped",
        "a mosaic of another program",
        "two unnamed",
        "blue twice",
        "other camera",
        "one of two",
    ],
)
def test_order_of_unnamed_bands_is_never_proposed(
    tmp_path: Path, names: tuple[str | None, ...] | None, bands: str
) -> None:
    """A guess that is followed word for word would give a wrong cube; elimination is one too."""
    path = write(tmp_path / "field.tif", scene(len(names or P4M)), names=names)
    with pytest.raises(InputRefused, match=rf"--bands {bands} --out") as caught:
        open_msi(path, sensor="p4m")
    assert "OpenDroneMap red, green, blue, NIR, red edge" in str(caught.value)


def test_command_that_leaves_an_unnamed_extra_band_out_works(tmp_path: Path) -> None:
    path = write(tmp_path / "field.tif", scene(6), names=(*P4M, None))
    with pytest.raises(InputRefused, match="as they are, in file order") as caught:
        open_msi(path, sensor="p4m")
    assert "OpenDroneMap" not in str(caught.value)
    assert follow(caught.value).sensor == SENSORS["p4m"]


def test_proposed_command_keeps_bidx(tmp_path: Path) -> None:
    path = write(tmp_path / "field.tif", (scene(6) * 8000).astype("uint16"), names=None)
    bands = ["blue", "green", "red", "rededge", "nir"]
    with pytest.raises(InputRefused, match=r"--bands \S+ --bidx 6,5,4,3,2 --scale") as caught:
        open_msi(path, sensor="p4m", bidx=[6, 5, 4, 3, 2], bands=bands)
    assert [band.index for band in follow(caught.value).summary.bands] == [6, 5, 4, 3, 2]
    request = Request(paths=(path,), bidx=(6, 5), bands=["nir", "red"])
    assert "--bands nir,red --bidx 6,5 --out" in request.command()


def test_error_for_too_few_bands_names_the_cameras_that_fit(tmp_path: Path) -> None:
    path = write(tmp_path / "field.tif", scene(4), names=None)
    with pytest.raises(
        InputRefused, match=r"p4m needs 5 bands; found 4 \(cameras with 4: m3m, sequoia\)"
    ):
        open_msi(path, sensor="p4m")


def test_unnamed_bands_without_a_sensor_are_refused_with_the_cameras(tmp_path: Path) -> None:
    """The number of bands is no evidence, so the user must name camera and order."""
    path = write(tmp_path / "field.tif", scene(), names=None)
    command = rf"{COMMAND}--sensor NAME --bands ROLE,ROLE,ROLE,ROLE,ROLE --out"
    with pytest.raises(InputRefused, match=rf"with 5 bands: p4m, rededge3, altum.*{command}"):
        open_msi(path)


def test_unnamed_bands_that_fit_no_camera_are_refused_with_the_known_ones(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "cube.tif", scene(13, 5, 5), names=None)
    with pytest.raises(InputRefused, match=r"13 bands .*p4m \(5\).*--sensor NAME --bands ROLE"):
        open_msi(path)
    with pytest.raises(InputRefused, match=r"--sensor NAME --bidx 7,8 --out"):
        open_msi(path, bidx=[7, 8])


def test_bands_option_names_the_bands_in_file_order(tmp_path: Path) -> None:
    Y = scene()
    path = write(tmp_path / "field.tif", np.concatenate([Y[[2, 1, 0, 4, 3]], Y[:1]]), names=None)
    names = ["Red", "green", "B", "NIR", "red edge", "skip"]
    source = open_msi(path, sensor="p4m", bands=names)
    np.testing.assert_array_equal(source.read(Window(0, 0, 40, 50))[0], Y)
    by_index = open_msi(path, sensor="p4m", bidx=[3, 2, 1, 5, 4])
    np.testing.assert_array_equal(by_index.read(Window(0, 0, 40, 50))[0], Y)
    both = open_msi(path, sensor="p4m", bidx=[1, 2, 3, 4, 5], bands=names[:5])
    np.testing.assert_array_equal(both.read(Window(0, 0, 40, 50))[0], Y)
    assert both.summary.left_out == ("band 6 (not asked for)",)


@pytest.mark.parametrize(
    ("options", "error", "fact"),
    [
        ({"bands": ["blue", "violet"]}, UsageError, "'violet' is no band of p4m"),
        ({"bands": ["blue", "blue", "red", "nir", "rededge"]}, UsageError, "names blue twice"),
        ({"bands": ["blue", "green"]}, InputRefused, r"2 roles \(blue, green\)"),
        ({"bidx": [0, 1, 2, 3, 4]}, UsageError, "from 1"),
        ({"bidx": [1, 1, 2, 3, 4]}, UsageError, "each once"),
        ({"bidx": [1, 2, 3, 4, 6]}, InputRefused, "--bidx 6, but 5 bands"),
        ({"bidx": [1, 2]}, InputRefused, "--bidx selects 2"),
        ({"scale": "0"}, UsageError, "positive"),
        ({"scale": "a lot"}, UsageError, "is no number"),
        ({"sensor": "p5m"}, UsageError, "unknown sensor"),
    ],
)
def test_bad_options_and_wrong_inputs_raise_different_errors(
    tmp_path: Path, options: dict[str, object], error: type[Exception], fact: str
) -> None:
    path = write(tmp_path / "field.tif", scene(), names=None)
    with pytest.raises(error, match=fact):
        open_msi(path, **({"sensor": "p4m"} | options))


def test_users_own_sensor_is_matched_by_its_role_names(tmp_path: Path) -> None:
    bands = (Band(role="v1", centre=550, fwhm=20), Band(role="v2", centre=555, fwhm=20))
    camera = Sensor(name="mine", bands=bands)
    path = write(tmp_path / "field.tif", scene(2), names=("V2", "V1"))
    source = open_msi(path, sensor=camera)
    assert [band.index for band in source.summary.bands] == [2, 1]
    assert source.summary.sensor == "mine"


@pytest.mark.parametrize(
    ("tags", "sensor"),
    [
        ({"sensor": "p4m"}, "p4m"),
        ({"SENSOR": "MicaSense Altum"}, "altum"),
        ({"camera": "FC6360"}, "p4m"),
        ({"model": "DJI P4 Multispectral"}, "p4m"),
    ],
)
def test_sensor_is_found_by_a_tag(tmp_path: Path, tags: dict[str, str], sensor: str) -> None:
    source = open_msi(write(tmp_path / "field.tif", scene(), tags=tags))
    assert source.sensor == SENSORS[sensor]
    assert source.summary.sensor_evidence.startswith("tag ")


def test_sensor_is_found_by_its_wavelengths(tmp_path: Path) -> None:
    path = write(tmp_path / "field.tif", scene(), names=None, wavelengths=(450, 560, 650, 730, 840))
    source = open_msi(path)
    assert source.sensor == SENSORS["p4m"]
    assert source.summary.sensor_evidence == "wavelength tags of every band"


@pytest.mark.parametrize(
    "evidence",
    [
        {"names": P4M},
        {"names": P4M, "tags": {"model": "RedEdge"}},
        {"names": None, "wavelengths": (475, 560, 668, 717, 840)},
    ],
    ids=["colour names", "a name of several cameras", "wavelengths of two cameras"],
)
def test_unknown_sensor_is_refused_with_those_that_fit(
    tmp_path: Path, evidence: dict[str, object]
) -> None:
    """Several cameras have the bands blue, green, red, red edge and NIR."""
    path = write(tmp_path / "field.tif", scene(), **evidence)
    with pytest.raises(InputRefused, match=rf"fit .*rededge3, altum.*{COMMAND}--sensor \S+ --out"):
        open_msi(path)


def test_sensor_of_a_tag_is_overruled_with_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path / "field.tif", scene(), tags={"camera": "FC6360"})
    warnings = open_msi(path, sensor="altum").summary.warnings
    assert any("taken as altum as asked" in text for text in warnings)
