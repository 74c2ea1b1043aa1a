"""The scale of an image comes from the user or from clear evidence, or is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.helpers.rasters import P4M, scene, write
from uavssr.errors import InputRefused, UsageError
from uavssr.io.msi.source import open_msi
from uavssr.io.raster import parse_scale
from uavssr.sensors import SENSORS
from uavssr.tiling import Window


@pytest.mark.parametrize(("text", "value"), [("1/32768", 1 / 32768), ("1e-4", 1e-4), (0.5, 0.5)])
def test_scale_may_be_a_fraction(text: float | str, value: float) -> None:
    assert parse_scale(text) == value


@pytest.mark.parametrize(
    "text",
    [
        *("", "1/0", "-1", "nan", "inf", "1e999", 0.0, float("nan"), "1e-999", "-1/-2", "0/1"),
        *("1/2/3", "/2", "1/", "1e300/1e-300", "1" * 41, "1/nan", "0" * 10**6),
    ],
)
def test_scale_must_be_a_positive_number(text: float | str) -> None:
    with pytest.raises(UsageError):
        parse_scale(text)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", ["1e-30000000", "1e30000000", "1/1e-30000000"])
def test_scale_with_a_huge_exponent_is_refused_at_once(tmp_path: Path, text: str) -> None:
    """As an exact fraction it would have thirty million digits."""
    with pytest.raises(UsageError):
        parse_scale(text)
    numbers = (scene() * 10000).astype("uint16")
    path = write(tmp_path / "field.tif", numbers, tags={"scale_factor": text})
    with pytest.raises(InputRefused, match="no evidence"):
        open_msi(path, sensor="p4m")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_given_scale_is_applied(tmp_path: Path, dtype: str) -> None:
    """RELIABILITY row 16."""
    numbers = (scene() * 250).astype(dtype)
    path = write(tmp_path / "field.tif", numbers)
    source = open_msi(path, sensor="p4m", scale="1/250")
    values, _ = source.read(Window(0, 0, 40, 50))
    np.testing.assert_allclose(values, numbers / 250.0, rtol=1e-6)
    assert source.summary.scale_evidence == "as given"


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32"])
def test_ambiguous_scale_is_refused_with_the_candidates(tmp_path: Path, dtype: str) -> None:
    """RELIABILITY row 16."""
    top = 250 if dtype == "uint8" else 11000
    path = write(tmp_path / "field.tif", (scene() * top).astype(dtype))
    with pytest.raises(InputRefused, match=rf"{dtype} numbers mean.*scale \S+ would make") as err:
        open_msi(path, sensor="p4m")
    assert "uavssr reconstruct" in str(err.value)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_float_reflectance_needs_no_scale(tmp_path: Path, dtype: str) -> None:
    """RELIABILITY row 16."""
    source = open_msi(write(tmp_path / "field.tif", scene().astype(dtype)), sensor="p4m")
    assert "reflectance" in source.summary.scale_evidence
    assert {band.scale for band in source.summary.bands} == {1.0}


@pytest.mark.parametrize("sensor", ["p4m", "rgb"])
def test_error_for_bytes_proposes_the_scale_of_bytes(tmp_path: Path, sensor: str) -> None:
    """RELIABILITY row 16: a scale that makes it black is never proposed."""
    numbers = (scene() * 255).clip(1, 255).astype("uint8")[: len(SENSORS[sensor])]
    path = write(tmp_path / "field.tif", numbers, names=None)
    roles = [band.role for band in SENSORS[sensor].bands]
    with pytest.raises(InputRefused) as refused:
        open_msi(path, sensor=sensor, bands=roles)
    assert "--scale 1/255" in str(refused.value.remedy)
    assert "1/32768" not in str(refused.value)


def test_scale_that_makes_a_scene_black_gives_a_warning(tmp_path: Path) -> None:
    """RELIABILITY row 16."""
    numbers = (scene() * 255).astype("uint8")
    source = open_msi(write(tmp_path / "field.tif", numbers), sensor="p4m", scale="1/32768")
    assert any("implausible" in warning for warning in source.summary.warnings)


def test_scale_tags_are_used(tmp_path: Path) -> None:
    """RELIABILITY row 16."""
    numbers = (scene() * 10000).astype("uint16")
    path = write(tmp_path / "field.tif", numbers, scales=[1e-4] * 5)
    source = open_msi(path, sensor="p4m")
    np.testing.assert_allclose(source.read(Window(0, 0, 40, 50))[0], numbers * 1e-4, rtol=1e-6)
    assert source.summary.scale_evidence == "GDAL scale and offset tags"


@pytest.mark.parametrize(
    ("tags", "top", "scale"),
    [
        ({"TIFFTAG_SOFTWARE": "Agisoft Metashape Professional"}, 32768, 1 / 32768),
        ({"reflectance_scale_factor": "10000"}, 10000, 1e-4),
        ({"reflectance_scale": "1/32768"}, 32768, 1 / 32768),
        ({"QUANTIFICATION_VALUE": "10000"}, 10000, 1e-4),
    ],
)
def test_scale_is_found_by_a_tag(
    tmp_path: Path, tags: dict[str, str], top: float, scale: float
) -> None:
    path = write(tmp_path / "field.tif", (scene() * top).astype("uint16"), tags=tags)
    source = open_msi(path, sensor="p4m")
    assert source.summary.bands[0].scale == scale
    assert "TIFFTAG_SOFTWARE" in tags or next(iter(tags)).lower() in source.summary.scale_evidence


@pytest.mark.parametrize(
    ("sensor", "top", "known"),
    [
        ("rededge3", 32768, True),
        ("p4m", 32768, False),
        ("rededge3", 10000, False),
        ("rededge3", 100_000, False),
    ],
    ids=["convention", "other producer", "10000 fits too", "raw counts"],
)
def test_micasense_convention_is_used_only_if_no_other_fits(
    tmp_path: Path, sensor: str, top: float, *, known: bool
) -> None:
    path = write(tmp_path / "field.tif", (scene() * top).clip(0, 65535).astype("uint16"))
    if known:
        source = open_msi(path, sensor=sensor)
        assert source.summary.bands[0].scale == 1 / 32768
        assert any("confirm it with --scale" in text for text in source.summary.warnings)
    else:
        with pytest.raises(InputRefused, match="no evidence"):
            open_msi(path, sensor=sensor)


def test_radiance_is_refused(tmp_path: Path) -> None:
    tags = {"description": "RADIANCE, uW/cm2"}
    path = write(tmp_path / "field.tif", scene(), tags=tags)
    with pytest.raises(InputRefused, match="says radiance"):
        open_msi(path, sensor="p4m")


@pytest.mark.parametrize("given", [None, 0.01], ids=["by tags", "as given"])
def test_scale_that_cannot_be_right_is_refused(tmp_path: Path, given: float | None) -> None:
    path = write(tmp_path / "field.tif", (scene() * 10000).astype("uint16"), scales=[0.01] * 5)
    with pytest.raises(InputRefused, match=r"median reflectance would be 3.*--scale 0\.0001 "):
        open_msi(path, sensor="p4m", scale=given)


@pytest.mark.parametrize(
    ("dtype", "top", "scale"),
    [
        ("uint8", 250, "1/255"),
        ("uint8", 75, "NUMBER"),
        ("uint16", 7000, "0.0001"),
        ("uint16", 15000, "NUMBER"),
        ("uint16", 40000, "1/32768"),
        ("uint16", 75000, "NUMBER"),
        ("int16", 7000, "0.0001"),
        ("int16", 32768, "NUMBER"),
        ("int32", 10000, "0.0001"),
        ("float32", 100, "0.01"),
        ("float32", 10000, "0.0001"),
        ("float64", 255, "NUMBER"),
        ("float32", 32768, "NUMBER"),
        ("float32", 10, "NUMBER"),
    ],
)
def test_proposed_scale_fits_type_and_values(
    tmp_path: Path, dtype: str, top: float, scale: str
) -> None:
    """RELIABILITY row 16: a placeholder where none or several would make a usual scene."""
    path = write(tmp_path / "field.tif", (scene() * top).astype(dtype))
    with pytest.raises(InputRefused, match=rf"--scale {re.escape(scale)} --out"):
        open_msi(path, sensor="p4m")


def test_micasense_image_is_never_proposed_the_scale_of_others(tmp_path: Path) -> None:
    """Its numbers of 1,300 to 3,700 look like 10000 = 100 % and mean 32768 = 100 %."""
    path = write(tmp_path / "field.tif", (scene() * 6000).astype("uint16"))
    with pytest.raises(InputRefused, match=r"scale 1/32768 would make.*--scale NUMBER --out"):
        open_msi(path, sensor="altum")


METASHAPE = {"TIFFTAG_SOFTWARE": "Agisoft Metashape Professional 1.7.2"}


@pytest.mark.parametrize(
    ("counts", "fact"),
    [
        (4096 + scene() * 40000, "no band has more than 1 % of numbers below 5"),
        (3200 + scene() * 50000, "no band has more than 1 % of numbers below 4"),
        (scene() * 2000 // 1 * 16, "multiples of 16"),
        (scene() * 500 // 1 * 64, "multiples of 64"),
    ],
    ids=["black level of a P4M", "black level of an M3M", "12 bits", "10 bits"],
)
@pytest.mark.parametrize("sensor", ["p4m", "rededge3"])
def test_raw_counts_are_no_reflectance_whoever_wrote_them(
    tmp_path: Path, counts: np.ndarray, fact: str, sensor: str
) -> None:
    """RELIABILITY row 51."""
    path = write(tmp_path / "field.tif", counts.astype("uint16"), tags=METASHAPE)
    with pytest.raises(InputRefused, match=rf"{fact}.*--scale NUMBER"):
        open_msi(path, sensor=sensor)
    source = open_msi(path, sensor=sensor, scale="1/32768")
    assert source.summary.scale_evidence == "as given"


def test_scale_by_metashape_alone_has_to_be_confirmed(tmp_path: Path) -> None:
    path = write(tmp_path / "field.tif", (scene() * 32768).astype("uint16"), tags=METASHAPE)
    warning = "Metashape's convention, no tag states it; confirm it with --scale"
    assert any(warning in text for text in open_msi(path, sensor="p4m").summary.warnings)
    assert open_msi(path, sensor="p4m", scale="1/32768").summary.warnings == ()


@pytest.mark.parametrize("odd", [0, 4])
@pytest.mark.parametrize("count", [1, 4], ids=["one without its tag", "one with a tag"])
def test_band_whose_scale_tag_is_missing_is_named(tmp_path: Path, odd: int, count: int) -> None:
    """RELIABILITY row 49: both scales are named, and the command works."""
    numbers = (scene() * 10000).astype("uint16")
    scales = [1.0 if (k == odd) == (count == 1) else 1e-4 for k in range(5)]
    path = write(tmp_path / "field.tif", numbers, scales=scales)
    band = odd + 1 if count == 1 else (odd + 1) % 5 + 1
    fact = rf"scales (0\.0001, 1|1, 0\.0001) \(.*band {band} \(scale 1\) would be"
    with pytest.raises(InputRefused, match=rf"{fact}.*--scale 0\.0001 --out"):
        open_msi(path, sensor="p4m")
    source = open_msi(path, sensor="p4m", scale="0.0001")
    np.testing.assert_allclose(source.read(Window(0, 0, 40, 50))[0], numbers * 1e-4, rtol=1e-6)
    assert any("replaces the file's own" in text for text in source.summary.warnings)


def test_file_without_the_scale_tag_of_the_others_is_named(tmp_path: Path) -> None:
    numbers = (scene() * 10000).astype("uint16")
    files = [
        write(tmp_path / f"{name}.tif", band[None], names=None, scales=None if k == 3 else [1e-4])
        for k, (name, band) in enumerate(zip(P4M, numbers, strict=True))
    ]
    with pytest.raises(InputRefused, match=r"RedEdge\.tif \(scale 1\) would be 3"):
        open_msi(files, sensor="p4m")


def test_different_scales_and_offsets_are_used_where_every_band_is_plausible(
    tmp_path: Path,
) -> None:
    """Satellite products hold an offset; bands may have their own factors."""
    Y, scales = scene(), [2.75e-5, 1e-4, 5e-5, 1e-4, 2e-5]
    numbers = np.stack([(band + 0.2) / scale for band, scale in zip(Y, scales, strict=True)])
    path = write(tmp_path / "field.tif", numbers.astype("uint16"), scales=scales)
    with rasterio.open(path, "r+") as file:
        file.offsets = [-0.2] * 5
    source = open_msi(path, sensor="p4m")
    assert source.summary.warnings == ()
    np.testing.assert_allclose(source.read(Window(0, 0, 40, 50))[0], Y, atol=2e-4)


@pytest.mark.parametrize("scale", [None, "1"], ids=["by range", "as given"])
@pytest.mark.parametrize("factor", [1e-4, 1 / 32768, 1000, -1])
def test_given_scale_is_checked_on_every_band(
    tmp_path: Path, factor: float, scale: str | None
) -> None:
    """RELIABILITY row 49."""
    numbers = scene()
    numbers[4] *= factor
    path = write(tmp_path / "field.tif", numbers)
    fact = "one scale" if factor == 1000 and scale is None else "band 5"
    with pytest.raises(InputRefused, match=fact):
        open_msi(path, sensor="p4m", scale=scale)


def test_bands_of_reflectance_and_per_cent_are_not_given_one_scale(tmp_path: Path) -> None:
    numbers = scene()
    numbers[2] *= 100
    path = write(tmp_path / "field.tif", numbers)
    with pytest.raises(InputRefused, match=r"band \d: do all bands have one scale.*scale NUMBER"):
        open_msi(path, sensor="p4m")
    with pytest.raises(InputRefused, match="median reflectance of band 3 would be 3"):
        open_msi(path, sensor="p4m", scale=1)


TAGGED = {"scale_factor": "0.0001"}


@pytest.mark.parametrize(
    ("tags", "fact"),
    [
        (
            {"scale_factor": "1/32768"},
            r"=1/32768, but \S+Blue\.tif states tag scale_factor=0\.0001",
        ),
        ({}, r"states no scale, but \S+Blue\.tif states tag scale_factor=0\.0001"),
        (TAGGED | {"add_offset": "-0.1"}, "states no scale, but"),
        (TAGGED | {"description": "Radiance"}, "its description says radiance"),
        ({"quantification_value": "10000"}, ""),
    ],
)
@pytest.mark.parametrize("odd", ["Red", "NIR"])
def test_files_of_a_set_must_state_one_scale(
    tmp_path: Path, tags: dict[str, str], fact: str, odd: str
) -> None:
    """RELIABILITY row 49: whether the file that differs is the last one or not."""
    numbers = (scene() * 10000).astype("uint16")
    files = [
        write(
            tmp_path / f"{name}.tif", band[None], names=None, tags=tags if name == odd else TAGGED
        )
        for name, band in zip(P4M, numbers, strict=True)
    ]
    if not fact:
        assert open_msi(files, sensor="p4m").summary.scale == 0.0001
        return
    with pytest.raises(InputRefused, match=fact) as refused:
        open_msi(files, sensor="p4m")
    assert refused.value.path == tmp_path / f"{odd}.tif"
    assert open_msi(files, sensor="p4m", scale="1/10000").summary.scale == 0.0001


def test_file_of_a_band_that_is_left_out_has_no_say_in_the_scale(tmp_path: Path) -> None:
    numbers = (scene(6) * 10000).astype("uint16")
    files = [
        write(tmp_path / f"{k}.tif", band[None], names=None, tags=TAGGED if k < 5 else None)
        for k, band in enumerate(numbers)
    ]
    roles = [*SENSORS["p4m"].roles, "skip"]
    assert open_msi(files, sensor="p4m", bands=roles).summary.scale == 0.0001


def test_files_of_two_cameras_are_no_set(tmp_path: Path) -> None:
    files = [
        write(tmp_path / f"{name}.tif", band[None], names=None, tags={"sensor": sensor})
        for name, band, sensor in zip(P4M, scene(), ["p4m"] * 4 + ["altum"], strict=True)
    ]
    fact = r"NIR\.tif: its tag sensor='altum' names altum, but the .*Blue\.tif names p4m"
    with pytest.raises(InputRefused, match=fact):
        open_msi(files)
    assert open_msi(files, sensor="p4m").sensor.name == "p4m"
