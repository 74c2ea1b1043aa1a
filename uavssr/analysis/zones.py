"""Zones of an image: polygons of a vector file, and the pixels that they cover in part or whole."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from uavssr.errors import InputRefused, UsageError
from uavssr.io.hsi import map_to_pixel
from uavssr.io.zones import check_outlines, read_polygons, reprojected
from uavssr.sensors import FloatArray
from uavssr.tiling import TileGrid, Window

if TYPE_CHECKING:
    from shapely import Geometry

    from uavssr.analysis.spectral_source import SpectralSource

ID_NAMES: Final = ("id", "plot", "plot_id", "name", "fid")
"""Names of the column that identifies zones, where none is given: the first that is there."""


class CoveredPixels(NamedTuple):
    """The n pixels of a window that a zone covers."""

    rows: npt.NDArray[np.int64]
    """(n,) rows in the window."""
    cols: npt.NDArray[np.int64]
    """(n,) columns in the window."""
    share: FloatArray
    """(n,) share of each pixel that is covered, above 0."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Zone:
    """A zone of an image."""

    name: str
    """Its identifier."""
    outline: Geometry
    """Its polygon in columns and rows of the image."""

    def area_within(self, height: int, width: int) -> float:
        """Pixels that it covers of an image of that size."""
        import shapely

        return float(shapely.area(self.outline.intersection(shapely.box(0, 0, width, height))))

    def rings(self) -> list[FloatArray]:
        """The outer rings (k, 2) of its polygons, columns and rows of the image."""
        import shapely

        parts = shapely.get_parts(self.outline)
        return [shapely.get_coordinates(part.exterior) for part in parts]

    def within(self, window: Window) -> CoveredPixels | None:
        """The pixels of a window that it covers, None if there are none.

        The share of each is exact (`exactextract`, Baston 2023).
        """
        left, top, right, bottom = self.outline.bounds
        first_row, last_row = max(window.row, int(top)), min(window.row + window.height, bottom)
        first_col, last_col = max(window.col, int(left)), min(window.col + window.width, right)
        height, width = int(np.ceil(last_row)) - first_row, int(np.ceil(last_col)) - first_col
        if height <= 0 or width <= 0 or right <= 0 or bottom <= 0:
            return None
        cells, share = _coverage(self.outline, first_row, first_col, height, width)
        if not len(cells):
            return None
        rows, cols = np.divmod(cells, width)
        offset_row, offset_col = first_row - window.row, first_col - window.col
        return CoveredPixels(rows + offset_row, cols + offset_col, share)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ZoneSet:
    """The zones of a file that lie in an image, at least in part."""

    zones: tuple[Zone, ...]
    """In the order of the file."""
    outside: tuple[str, ...]
    """Identifiers of those that lie outside, or that the buffer left nothing of."""


def whole_image(source: SpectralSource) -> Zone:
    """A zone that covers an image."""
    import shapely

    return Zone(name="image", outline=shapely.box(0, 0, source.width, source.height))


