"""Satellite products as people download them: bands, scale, date, masks, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.helpers.rasters import write
from tests.helpers.satellites import (
    LANDSAT_NAME,
    LEVELS,
    NATIVE,
    SENTINEL_NAME,
    ground,
    metadata,
    place,
    seen_by,
    write_jp2,
    write_landsat,
    write_safe,
    write_stack,
)
from uavssr.errors import InputRefused, UsageError
from uavssr.io.checks import check_jp2, check_raster
from uavssr.io.satellite import SatelliteImage, SatelliteRequest, mixed_sensor, open_satellite
from uavssr.sensors import load_sensor
from uavssr.tiling import Window

SENTINEL = load_sensor("sentinel2a")
SCENE = ground()
GIVEN = {"scale": "1/10000", "offset": -0.1, "acquired": date(2022, 6, 15)}
INNER = Window(3, 3, 9, 9)
"""Cells of 20 m whose PSF lies on the scene."""


@pytest.fixture(scope="module")
def safe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_safe(tmp_path_factory.mktemp("safe"), SCENE)


@pytest.fixture
def own(safe: Path, tmp_path: Path) -> Path:
    """A copy of the product that a test may change."""
    return Path(shutil.copytree(safe, tmp_path / safe.name))


def opened(path: Path, **options: object) -> SatelliteImage:
    return open_satellite(SatelliteRequest(path=path, **options))


def cell_values(image: SatelliteImage) -> np.ndarray:
    """Reflectance of every band in `INNER`, over the band's level."""
    values = image.read(image.grid(), INNER).reflectance
    return values / np.array(list(LEVELS.values()))[:, None, None]


def refusal(path: Path, **options: object) -> str:
    with pytest.raises((InputRefused, UsageError)) as caught:
        opened(path, **options)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    return text


def test_safe_folder_is_read_by_its_metadata(safe: Path) -> None:
    image = opened(safe)
    assert image.sensor == SENTINEL
    assert image.acquired == date(2022, 6, 15)
    assert image.facts["baseline"] == "04.00"
    assert image.facts["scale"] == "(DN -1000) / 10000 by MTD_MSIL2A.xml"
    assert image.facts["product"] == f"{SENTINEL_NAME}.SAFE"
    assert [band.native for band in image.bands] == [NATIVE[role] for role in LEVELS]
    assert not image.warnings


@pytest.mark.parametrize("kind", ["safe", "stack", "MTD"])
def test_all_bands_have_the_point_spread_function_of_the_coarsest(
    kind: str, safe: Path, tmp_path: Path
) -> None:
    if kind == "stack":
        image = opened(write_stack(tmp_path / "s2.tif", SCENE), sensor=SENTINEL, **GIVEN)
    else:
        image = opened(safe / "MTD_MSIL2A.xml" if kind == "MTD" else safe)
    expected = seen_by(SCENE, 20)[INNER.rows, INNER.cols]
    assert image.grid().metres == pytest.approx(20, rel=1e-3)
    np.testing.assert_allclose(cell_values(image), np.broadcast_to(expected, (8, 9, 9)), atol=1e-3)


def test_finest_cells_hold_the_finest_bands(safe: Path) -> None:
    image = opened(safe)
    grid = image.grid(finest=True)
    assert [image.sensor.roles[index] for index in image.bands_on(grid)] == ["b2", "b3", "b4", "b8"]
    window = Window(4, 5, 10, 11)
    values = image.read(grid, window).reflectance[1] / LEVELS["b3"]
    np.testing.assert_allclose(values, seen_by(SCENE, 10)[window.rows, window.cols], atol=2e-4)


def test_stack_that_begins_between_two_cells_is_read_on_the_satellites_cells(
    tmp_path: Path,
) -> None:
    """A crop of 10 m from the middle of a pixel of 20 m."""
    path = write_stack(tmp_path / "whole.tif", SCENE)
    image = opened(path, sensor=SENTINEL, **GIVEN)
    with rasterio.open(path) as file:
        numbers, names = file.read(), file.descriptions
    x, y = place(10) * (3, 5)
    crop = write(
        tmp_path / "crop.tif", numbers[:, 5:, 3:], names=names, transform=place(10, x=x, y=y)
    )
    cropped = opened(crop, sensor=SENTINEL, **GIVEN)
    inner = Window(6, 5, 7, 8)
    values = cropped.read(cropped.grid(), replace(inner, row=3, col=3)).reflectance
    np.testing.assert_allclose(values, image.read(image.grid(), inner).reflectance, atol=1e-9)


