"""A cube on another grid: what is found there is what is there, known from a function of place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT

from tests.helpers.grounds import EAST, NORTH, PIXEL, SIDE, field_at, pixels, write_field_cube
from tests.helpers.models import GRID
from tests.helpers.rasters import UTM
from uavssr.errors import InputRefused
from uavssr.io.hsi import warp
from uavssr.io.hsi.cube import open_cube_source
from uavssr.io.hsi.warp import TargetGrid, WarpedCube
from uavssr.tiling import Window

WKT = CRS.from_string(UTM).to_wkt()
INNER = Window(20, 24, 90, 96)


def target(
    side: int = SIDE, pixel: float = PIXEL, *, east: float = EAST, north: float = NORTH
) -> TargetGrid:
    return TargetGrid(
        height=side, width=side, crs_wkt=WKT, transform=(pixel, 0.0, east, 0.0, -pixel, north)
    )


def warped(path: Path, goal: TargetGrid | None = None, **options: object) -> WarpedCube:
    made = write_field_cube(path, noise=0.0, **options)
    return WarpedCube(cube=open_cube_source(made), target=goal or target())


def truth(goal: TargetGrid, window: Window) -> np.ndarray:
    east, north = pixels(Affine(*goal.transform), goal.height, goal.width)
    return field_at(east[window.rows, window.cols], north[window.rows, window.cols])


def test_a_cube_on_its_own_grid_stays_as_it_is(tmp_path: Path) -> None:
    cube = warped(tmp_path / "cube")
    window = Window(3, 5, 40, 30)
    found, valid = cube.read(window)
    own, own_valid = cube.cube.read(window)
    np.testing.assert_allclose(found, own, rtol=0, atol=1e-6)
    assert valid.all()
    assert own_valid.all()
    assert cube.ratio == pytest.approx(1)


@pytest.mark.parametrize(
    ("pixel", "options"),
    [(0.1, {"degrees": True}), (0.06, {"degrees": True}), (0.2, {"degrees": True}), (0.15, {})],
    ids=["same size", "finer", "coarser", "coarser, UTM"],
)
def test_a_warped_cube_is_the_ground_at_the_target(
    tmp_path: Path, pixel: float, options: dict[str, bool]
) -> None:
    """Row 38: another CRS and resolution are warped, and nowhere else fits better than there."""
    cube = warped(tmp_path / "cube", pixel=pixel, **options)
    found, valid = cube.read(INNER)
    assert cube.ratio == pytest.approx(pixel / PIXEL, rel=0.02)
    assert valid.all()

    def error(east: float, north: float) -> float:
        place = target(east=EAST + east * PIXEL, north=NORTH + north * PIXEL)
        return float(np.square(found - truth(place, INNER)).mean())

    there = error(0, 0)
    assert there < 2e-4
    for east, north in ((0.15, 0), (-0.15, 0), (0, 0.15), (0, -0.15)):
        assert error(east, north) > 1.02 * there


def test_the_shift_moves_the_content_down_and_right(tmp_path: Path) -> None:
    """A cube whose georeference says 0.3 m too far north and 0.2 m too far west."""
    cube = warped(tmp_path / "cube", shift=(0.3, -0.2))
    moved = replace(cube, shift=(3.0, 2.0))
    found, _ = moved.read(INNER)
    np.testing.assert_allclose(found, truth(cube.target, INNER), atol=1e-5)


def test_a_sub_pixel_shift_is_interpolated(tmp_path: Path) -> None:
    cube = replace(warped(tmp_path / "cube"), shift=(0.25, 0.0))
    found, _ = cube.read(Window(10, 10, 20, 20))
    own, _ = cube.cube.read(Window(9, 10, 21, 20))
    np.testing.assert_allclose(found, 0.25 * own[:, :-1] + 0.75 * own[:, 1:], atol=1e-5)


def test_a_finer_cube_is_averaged_over_each_pixel(tmp_path: Path) -> None:
    goal = target(SIDE // 2, 2 * PIXEL)
    cube = warped(tmp_path / "cube", goal)
    window = Window(4, 6, 20, 18)
    found, _ = cube.read(window)
    own, _ = cube.cube.read(Window(8, 12, 40, 36))
    expected = own.reshape(len(GRID), 20, 2, 18, 2).mean((2, 4))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert cube.ratio == pytest.approx(0.5)


@pytest.mark.parametrize("pixel", [0.05, 0.1, 0.17])
def test_gdal_warps_the_same(tmp_path: Path, pixel: float) -> None:
    cube = warped(tmp_path / "cube", pixel=pixel, degrees=True)
    found, _ = cube.read(INNER)
    kind = "average" if cube.ratio < warp.AVERAGING_RATIO else "bilinear"
    with (
        rasterio.open(tmp_path / "cube") as source,
        WarpedVRT(
            source,
            crs=UTM,
            transform=Affine(*cube.target.transform),
            width=SIDE,
            height=SIDE,
            resampling=Resampling[kind],
        ) as view,
    ):
        expected = view.read(window=((20, 110), (24, 120)))
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_windows_are_parts_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cube = warped(tmp_path / "cube", pixel=0.07, degrees=True)
    whole, valid = cube.read(INNER)
    part = Window(31, 40, 17, 23)
    found, found_valid = cube.read(part)
    rows, cols = part.within(INNER)
    np.testing.assert_allclose(found, whole[:, rows, cols], atol=1e-5)
    np.testing.assert_array_equal(found_valid, valid[rows, cols])
    monkeypatch.setattr(warp, "_MAX_PIXELS", 900)  # read in many small parts
    again, again_valid = cube.read(INNER)
    np.testing.assert_allclose(again, whole, atol=1e-5)
    np.testing.assert_array_equal(again_valid, valid)


def test_what_the_cube_does_not_cover_is_invalid(tmp_path: Path) -> None:
    goal = target(SIDE, east=EAST - 40 * PIXEL, north=NORTH + 30 * PIXEL)
    cube = warped(tmp_path / "cube", goal)
    found, valid = cube.read(Window(0, 0, SIDE, SIDE))
    expected = np.zeros((SIDE, SIDE), bool)
    expected[30:, 40:] = True
    np.testing.assert_array_equal(valid, expected)
    assert np.isnan(found[:, ~valid]).all()
    assert np.isfinite(found[:, valid]).all()
    assert cube.common() == Window(30, 40, SIDE - 30, SIDE - 40)


def test_invalid_pixels_do_not_leak_into_valid_ones(tmp_path: Path) -> None:
    plain = warped(tmp_path / "plain", pixel=0.12, degrees=True)
    holed = warped(tmp_path / "holed", pixel=0.12, degrees=True, fill=-9999.0)
    window = Window(0, 0, SIDE, SIDE)
    (found, valid), (expected, all_valid) = holed.read(window), plain.read(window)
    assert 0.7 < valid.mean() < all_valid.mean()
    np.testing.assert_allclose(found[:, valid], expected[:, valid], atol=1e-6)
    assert np.isnan(found[:, ~valid]).all()


def test_a_cube_elsewhere_gives_nothing(tmp_path: Path) -> None:
    cube = warped(tmp_path / "cube", target(east=EAST + 5000), degrees=True)
    found, valid = cube.read(Window(0, 0, 10, 10))
    assert not valid.any()
    assert np.isnan(found).all()
    assert cube.common() is None


def test_a_crs_without_a_way_to_the_other_is_refused(tmp_path: Path) -> None:
    local = 'LOCAL_CS["a table in the laboratory",UNIT["metre",1]]'
    cube = warped(tmp_path / "cube", replace(target(), crs_wkt=local))
    with pytest.raises(
        InputRefused,
        match=r"no way from a table in the laboratory to EPSG:32650: .* local; georeference",
    ):
        cube.read(Window(0, 0, 10, 10))
