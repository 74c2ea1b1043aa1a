"""Shares of pixels in cells: areas of polygons as the oracle, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from pyproj import CRS
from rasterio.transform import Affine

from tests.helpers.cubes import smooth_cube, write_cube
from tests.helpers.rasters import write
from uavssr.analysis import AveragingGrid, SpectralSource, of_cube
from uavssr.errors import InputRefused, UsageError
from uavssr.io.hsi import TargetGrid, pixel_to_map, reproject_points
from uavssr.io.raster import WGS84
from uavssr.tiling import Window

UTM = CRS.from_epsg(32650).to_wkt()
IMAGE = TargetGrid(height=9, width=12, crs_wkt=UTM, transform=(0.3, 0, 500_000, 0, -0.3, 3_000_000))


def placed(affine: Affine, height: int = 6, width: int = 6) -> TargetGrid:
    """Cells that lie in the image's pixels as an affine says."""
    whole = Affine(*IMAGE.transform) @ affine
    return TargetGrid(height=height, width=width, crs_wkt=UTM, transform=tuple(whole)[:6])


GRIDS = {
    "coarser": placed(Affine.translation(-0.7, 0.4) @ Affine.scale(2.6, 1.7)),
    "alike": placed(Affine.translation(0.25, 0.25), 8, 11),
    "finer": placed(Affine.translation(1, 2) @ Affine.scale(0.6), 8, 11),
    "flipped": placed(Affine.translation(13, 10) @ Affine.scale(-2.6, -1.7)),
    "rotated": placed(Affine.translation(2, -3) @ Affine.rotation(30) @ Affine.scale(2.6)),
}


def outlines(grid: TargetGrid, window: Window) -> np.ndarray:
    """The polygons of the pixels of a window, row by row."""
    rows, cols = np.mgrid[window.rows, window.cols]
    corners = [(0, 0), (1, 0), (1, 1), (0, 1)]
    points = np.stack([np.stack([cols.ravel() + x, rows.ravel() + y], 1) for x, y in corners], 1)
    return shapely.polygons(
        pixel_to_map(grid.transform, points.reshape(-1, 2).astype(float)).reshape(-1, 4, 2)
        - (500_000, 3_000_000)
    )


@pytest.mark.parametrize("name", GRIDS)
def test_shares_are_areas_of_polygons(name: str) -> None:
    target, window = GRIDS[name], Window(1, 2, 7, 9)
    shares = AveragingGrid(source=IMAGE, target=target).shares(window)
    assert shares is not None
    pixels, cells = outlines(IMAGE, window), outlines(target, shares.window)
    areas = shapely.area(shapely.intersection(pixels[:, None], cells)) / shapely.area(pixels[0])
    found = np.zeros_like(areas)
    found[shares.pixels, shares.cells] = shares.share
    np.testing.assert_allclose(found, areas, atol=0.02 if name == "rotated" else 1e-5)
    assert shares.pixel_area == pytest.approx(shapely.area(pixels[0]) / shapely.area(cells[0]))


@pytest.mark.parametrize("epsg", [4326, 3857])
def test_pixels_of_another_crs_keep_their_area(epsg: int) -> None:
    wkt = CRS.from_epsg(epsg).to_wkt()
    x, y = reproject_points(np.array([[500_000.0, 3_000_000.0]]), UTM, wkt)[0].tolist()
    size = 1e-5 if epsg == 4326 else 1.0
    transform = (size, 0, x - 3 * size, 0, -size, y + 3 * size)
    target = TargetGrid(height=12, width=12, crs_wkt=wkt, transform=transform)
    shares = AveragingGrid(source=IMAGE, target=target).shares(Window(0, 0, 9, 12))
    assert shares is not None
    np.testing.assert_allclose(np.bincount(shares.pixels, shares.share), 1)
    ground = 1.0 * np.cos(np.radians(27.1)) ** 2 if epsg == 3857 else (1e-5 * 111e3) ** 2 * 0.89
    assert shares.pixel_area == pytest.approx(0.09 / ground, rel=0.02)