def test_clouds_and_their_shadows_are_masked(tmp_path: Path) -> None:
    classes = np.full((15, 15), 5, "u1")
    classes[4, 4], classes[5, 6], classes[7, 7], classes[8, 8] = 9, 3, 0, 6
    image = opened(write_safe(tmp_path, SCENE, classes=classes))
    reasons = image.read(image.grid(), INNER).reasons
    assert np.argwhere(reasons["under cloud, cirrus or snow"]).tolist() == [[1, 1]]
    assert np.argwhere(reasons["in the shadow of a cloud"]).tolist() == [[2, 3]]
    assert np.argwhere(reasons["without data in the satellite image"]).tolist() == [[4, 4]]


def test_landsat_folder_is_read_by_its_names(tmp_path: Path) -> None:
    image = opened(write_landsat(tmp_path, SCENE))
    assert (image.sensor.name, image.acquired) == ("landsat8", date(2022, 6, 15))
    values = image.read(image.grid(), Window(1, 1, 8, 8)).reflectance
    np.testing.assert_allclose(values[4], 1.7 * seen_by(SCENE, 30)[1:9, 1:9], atol=3e-5)


def test_landsat_stack_named_after_its_product_needs_no_scale(tmp_path: Path) -> None:
    numbers = np.full((5, 10, 10), 20000, "u2")
    path = tmp_path / f"{LANDSAT_NAME}_stack.tif"
    write(path, numbers, names=[f"SR_B{n}" for n in range(1, 6)], transform=place(30))
    image = opened(path, sensor=load_sensor("landsat8"))
    values = image.read(image.grid(), Window(0, 0, 10, 10)).reflectance
    np.testing.assert_allclose(values, 20000 * 0.0000275 - 0.2, atol=1e-6)
    assert image.acquired == date(2022, 6, 15)


@pytest.mark.parametrize(
    ("tags", "offset"),
    [
        ({"PROCESSING_BASELINE": "04.00", "PRODUCT_START_TIME": "2022-06-15T10:36:31"}, -0.1),
        ({"PROCESSING_BASELINE": "03.01", "PRODUCT_START_TIME": "2021-06-15T10:36:31"}, 0.0),
        ({"BOA_ADD_OFFSET": "-1000", "acquisition_date": "2022-06-15"}, -0.1),
    ],
)
def test_offset_of_a_stack_by_its_tags(tmp_path: Path, tags: dict[str, str], offset: float) -> None:
    path = write_stack(tmp_path / "stack.tif", SCENE, added=1000, tags=tags)
    image = opened(path, sensor=SENTINEL)
    assert image.bands[0].scale.offsets == (pytest.approx(offset),)
    assert image.bands[0].scale.factors == (pytest.approx(1e-4),)


def test_offset_of_a_stack_by_gdals_tags(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "stack.tif", SCENE)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = [1e-4] * 9, [-0.1] * 9
    image = opened(path, sensor=SENTINEL, acquired=date(2022, 6, 15))
    assert image.bands[3].scale.offsets == (-0.1,)


UNKNOWN_SCALE = "states no {} of its uint16 numbers; give both: --reference-scale 0.0001 "


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, UNKNOWN_SCALE.format("scale and offset")),
        ({"scale": "0.0001"}, UNKNOWN_SCALE.format("offset")),
        ({"offset": -0.1}, UNKNOWN_SCALE.format("scale")),
    ],
)
def test_offset_is_never_guessed(tmp_path: Path, options: dict[str, object], text: str) -> None:
    """Neither the name of a product nor the day tells whether a program has subtracted it."""
    path = write_stack(tmp_path / f"{SENTINEL_NAME}.tif", SCENE)
    assert text in refusal(path, sensor=SENTINEL, **options)


