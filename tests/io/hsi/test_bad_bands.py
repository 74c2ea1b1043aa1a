"""The list of bad bands (`bbl`) and the ignore value of ENVI, wherever they stand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

from tests.helpers.cubes import listed, smooth_cube, tag, write_cube, write_envi, write_plain
from tests.helpers.models import GRID
from tests.helpers.rasters import P4M, scene
from uavssr.errors import InputRefused
from uavssr.evaluation import evaluate
from uavssr.io.hsi import open_cube_source
from uavssr.io.msi import open_msi
from uavssr.tiling import Window

COUNT = len(GRID)
BAD = (0, 1, COUNT // 2)
FLAGS = ["0" if band in BAD else "1" for band in range(COUNT)]
WAVELENGTHS = listed("wavelength", GRID.centres)
UNITS = "wavelength units = nm"
WHOLE = Window(0, 0, 30, 40)


def spoilt(value: float = 1e9) -> np.ndarray:
    cube = smooth_cube(30, 40)
    cube[list(BAD)] = value
    return cube


def bbl(flags: list[str], between: str = ", ") -> str:
    return f"bbl = {{{between.join(flags)}}}"


@pytest.mark.parametrize(
    "line",
    [
        bbl(FLAGS),
        bbl(FLAGS, between=" ,\n "),
        bbl([f"{float(flag)}" for flag in FLAGS]),
        bbl(["0" if flag == "0" else "0.75" for flag in FLAGS]),
        bbl(FLAGS).replace("bbl", "BBL"),
    ],
)
def test_bad_bands_of_an_envi_header_are_left_out(tmp_path: Path, line: str) -> None:
    """RELIABILITY row 48."""
    cube = open_cube_source(write_envi(tmp_path / "cube.dat", spoilt(), WAVELENGTHS, UNITS, line))
    good = [band for band in range(COUNT) if band not in BAD]
    np.testing.assert_allclose(cube.grid.centres, GRID.centres[good])
    np.testing.assert_array_equal(cube.read(WHOLE)[0], smooth_cube(30, 40)[good])
    names = f"1-2, {COUNT // 2 + 1}"
    assert f"cube.dat: bands {names} of {COUNT} left out as bad (bbl)" in cube.warnings


def test_bad_bands_of_a_geotiff_are_left_out(tmp_path: Path) -> None:
    """GDAL keeps ENVI's fields in a domain of their own when it converts a file."""
    tags = {"wavelength": WAVELENGTHS.partition("= ")[2], "wavelength_units": "nm"}
    path = write_plain(tmp_path / "cube.tif", spoilt())
    tag(path, "ENVI", **tags, bbl=bbl(FLAGS).partition("= ")[2])
    assert len(open_cube_source(path).grid) == COUNT - len(BAD)
    part = write_plain(tmp_path / "part.tif", smooth_cube(30, 40))
    tag(part, "ENVI", **tags, bbl=bbl(FLAGS[:-3]).partition("= ")[2])
    assert len(open_cube_source(part).grid) == COUNT


@pytest.mark.parametrize("flags", [FLAGS[:-1], [*FLAGS, "1"], ["0"] * COUNT, [*FLAGS[:-1], "bad"]])
def test_list_that_cannot_be_is_refused(tmp_path: Path, flags: list[str]) -> None:
    """RELIABILITY row 48."""
    path = write_envi(tmp_path / "cube.dat", spoilt(), WAVELENGTHS, UNITS, bbl(flags))
    with pytest.raises(InputRefused, match=rf"\.hdr: its list of bad bands .* for {COUNT} bands"):
        open_cube_source(path)


