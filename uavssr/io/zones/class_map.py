"""The class of ground of each pixel of an image, from a raster of integers or from polygons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from uavssr.errors import InputRefused, UsageError
from uavssr.io.checks import check_raster
from uavssr.io.hsi import TargetGrid, map_to_pixel, pixel_to_map, reproject_points
from uavssr.io.raster import (
    BandReader,
    FileBands,
    Place,
    opened_metadata,
    read_band_metadata,
    read_place,
)
from uavssr.io.zones.polygons import check_outlines, read_polygons, reprojected
from uavssr.sensors import BoolArray, FloatArray, NumberArray
from uavssr.tiling import Window

if TYPE_CHECKING:
    from shapely import Geometry

VECTOR_SUFFIXES: Final = (".gpkg", ".geojson", ".json", ".shp", ".fgb")
"""Files that are read as polygons; others are rasters."""
CLASS_COLUMNS: Final = ("class", "landcover", "land_cover", "crop", "type")
"""Names of the column that holds the class, where none is given: the first that is there."""

_MAX_PIXELS: Final = 2**24
"""Most pixels of a raster that are read at once."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassMap:
    """The classes of ground on the grid of an image."""

    read: Callable[[Window], tuple[NumberArray, BoolArray]]
    """Codes (h, w) of the classes in a window, and the pixels (h, w) that have a class."""
    name: Callable[[int], str]
    """The name of a code."""


def open_class_map(path: Path, grid: TargetGrid, *, column: str | None = None) -> ClassMap:
    """The classes of a file on the grid of an image, pixel by pixel.

    A pixel has the class of the raster's pixel or of the polygon at its centre, in any CRS. Nodata
    has none; pixels in polygons of two classes have none either.

    Args:
        path: a raster of one integer band, or a vector file of polygons.
        grid: of the image.
        column: of the vector file, that holds the class; by default one of `CLASS_COLUMNS`.

    Raises:
        UsageError: no such column, or the file is a raster and has none.
        InputRefused: the file is broken or has no CRS, or its numbers are no classes.
    """
    if path.suffix.lower() in VECTOR_SUFFIXES:
        return _of_polygons(path, grid, column)
    if column is not None:
        fact = f"{path.name} is a raster, and --zone-field names a column of polygons"
        raise UsageError(fact, remedy="leave --zone-field out")
    return _of_raster(path, grid)


def _of_raster(path: Path, grid: TargetGrid) -> ClassMap:
    checked = check_raster(path)
    with opened_metadata(checked) as dataset:
        bands, place = read_band_metadata(dataset, checked), read_place(dataset, checked)
    colours = [band for band in bands if not band.is_alpha]
    if len(colours) != 1:
        raise InputRefused(
            f"has {len(colours)} bands; a map of classes has one",
            path=path,
            remedy=f"take one out: gdal_translate -b 1 {path.name} classes.tif",
        )
    band = colours[0]
    if np.dtype(band.dtype).kind not in "iu":
        raise InputRefused(
            f"holds {band.dtype}; a map of classes holds integers",
            path=path,
            remedy=f"convert it: gdal_translate -ot Int16 {path.name} classes.tif",
        )
    stored = FileBands(
        checked=checked,
        indexes=(band.index,),
        positions=(0,),
        alphas=tuple(other.index for other in bands if other.is_alpha),
        mask=band.index if band.masked else None,
    )
    reader = BandReader(files=(stored,), height=place.height, width=place.width)

    def read(window: Window) -> tuple[NumberArray, BoolArray]:
        return _nearest(reader, place, grid, window, band.nodata)

    return ClassMap(read=read, name=str)