def test_remedy_for_an_unknown_offset_works(tmp_path: Path) -> None:
    path = write_stack(tmp_path / f"{SENTINEL_NAME}.tif", SCENE)
    text = refusal(path, sensor=SENTINEL)
    scale, offset = (
        text.split("--reference-scale ")[1].split(" for ")[0].split(" --reference-offset ")
    )
    image = opened(path, sensor=SENTINEL, scale=scale, offset=float(offset))
    np.testing.assert_allclose(
        cell_values(image)[0], seen_by(SCENE, 20)[INNER.rows, INNER.cols], atol=1e-3
    )


def l1c(folder: Path) -> None:
    (folder / "MTD_MSIL2A.xml").rename(folder / "MTD_MSIL1C.xml")


def no_band(folder: Path) -> None:
    next(folder.glob("GRANULE/*/IMG_DATA/R20m/*_B05_20m.jp2")).unlink()


def no_scene_classes(folder: Path) -> None:
    next(folder.glob("GRANULE/*/IMG_DATA/R20m/*_SCL_20m.jp2")).unlink()


def truncated(folder: Path) -> None:
    path = next(folder.glob("GRANULE/*/IMG_DATA/R10m/*_B02_10m.jp2"))
    path.write_bytes(path.read_bytes()[:400])


def a_tiff(folder: Path) -> None:
    path = next(folder.glob("GRANULE/*/IMG_DATA/R10m/*_B02_10m.jp2"))
    path.write_bytes(b"II*\0" + bytes(100))


def xml_of(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "MTD_MSIL2A.xml").write_text(text) and None


ENTITIES = '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbbbb"><!ENTITY c "&b;&b;&b;">]><a>&c;</a>'


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (l1c, "is a product of level 1C, top-of-atmosphere reflectance; download the same scene"),
        (no_band, "lacks band B05"),
        (no_scene_classes, "lacks scene classes"),
        (truncated, "truncated: no complete codestream in 400 bytes"),
        (a_tiff, "is no JPEG 2000 file"),
        (xml_of(metadata(level="1C")), "is a product of level 1C"),
        (
            xml_of(metadata(added=0)),
            "states no offsets (BOA_ADD_OFFSET), though its baseline is 04",
        ),
        (xml_of("<a"), "is no XML"),
        (xml_of("<a/>"), "states no scale"),
        (xml_of(ENTITIES), "has a document type"),
        (xml_of(metadata(spacecraft="Sentinel-2B")), "is of sentinel2b, not of sentinel2a"),
    ],
)
def test_faulty_product_is_refused(own: Path, change: Callable[[Path], None], text: str) -> None:
    change(own)
    assert text in refusal(own, sensor=SENTINEL)


def test_old_baseline_has_no_offset(own: Path) -> None:
    (own / "MTD_MSIL2A.xml").write_text(metadata(baseline="03.01", added=0))
    assert opened(own).bands[0].scale.offsets == (0.0,)


def test_satellite_without_built_in_curves_needs_a_file(own: Path, repo: Path) -> None:
    (own / "MTD_MSIL2A.xml").write_text(metadata(spacecraft="Sentinel-2C"))
    assert "is of Sentinel-2C, whose response curves are not built in" in refusal(own)
    curves = repo / "uavssr/sensors/curves/sentinel2b.csv"
    image = opened(own, sensor=replace(load_sensor(curves), name="sentinel2c"))
    assert image.sensor.name == "sentinel2c"
    assert image.grid().metres == pytest.approx(20, rel=1e-3)


@pytest.mark.parametrize(
    "option", [{"scale": "1"}, {"offset": 0.0}, {"bands": ["b2"]}, {"acquired": date(2022, 1, 1)}]
)
def test_options_that_the_metadata_answer_are_refused(safe: Path, option: dict) -> None:
    assert "has no effect: the metadata of" in refusal(safe, **option)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (LANDSAT_NAME.replace("L2SP", "L1TP"), "is a product of level 1TP"),
        (LANDSAT_NAME.replace("_02_T1", "_01_T1"), "is of collection 01, whose scale is another"),
        (LANDSAT_NAME.replace("L2SP", "L2ST"), "holds surface temperature alone"),
    ],
)
def test_other_landsat_products_are_refused(tmp_path: Path, name: str, text: str) -> None:
    assert text in refusal(write_landsat(tmp_path, SCENE, name=name))