def test_band_of_a_camera_that_is_bad_has_to_be_named(tmp_path: Path) -> None:
    names = f"band names = {{{', '.join(P4M)}}}"
    path = write_envi(tmp_path / "field.dat", scene(), names, "bbl = {1, 1, 0, 1, 1}")
    with pytest.raises(InputRefused, match="'Red' disagrees with 0 in the list of bad bands"):
        open_msi(path, sensor="p4m")
    source = open_msi(path, sensor="p4m", bands=P4M)
    against = "band 3 is red as asked, against its 0 in the list of bad bands (bbl)"
    assert against in source.summary.warnings
    extra = write_envi(
        tmp_path / "extra.dat", scene(6), names.replace("}", ", x}"), "bbl = {1, 1, 1, 1, 1, 0}"
    )
    assert open_msi(extra, sensor="p4m").summary.left_out == (
        "band 6 (0 in the list of bad bands (bbl))",
    )


def test_cubes_are_compared_where_both_have_good_bands(tmp_path: Path) -> None:
    good = write_envi(tmp_path / "good.dat", smooth_cube(30, 40), WAVELENGTHS, UNITS)
    bad = write_envi(tmp_path / "bad.dat", spoilt(), WAVELENGTHS, UNITS, bbl(FLAGS))
    for pred, ref in ((good, bad), (bad, good), (bad, bad)):
        report = evaluate(pred, ref)
        assert report["bands"] == COUNT - len(BAD)
        assert report["scene"]["rmse"] == 0
        assert any("left out as bad" in warning for warning in report["warnings"])


def test_bands_that_one_cube_lacks_are_left_out_and_stated(tmp_path: Path) -> None:
    good = write_envi(tmp_path / "good.dat", smooth_cube(30, 40), WAVELENGTHS, UNITS)
    short = listed("wavelength", GRID.centres[:-2])
    part = write_envi(tmp_path / "part.dat", smooth_cube(30, 40)[:-2], short, UNITS)
    report = evaluate(good, part)
    assert (report["bands"], report["scene"]["rmse"]) == (COUNT - 2, 0)
    assert report["aligned"]["pred"]["wavelengths"] == f"as stored, without 2 of {COUNT} bands"


@pytest.mark.parametrize("text", ["-9.999e+02", "-999", "1e-34", "-3.4028234663852886e+38", "nan"])
def test_ignore_value_makes_pixels_invalid(tmp_path: Path, text: str) -> None:
    """RELIABILITY row 48."""
    numbers = smooth_cube(30, 40)
    numbers[:, :10] = np.float32(text)
    numbers[3, 20] = np.float32(text)
    ignored = f"data ignore value = {text}"
    cube = open_cube_source(write_envi(tmp_path / "cube.dat", numbers, WAVELENGTHS, UNITS, ignored))
    path = write_plain(tmp_path / "cube.tif", numbers)
    tag(path, "ENVI", wavelength=WAVELENGTHS.partition("= ")[2], data_ignore_value=text)
    expected = np.ones((30, 40), bool)
    expected[:10] = expected[20] = False
    for source in (cube, open_cube_source(path)):
        np.testing.assert_array_equal(source.read(WHOLE)[1], expected)
    whole = write_envi(tmp_path / "whole.dat", smooth_cube(30, 40), WAVELENGTHS, UNITS)
    report = evaluate(tmp_path / "cube.dat", whole)
    assert (report["valid_pixels"], report["scene"]["rmse"]) == (19 * 40, 0)


@pytest.mark.parametrize("key", ["_FillValue", "missing_value", "fill_value"])
def test_fill_value_of_a_store_is_a_stored_number(tmp_path: Path, key: str) -> None:
    """The scale factor of a store does not apply to it."""
    path = write_cube(tmp_path / "cube.zarr", smooth_cube(30, 40), dtype="uint16", format="zarr")
    array = zarr.open_array(path, path="reflectance", mode="r+", zarr_format=2)
    array[4, 5:7] = 65535 if key == "fill_value" else 60000
    if key != "fill_value":
        array.attrs[key] = 60000
    valid = open_cube_source(path).read(WHOLE)[1]
    assert np.flatnonzero(~valid.all(1)).tolist() == [5, 6]