def _nearest(
    reader: BandReader, place: Place, grid: TargetGrid, window: Window, nodata: float | None
) -> tuple[NumberArray, BoolArray]:
    """Numbers (h, w) of the raster's pixels at the centres of the image's, and which there are."""
    y, x = np.mgrid[window.rows, window.cols] + 0.5
    points = pixel_to_map(grid.transform, np.stack([x.ravel(), y.ravel()], axis=1))
    try:
        there = reproject_points(points, grid.crs_wkt, place.crs_wkt)
    except InputRefused as err:
        path = reader.files[0].checked.path
        raise InputRefused(err.fact, path=path, remedy=err.remedy) from err
    pixels = map_to_pixel(place.transform, there)
    size = np.array([place.width, place.height])
    inside = ((pixels >= 0) & (pixels < size)).all(1)  # infinite ones are outside
    codes, known = np.zeros(len(points), np.int64), np.zeros(len(points), bool)
    if inside.any():
        col, row = np.floor(pixels[inside]).astype(np.intp).T
        top, left = int(row.min()), int(col.min())
        outer = Window(top, left, int(row.max()) - top + 1, int(col.max()) - left + 1)
        if outer.height * outer.width > _MAX_PIXELS:
            raise InputRefused(
                f"its pixels are far finer than those of the image: {outer.height} x {outer.width} "
                f"lie under {window.height} x {window.width}",
                path=reader.files[0].checked.path,
                remedy="resample it to the image's pixels, e.g. gdalwarp -r mode -tr",
            )
        numbers, valid = reader.read(outer)
        taken = numbers[0][row - top, col - left]
        codes[inside] = taken
        known[inside] = valid[row - top, col - left] & (taken != nodata)
    return codes.reshape(y.shape), known.reshape(y.shape)


def _of_polygons(path: Path, grid: TargetGrid, column: str | None) -> ClassMap:
    layer = read_polygons(path)
    values = _class_column(path, layer.columns, column)
    check_outlines(path, values, layer.outlines)
    names = sorted(set(values))
    outlines = [_in_pixels(outline, grid) for outline in reprojected(path, layer, grid.crs_wkt)]
    by_class = [
        [outline for outline, value in zip(outlines, values, strict=True) if value == name]
        for name in names
    ]

    def read(window: Window) -> tuple[NumberArray, BoolArray]:
        inside = np.stack([_burnt(shapes, window) for shapes in by_class])
        return inside.argmax(0).astype(np.int64), inside.sum(0) == 1

    return ClassMap(read=read, name=names.__getitem__)


def _class_column(path: Path, columns: dict[str, NumberArray], column: str | None) -> list[str]:
    """The class of each polygon, as text."""
    keys = {name.casefold(): name for name in columns}
    wanted = CLASS_COLUMNS if column is None else (column,)
    found = next((keys[name.casefold()] for name in wanted if name.casefold() in keys), None)
    listed = ", ".join(columns) or "none"
    if found is None and column is not None:
        raise UsageError(f"{path.name} has no column {column!r}", remedy=f"choose: {listed}")
    if found is None:
        raise InputRefused(
            f"no column names the classes (columns: {listed})",
            path=path,
            remedy="name it with --zone-field COLUMN",
        )
    return [str(value) for value in columns[found].tolist()]


def _in_pixels(outline: Geometry, grid: TargetGrid) -> Geometry:
    import shapely

    def moved(points: FloatArray) -> FloatArray:
        return map_to_pixel(grid.transform, points)

    return shapely.transform(outline, moved)


def _burnt(shapes: Sequence[Geometry], window: Window) -> BoolArray:
    """(h, w) pixels of a window whose centre lies in one of the polygons."""
    import shapely
    from rasterio.features import rasterize
    from rasterio.transform import Affine

    size = (window.height, window.width)
    box = shapely.box(window.col, window.row, window.col + size[1], window.row + size[0])
    near = [shape for shape in shapes if shape.intersects(box)]
    if not near:
        return np.zeros(size, bool)
    place = Affine.translation(window.col, window.row)
    return np.asarray(rasterize(near, out_shape=size, transform=place), np.uint8) > 0