def test_landsat_folder_without_a_band_is_refused(tmp_path: Path) -> None:
    folder = write_landsat(tmp_path, SCENE)
    (folder / f"{LANDSAT_NAME}_SR_B4.TIF").unlink()
    assert "lacks band SR_B4" in refusal(folder)


def test_landsat_metadata_of_another_scale_are_refused(tmp_path: Path) -> None:
    folder = write_landsat(tmp_path, SCENE)
    lines = "  REFLECTANCE_MULT_BAND_1 = 1e-4\n  REFLECTANCE_ADD_BAND_1 = 0.0\n"
    group = "GROUP = {0}\n%s  END_GROUP = {0}\n".format("LEVEL2_SURFACE_REFLECTANCE_PARAMETERS")
    (folder / f"{LANDSAT_NAME}_MTL.txt").write_text(group % lines)
    assert "states the scale 1e-4 and the offset 0.0" in refusal(folder)


@pytest.mark.parametrize(
    ("stack", "options", "text"),
    [
        ({"names": None}, {}, "names none of its 9 bands (unnamed"),
        ({"names": [*["B2"] * 2, *"abcdefg"]}, {}, "bands 1 and 2 are both b2"),
        ({}, {"bands": ["b2", "b3"]}, "holds 9 bands, but 2 are named"),
        ({}, {"bands": ["b2", "nir"]}, "--reference-bands: 'nir' is no band of sentinel2a"),
        ({}, {"acquired": None}, "neither its tags nor its name state a date; give the day"),
        ({"tags": {"PROCESSING_LEVEL": "Level-1C"}}, {}, "is a product of level 1C"),
    ],
)
def test_faulty_stack_is_refused(tmp_path: Path, stack: dict, options: dict, text: str) -> None:
    path = write_stack(tmp_path / "stack.tif", SCENE, **stack)
    assert text in refusal(path, **{"sensor": SENTINEL} | GIVEN | options)


def test_bands_of_a_stack_may_be_named(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "stack.tif", SCENE, names=None)
    image = opened(path, sensor=SENTINEL, bands=[*LEVELS, "scl"], **GIVEN)
    assert image.sensor == SENTINEL
    assert image.mask is not None
    assert image.read(image.grid(), INNER).usable.all()


def test_missing_bands_and_mask_of_a_stack_are_named(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "stack.tif", SCENE, names=None)
    bands = ["b2", "b3", "b4", "skip", "skip", "skip", "b8", "skip", "skip"]
    image = opened(path, sensor=SENTINEL, bands=bands, **GIVEN)
    assert image.sensor.roles == ("b2", "b3", "b4", "b8")
    assert image.grid().metres == pytest.approx(10, rel=1e-3)
    assert image.warnings[0] == (
        "stack.tif lacks b5, b6, b7, b8a of sentinel2a: without the red edge it tells little of a "
        "camera"
    )
    assert "has no cloud mask" in image.warnings[1]


@pytest.mark.parametrize(
    ("name", "text"), [("S2A.SAFE.zip", "unzip"), ("LC08.tar", "tar -xf"), ("empty", "a folder")]
)
def test_archives_and_other_folders_are_refused(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"PK") if "." in name else path.mkdir()
    assert text in refusal(path)


def test_jp2_file_is_opened_for_a_product_alone(tmp_path: Path) -> None:
    write_jp2(tmp_path / "a.jp2", np.full((5, 7), 300, "u2"), 10)
    layout = check_jp2(tmp_path / "a.jp2").layout
    assert (layout.height, layout.width, layout.bands, layout.bits) == (5, 7, 1, 16)
    with pytest.raises(InputRefused, match="not a TIFF"):
        check_raster(tmp_path / "a.jp2")


def test_mixed_sensor_sees_the_interpolated_image() -> None:
    first, second = load_sensor("sentinel2a"), load_sensor("sentinel2b")
    spectrum = np.random.default_rng(0).uniform(size=first.response().shape[1])
    mixed = mixed_sensor(first, second, 0.3)
    expected = 0.7 * first.response() @ spectrum + 0.3 * second.response() @ spectrum
    np.testing.assert_allclose(mixed.response() @ spectrum, expected, rtol=1e-12)
    assert mixed_sensor(first, first, 0.5) is first
