"""Classes of ground on an image's grid, from rasters and polygons in any CRS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import shapely
from rasterio.transform import Affine
from rasterio.warp import transform as move

from uavssr.errors import InputRefused, UsageError
from uavssr.io.hsi import TargetGrid
from uavssr.io.zones import open_class_map
from uavssr.tiling import Window

CRS = rasterio.CRS.from_epsg(32650)
PLACE = Affine(0.1, 0, 500_000, 0, -0.1, 3_000_000)
GRID = TargetGrid(height=20, width=30, crs_wkt=CRS.to_wkt(), transform=tuple(PLACE)[:6])
WHOLE = Window(0, 0, 20, 30)


def raster(
    path: Path, codes: np.ndarray, place: Affine = PLACE, crs: object = CRS, **profile: object
) -> Path:
    bands = codes if codes.ndim == 3 else codes[None]
    size = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2]}
    with rasterio.open(
        path, "w", driver="GTiff", dtype=bands.dtype, crs=crs, transform=place, **size, **profile
    ) as file:
        file.write(bands)
    return path


def polygons(
    path: Path, boxes: list[tuple[str, tuple[float, ...]]], *, column: str = "class"
) -> Path:
    """Boxes in pixels of the image as polygons in degrees."""
    shapes = []
    for _, sides in boxes:
        corners = np.array([PLACE @ corner for corner in shapely.box(*sides).exterior.coords])
        lon, lat = move(CRS, "EPSG:4326", *corners.T)
        shapes.append(shapely.to_wkb(shapely.Polygon(np.stack([lon, lat], 1))))
    pyogrio.raw.write(
        path,
        geometry=np.array(shapes, object),
        field_data=[np.array([name for name, _ in boxes], object)],
        fields=[column],
        geometry_type="Polygon",
        crs="EPSG:4326",
    )
    return path


def test_a_raster_on_the_same_grid_is_read_as_it_is(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 4, (20, 30)).astype("i2")
    classes = open_class_map(raster(tmp_path / "c.tif", codes, nodata=0), GRID)
    for window in (WHOLE, Window(3, 5, 7, 11)):
        read, known = classes.read(window)
        np.testing.assert_array_equal(known, codes[window.rows, window.cols] != 0)
        np.testing.assert_array_equal(read[known], codes[window.rows, window.cols][known])
    assert classes.name(3) == "3"


def test_a_coarser_raster_gives_the_nearest_class_and_none_outside(tmp_path: Path) -> None:
    coarse = PLACE @ Affine.translation(10, 0) @ Affine.scale(10)
    path = raster(tmp_path / "c.tif", np.array([[1, 2], [3, 4]], "u1"), coarse)
    read, known = open_class_map(path, GRID).read(WHOLE)
    assert not known[:, :10].any()
    assert known[:, 10:].all()
    np.testing.assert_array_equal(read[:, 10:], np.kron([[1, 2], [3, 4]], np.ones((10, 10))))


def test_polygons_in_degrees_give_the_class_at_the_centre_of_a_pixel(tmp_path: Path) -> None:
    boxes = [("soil", (2, 3, 12, 13)), ("crop", (10, 3, 20, 13)), ("soil", (25, 0, 30, 20))]
    classes = open_class_map(polygons(tmp_path / "c.geojson", boxes), GRID)
    read, known = classes.read(WHOLE)
    expected = np.full((20, 30), "", object)
    expected[3:13, 2:10] = "soil"
    expected[3:13, 12:20] = "crop"  # 10 and 11 lie in both
    expected[:, 25:] = "soil"
    names = np.array([[classes.name(code) for code in row] for row in read], object)
    np.testing.assert_array_equal(np.where(known, names, ""), expected)
    part, of_part = classes.read(Window(5, 8, 4, 10))
    np.testing.assert_array_equal(of_part, known[5:9, 8:18])
    np.testing.assert_array_equal(part[of_part], read[5:9, 8:18][of_part])


def refused(path: Path, column: str | None = None) -> str:
    with pytest.raises((InputRefused, UsageError)) as error:
        open_class_map(path, GRID, column=column)
    return str(error.value)


def test_rasters_that_are_no_map_of_classes_are_refused(tmp_path: Path) -> None:
    codes = np.ones((3, 4, 5), "u1")
    assert "holds float32" in refused(raster(tmp_path / "f.tif", codes[0].astype("f4")))
    assert "has 3 bands" in refused(raster(tmp_path / "b.tif", codes))
    assert "no CRS" in refused(raster(tmp_path / "n.tif", codes[0], crs=None))
    assert "leave --zone-field out" in refused(raster(tmp_path / "r.tif", codes[0]), "class")


def test_polygons_without_a_class_column_are_refused(tmp_path: Path) -> None:
    path = polygons(tmp_path / "c.geojson", [("a", (0, 0, 5, 5))], column="kind")
    assert "name it with --zone-field" in refused(path)
    assert "no column 'soil'; choose: kind" in refused(path, "soil")
    assert open_class_map(path, GRID, column="KIND").name(0) == "a"