def zones_by_tile(tiles: TileGrid, zones: Sequence[Zone]) -> dict[int, list[int]]:
    """The numbers of the zones that reach into each tile, by the tile's number."""
    by_tile = defaultdict[int, list[int]](list)
    rows, cols = tiles.shape
    for number, zone in enumerate(zones):
        left, top, right, bottom = (int(side // tiles.tile) for side in zone.outline.bounds)
        for row in range(max(0, top), min(rows - 1, bottom) + 1):
            for col in range(max(0, left), min(cols - 1, right) + 1):
                by_tile[row * cols + col].append(number)
    return dict(by_tile)


def outside_notice(outside: Sequence[str], count: int, images: str) -> str:
    """The first of `count` plots that lie outside `images`, by their identifiers."""
    named = ", ".join(outside[:5]) + (", ..." if len(outside) > 5 else "")
    return f"{len(outside)} of {count} plots lie outside {images}: {named}"


def read_zones(
    path: Path, source: SpectralSource, *, id_column: str | None = None, buffer: float = 0.0
) -> ZoneSet:
    """The zones of a vector file that GDAL reads, in the pixels of an image.

    Args:
        path: GeoPackage, GeoJSON or Shapefile, of one layer, in any CRS.
        source: the image.
        id_column: the column that identifies zones; by default the first of `ID_NAMES`.
        buffer: metres that the zones grow by on all sides; negative: shrink.

    Raises:
        UsageError: no such column, or `pyogrio`, `shapely` or `exactextract` is not installed.
        InputRefused: no vector file, no CRS, no polygons, identifiers twice, an invalid polygon, or
            all zones lie outside the image.
    """
    names, outlines = _read(path, source, id_column)
    zones, outside = [], []
    for name, outline in zip(names, outlines, strict=True):
        shape = _in_pixels(outline, source)
        if buffer:
            shape = _buffered(shape, buffer, source.pixel_size)
        if shape.is_empty or not _overlaps(shape.bounds, source):
            outside.append(name)
        else:
            zones.append(Zone(name=name, outline=shape))
    if not zones:
        raise InputRefused(
            f"none of its {len(names)} zones lies in the image"
            + (f" with --buffer {buffer:g}" if buffer else ""),
            path=path,
            remedy="check the coordinates of both, and --buffer",
        )
    return ZoneSet(zones=tuple(zones), outside=tuple(outside))


def _read(
    path: Path, source: SpectralSource, id_column: str | None
) -> tuple[list[str], list[Geometry]]:
    """Identifiers and polygons in the CRS of the image."""
    try:
        import exactextract  # noqa: F401 - needed once the zones are read
    except ModuleNotFoundError as err:
        remedy = 'pip install "uavssr[plots]"'
        raise UsageError(f"{err.name} is not installed", remedy=remedy) from err
    layer = read_polygons(path)
    names = _names(path, layer.columns, id_column)
    check_outlines(path, names, layer.outlines)
    return names, reprojected(path, layer, source.crs_wkt)


def _names(path: Path, columns: dict[str, npt.NDArray[Any]], id_column: str | None) -> list[str]:
    """The identifiers of the zones, each once."""
    keys = {name.casefold(): name for name in columns}
    wanted = ID_NAMES if id_column is None else (id_column,)
    column = next((keys[name.casefold()] for name in wanted if name.casefold() in keys), None)
    listed = ", ".join(columns) or "none"
    if column is None and id_column is not None:
        raise UsageError(f"{path.name} has no column {id_column!r}", remedy=f"choose: {listed}")
    if column is None:
        raise InputRefused(
            f"no column identifies its zones (columns: {listed})",
            path=path,
            remedy="name one with --id COLUMN",
        )
    values = columns[column].tolist()
    if any(value is None or (isinstance(value, float) and math.isnan(value)) for value in values):
        raise InputRefused(
            f"a zone has no value in the column {column} (columns: {listed})",
            path=path,
            remedy="fill it in, or name another column with --id COLUMN",
        )
    names = [str(value) for value in values]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise InputRefused(
            f"its column {column} has {twice!r} twice",
            path=path,
            remedy="name a column of unique values with --id COLUMN",
        )
    return names


def _in_pixels(outline: Geometry, source: SpectralSource) -> Geometry:
    """The polygon in columns and rows of the image."""
    import shapely

    return shapely.transform(outline, lambda points: map_to_pixel(source.transform, points))


def _buffered(outline: Geometry, metres: float, pixel: tuple[float, float]) -> Geometry:
    """The polygon grown by metres, of pixels of that width and height in metres."""
    from shapely import affinity

    width, height = pixel
    in_metres = affinity.scale(outline, width, height, origin=(0, 0))
    return affinity.scale(in_metres.buffer(metres), 1 / width, 1 / height, origin=(0, 0))


def _coverage(
    outline: Geometry, row: int, col: int, height: int, width: int
) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Numbers (n,), row by row, and covered shares (n,) of a window's pixels."""
    import shapely
    from exactextract import exact_extract
    from exactextract.raster import NumPyRasterSource

    # exactextract counts y upwards
    raster = NumPyRasterSource(
        np.zeros((height, width)), xmin=col, xmax=col + width, ymin=-(row + height), ymax=-row
    )
    upwards = shapely.transform(outline, lambda points: points * (1, -1))
    feature = {"type": "Feature", "properties": {}, "geometry": upwards.__geo_interface__}
    [result] = exact_extract(raster, [feature], ["cell_id", "coverage"], output="geojson")
    cells, share = (result["properties"][name] for name in ("cell_id", "coverage"))
    return np.asarray(cells, np.int64), np.asarray(share, float)


def _overlaps(bounds: tuple[float, float, float, float], source: SpectralSource) -> bool:
    left, top, right, bottom = bounds
    return right > 0 and bottom > 0 and left < source.width and top < source.height
