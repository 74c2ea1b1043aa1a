"""Cubes are read as what their files say they are, and refused where the files do not say it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.helpers.cubes import listed, smooth_cube, tag, write_cube, write_envi, write_plain
from tests.helpers.models import GRID
from tests.helpers.rasters import write
from uavssr.errors import InputRefused, UsageError
from uavssr.io.checks.envi_header import read_envi_list
from uavssr.io.hsi.cube import CubeSource, open_cube_source
from uavssr.tiling import TileGrid, Window

NM = GRID.centres
HOLE = (slice(4, 9), slice(10, 30))


def whole(cube: CubeSource) -> tuple[np.ndarray, np.ndarray]:
    return cube.read(Window(0, 0, cube.height, cube.width))


def holed(shape: tuple[int, ...]) -> np.ndarray:
    valid = np.ones(shape, bool)
    valid[HOLE] = False
    return valid


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 0), ("uint16", 5.1e-5)])
def test_our_own_cube_is_read_as_it_was_written(
    tmp_path: Path, dtype: str, tolerance: float
) -> None:
    cube = smooth_cube()
    valid = holed(cube.shape[1:])
    source = open_cube_source(write_cube(tmp_path / "c.tif", cube, valid, dtype=dtype))
    found, mask = whole(source)
    assert np.array_equal(mask, valid)
    assert np.abs(found - cube)[:, valid].max() <= tolerance
    assert np.isnan(found[:, ~valid]).all()
    assert np.array_equal(source.grid.centres, NM)
    assert np.array_equal(source.grid.fwhm, GRID.fwhm)


def test_windows_make_up_the_whole(tmp_path: Path) -> None:
    source = open_cube_source(write_cube(tmp_path / "c.tif", smooth_cube()))
    at_once, _ = whole(source)
    for tile in TileGrid(height=source.height, width=source.width, tile=37):
        part, _ = source.read(tile.core)
        assert np.array_equal(part, at_once[:, tile.core.rows, tile.core.cols])


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
def test_envi_cube_is_read_with_its_scale_and_ignore_value(tmp_path: Path, interleave: str) -> None:
    counts = np.rint(smooth_cube() * 10000).astype("u2")
    counts[:, 3, 5] = 7
    path = write_envi(
        tmp_path / "cube",
        counts,
        listed("wavelength", NM),
        listed("fwhm", GRID.fwhm),
        "wavelength units = Nanometers",
        "reflectance scale factor = 10000",
        "data ignore value = 7",
        interleave=interleave,
    )
    source = open_cube_source(path)
    found, mask = whole(source)
    assert np.argwhere(~mask).tolist() == [[3, 5]]
    assert np.allclose(found[:, mask], counts[:, mask] / 10000, atol=1e-7)
    assert np.array_equal(source.grid.centres, NM)
    assert np.allclose(source.grid.fwhm, GRID.fwhm)


@pytest.mark.parametrize(
    "text",
    [
        listed("wavelength", NM, before=",\n, "),
        listed("wavelength", NM, between=" ; a comment, with a comma\n,"),
        listed("Wavelength", NM, between=",\n  "),
        listed("wavelength", NM / 1000),
        listed("wavelength", NM / 1000) + "\nwavelength units = Micrometers",
    ],
    ids=["leading commas", "comments", "a line each", "bare micrometres", "micrometres"],
)
def test_headwalls_wavelength_lists_are_read_without_a_slip(tmp_path: Path, text: str) -> None:
    source = open_cube_source(write_envi(tmp_path / "cube", smooth_cube(20, 20), text))
    assert np.allclose(source.grid.centres, NM, rtol=1e-12)
    assert np.allclose(source.grid.fwhm, np.gradient(NM))  # the spacing, as no width is given


@pytest.mark.parametrize(
    ("units", "factor"),
    [
        ("nm", 1),
        ("NANOMETERS", 1),
        ("um", 1000),
        ("micrometers", 1000),
        ("Microns", 1000),
        ("Unknown", 1),
        ("Unknown", 1000),
        ("", 1),
        ("", 1000),
    ],
)
def test_wavelengths_are_read_by_their_unit_or_their_size(
    tmp_path: Path, units: str, factor: int
) -> None:
    fields = listed("wavelength", NM / factor), listed("fwhm", GRID.fwhm / factor)
    line = [f"wavelength units = {units}"] if units else []
    source = open_cube_source(write_envi(tmp_path / "cube", smooth_cube(9, 9), *fields, *line))
    assert np.allclose(source.grid.centres, NM, rtol=1e-12)
    assert np.allclose(source.grid.fwhm, GRID.fwhm, rtol=1e-12)
    warned = [w for w in source.warnings if "no unit stated, taken as 400 to 1000 nm" in w]
    assert len(warned) == (units in ("Unknown", ""))


def test_wavelengths_of_an_unknown_unit_are_refused(tmp_path: Path) -> None:
    fields = listed("wavelength", NM), "wavelength units = Wavenumber"
    path = write_envi(tmp_path / "cube", smooth_cube(9, 9), *fields)
    with pytest.raises(InputRefused, match="a wavelength for 0 of its 40 bands"):
        open_cube_source(path)


def test_bands_by_falling_wavelength_are_read_in_reverse(tmp_path: Path) -> None:
    cube, widths = smooth_cube(20, 20), np.linspace(5, 9, len(NM))
    for name, order in (("rising", 1), ("falling", -1)):
        fields = listed("wavelength", NM[::order]), listed("fwhm", widths[::order])
        write_envi(tmp_path / name, cube[::order], *fields)
    rising, falling = open_cube_source(tmp_path / "rising"), open_cube_source(tmp_path / "falling")
    assert np.array_equal(falling.grid.centres, rising.grid.centres)
    assert np.array_equal(falling.grid.fwhm, rising.grid.fwhm)
    assert np.array_equal(whole(falling)[0], whole(rising)[0])


def test_list_of_an_envi_header_is_empty_where_there_is_none(tmp_path: Path) -> None:
    write_envi(tmp_path / "cube", smooth_cube(4, 4))
    assert read_envi_list(tmp_path / "cube.hdr", "wavelength") == []


def test_zeros_outside_the_swath_are_invalid(tmp_path: Path) -> None:
    cube = smooth_cube(30, 30)
    cube[:, :, :6] = 0
    source = open_cube_source(write_envi(tmp_path / "cube", cube, listed("wavelength", NM)))
    assert np.array_equal(whole(source)[1], (cube != 0).any(0))
    assert any("no nodata tag names (0)" in warning for warning in source.warnings)


def test_wavelengths_come_from_tags_then_envi_then_imagery(tmp_path: Path) -> None:
    path = write_plain(tmp_path / "cube.tif", smooth_cube(20, 20))
    with pytest.raises(InputRefused, match="a wavelength for 0 of its 40 bands"):
        open_cube_source(path)
    tag(path, "IMAGERY", *({"CENTRAL_WAVELENGTH_UM": f"{nm / 1000:.3f}"} for nm in NM))
    source = open_cube_source(path)
    assert np.abs(source.grid.centres - NM).max() <= 0.5
    listing = "{" + ",".join(map(repr, (NM + 1).tolist())) + "}"
    tag(path, "ENVI", wavelength=listing, wavelength_units="Nanometers")
    source = open_cube_source(path)
    assert np.allclose(source.grid.centres, NM + 1)
    tag(path, None, *({"wavelength": repr(nm + 2)} for nm in NM.tolist()))
    source = open_cube_source(path)
    assert np.allclose(source.grid.centres, NM + 2)


def test_alpha_is_a_mask_and_no_band(tmp_path: Path) -> None:
    cube = smooth_cube(20, 30)
    alpha = np.full((1, 20, 30), 255, "f4")
    alpha[:, :5] = 0
    colours = ["gray", *["undefined"] * (len(NM) - 1), "alpha"]
    stack = np.concatenate([cube, alpha])
    path = write(tmp_path / "cube.tif", stack, names=None, colours=colours)
    tag(path, None, *({"wavelength": repr(nm)} for nm in NM.tolist()))
    source = open_cube_source(path)
    assert len(source.grid) == len(NM)
    assert np.array_equal(whole(source)[1], alpha[0] > 0)


def described(path: Path, cube: np.ndarray, **tags: str) -> Path:
    write_plain(path, cube)
    return tag(path, None, *({"wavelength": repr(nm)} for nm in NM.tolist()), **tags)


def test_scale_is_taken_as_given_and_refused_where_nothing_tells(tmp_path: Path) -> None:
    counts = np.rint(smooth_cube(20, 30) * 4000).astype("u2")
    path = described(tmp_path / "counts.tif", counts)
    with pytest.raises(InputRefused, match="no evidence what its uint16 numbers mean"):
        open_cube_source(path)
    found, _ = whole(open_cube_source(path, scale="1/4000"))
    assert np.allclose(found, counts / 4000, atol=1e-7)
    with pytest.raises(UsageError, match="no number"):
        open_cube_source(path, scale="a lot")


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (lambda cube: np.full_like(cube, np.nan), "no valid pixel"),
        (lambda cube: cube * 30, "no evidence what its float32 numbers mean"),
    ],
)
def test_pixels_that_are_no_reflectance_are_refused(
    tmp_path: Path, change: object, fact: str
) -> None:
    path = described(tmp_path / "cube.tif", change(smooth_cube(20, 30)))
    with pytest.raises(InputRefused, match=fact):
        open_cube_source(path)


def test_radiance_is_refused(tmp_path: Path) -> None:
    path = described(tmp_path / "cube.tif", smooth_cube(20, 30), description="RADIANCE, ortho")
    with pytest.raises(InputRefused, match="says radiance"):
        open_cube_source(path)


@pytest.mark.parametrize(
    ("nm", "fact"),
    [
        (np.roll(NM, 1), "do not increase"),
        (np.full(len(NM), 500.0), "do not increase"),
        (NM[:-1], "a wavelength for 0 of its 40 bands"),
        (NM * 1000, "state their units"),
    ],
)
def test_wavelengths_that_cannot_be_are_refused(tmp_path: Path, nm: np.ndarray, fact: str) -> None:
    path = write_envi(tmp_path / "cube", smooth_cube(20, 20), listed("wavelength", nm))
    with pytest.raises(InputRefused, match=fact):
        open_cube_source(path)


def test_cube_without_a_place_is_refused(tmp_path: Path) -> None:
    path = write_envi(tmp_path / "cube", smooth_cube(9, 9), listed("wavelength", NM), crs=False)
    with pytest.raises(InputRefused, match="no geotransform"):
        open_cube_source(path)


def test_policy_holds_for_cubes_too(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="URLs"):
        open_cube_source("https://example.org/cube.tif")
    path = write_cube(tmp_path / "c.tif", smooth_cube(40, 40))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputRefused, match="truncated"):
        open_cube_source(path)


def test_scene_that_is_valid_only_in_a_corner_is_found(tmp_path: Path) -> None:
    cube = np.full((len(NM), 300, 300), np.nan, "f4")
    cube[:, -2:, -2:] = 0.3
    source = open_cube_source(described(tmp_path / "cube.tif", cube))
    with rasterio.open(tmp_path / "cube.tif") as file:
        assert file.count == len(source.grid)
    assert whole(source)[1].sum() == 4