def test_window_beside_the_cells_has_none() -> None:
    beside = placed(Affine.translation(500, 0))
    assert AveragingGrid(source=IMAGE, target=beside).shares(Window(0, 0, 3, 3)) is None


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> SpectralSource:
    """A cube of 90 x 70 pixels of 0.1 m."""
    return of_cube(write_cube(tmp_path_factory.mktemp("cells") / "cube.tif", smooth_cube()))


def test_cells_of_a_resolution_lie_on_its_multiples(source: SpectralSource) -> None:
    cells = AveragingGrid.of_resolution(source, 2).target
    a, b, x, d, e, y = cells.transform
    assert (a, b, d, e) == (2, 0, 0, -2)
    assert x % 2 == y % 2 == 0
    assert x <= 500_000 < x + 2
    assert (cells.width, cells.height) == (5, 4)


def test_metres_are_those_of_the_ground_in_degrees(tmp_path: Path) -> None:
    transform = (1e-6, 0, 117.0, 0, -1e-6, 60.0)
    cube = write_cube(
        tmp_path / "cube.tif", smooth_cube(40, 40), crs_wkt=WGS84, transform=transform
    )
    a, _, _, _, e, _ = AveragingGrid.of_resolution(of_cube(cube), 2).target.transform
    assert a == pytest.approx(2 / 111_412 / np.cos(np.radians(60)), rel=0.01)
    assert -e == pytest.approx(2 / 111_412, rel=0.01)


@pytest.mark.parametrize(
    ("metres", "fact"), [(0, "must be positive"), (0.01, "finer than the image's pixels of 0.1 m")]
)
def test_odd_resolution_is_refused(source: SpectralSource, metres: float, fact: str) -> None:
    with pytest.raises(UsageError, match=fact):
        AveragingGrid.of_resolution(source, metres)


def like(path: Path, affine: Affine, size: int = 30) -> Path:
    return write(path, np.full((1, size, size), 0.2, "f4"), names=None, transform=affine)


def test_pixels_of_a_raster_are_cut_to_the_image(source: SpectralSource, tmp_path: Path) -> None:
    raster = like(tmp_path / "like.tif", Affine(1, 0, 499_990.5, 0, -1, 3_000_010.25))
    cells = AveragingGrid.like(source, raster).target
    assert cells.transform == (1, 0, 499_999.5, 0, -1, 3_000_000.25)
    assert (cells.width, cells.height) == (10, 8)
    assert cells.crs_wkt == source.crs_wkt


@pytest.mark.parametrize(
    ("affine", "fact"),
    [
        (Affine(1, 0, 0, 0, -1, 0), "does not overlap the image"),
        (Affine(0.04, 0, 500_000, 0, -0.04, 3_000_000), "finer than half"),
    ],
)
def test_odd_raster_is_refused(
    source: SpectralSource, tmp_path: Path, affine: Affine, fact: str
) -> None:
    with pytest.raises(InputRefused, match=fact):
        AveragingGrid.like(source, like(tmp_path / "like.tif", affine))


def test_interpolated_places_are_those_of_the_projection() -> None:
    """Pixels of 30 m, at the edge of a UTM zone, to less than 0.001 pixels."""
    image = TargetGrid(
        height=300, width=300, crs_wkt=UTM, transform=(30, 0, 250_000, 0, -30, 6_000_000)
    )
    target = TargetGrid(height=9, width=9, crs_wkt=WGS84, transform=(1e-3, 0, 113, 0, -1e-3, 54))
    grid, side = AveragingGrid(source=image, target=target), np.arange(20.5, 276)
    found = grid._lattice(Window(20, 20, 256, 256), side, side).reshape(-1, 2)
    x, y = np.meshgrid(side, side)
    exact = grid.to_cells(np.stack([x.ravel(), y.ravel()], 1))
    assert np.abs(found - exact).max() < 1e-3 * 30 / 111.0
