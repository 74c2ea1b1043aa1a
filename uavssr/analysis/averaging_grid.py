"""A coarser grid over an image: its cells, and the share of each pixel that lies in each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from uavssr.errors import InputRefused, UsageError
from uavssr.io.checks import PathLike, check_raster
from uavssr.io.hsi import (
    TargetGrid,
    map_to_pixel,
    pixel_to_map,
    reproject_points,
    window_around,
    window_outline,
)
from uavssr.io.raster import is_rotated, metres_per_unit, opened_metadata, read_place, unit_metres
from uavssr.sensors import FloatArray, IndexArray
from uavssr.tiling import Window

if TYPE_CHECKING:
    from uavssr.analysis.spectral_source import SpectralSource

PARTS_OF_CELL: Final = 32
"""Where pixels lie askew in the cells, each is cut into parts of at most a cell's side over this
number, which count for the cell of their centre."""
KNOT_PIXELS: Final = 32
"""Most pixels between two places that are transformed to another CRS."""
FINEST_CELL: Final = 0.5
"""Least side of a cell in pixels of the image."""
PLAIN_SCALE: Final = 0.01
"""Scale error of a map projection below which its metres count as metres: 0.0004 in UTM."""
_SLIVER: Final = 1e-6
"""Share of a pixel below which it does not count, as it comes from rounding."""


class CellShares(NamedTuple):
    """The pixels of a window in the cells that it reaches into, as n pairs."""

    window: Window
    """The cells."""
    cells: IndexArray
    """(n,) numbers of the cells in their window, row by row."""
    pixels: IndexArray
    """(n,) numbers of the pixels in theirs."""
    share: FloatArray
    """(n,) part of the pixel's area that lies in the cell, above 0."""
    pixel_area: float
    """Area of a pixel in cells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragingGrid:
    """Cells over the pixels of an image."""

    source: TargetGrid
    """The image."""
    target: TargetGrid
    """The cells that the image reaches into."""

    @classmethod
    def of_resolution(cls, source: SpectralSource, metres: float) -> AveragingGrid:
        """Square cells of so many metres, north up, whose borders are multiples of their size.

        In a projection whose scale is within `PLAIN_SCALE` of 1, such as UTM, a metre is one of the
        map. In others, and in degrees, it is one on the ground at the image's middle.

        Raises:
            UsageError: no positive size, or cells finer than pixels.
        """
        if not 0 < metres < math.inf:
            raise UsageError(f"--resolution must be positive metres, got {metres:g}")
        width, height = source.pixel_size
        if metres < FINEST_CELL * min(width, height):
            raise UsageError(
                f"--resolution {metres:g} is finer than the image's pixels of {width:.3g} m",
                remedy=f"leave it out, or give {math.ceil(1000 * max(width, height)) / 1000:g} "
                "or more",
            )
        image = _grid_of(source)
        points = pixel_to_map(image.transform, window_outline(_whole(image)))
        x, y = points.mean(0).tolist()
        sizes = np.array([metres / unit for unit in _metres_of_map(image.crs_wkt, x, y)])
        left, bottom = np.floor(points.min(0) / sizes + _SLIVER)
        right, top = np.ceil(points.max(0) / sizes - _SLIVER)
        target = TargetGrid(
            height=int(top - bottom),
            width=int(right - left),
            crs_wkt=image.crs_wkt,
            transform=(
                *(float(sizes[0]), 0.0, float(left * sizes[0])),
                *(0.0, -float(sizes[1]), float(top * sizes[1])),
            ),
        )
        return cls(source=image, target=target)

    @classmethod
    def like(cls, source: SpectralSource, path: PathLike) -> AveragingGrid:
        """The pixels of another raster, as far as the image reaches.

        Raises:
            InputRefused: the raster cannot be read, has no place, lies elsewhere, or has pixels
                finer than the image's.
        """
        checked = check_raster(path)
        with opened_metadata(checked) as dataset:
            place = read_place(dataset, checked)
        image = _grid_of(source)
        whole = TargetGrid(
            height=place.height,
            width=place.width,
            crs_wkt=_same_text(place.crs_wkt, image.crs_wkt),
            transform=place.transform,
        )
        over = cls(source=image, target=whole)
        window = window_around(over.to_cells(window_outline(_whole(image))), _whole(whole))
        if window is None:
            remedy = "give an image of the same ground, or use --resolution"
            raise InputRefused("does not overlap the image", path=place.path, remedy=remedy)
        if over.pixel_area(window_centre(_whole(image))) > 1 / FINEST_CELL**2:
            raise InputRefused(
                "its pixels are finer than half of those of the image",
                path=place.path,
                remedy="give a coarser image, or leave out --grid",
            )
        a, b, _, d, e, _ = place.transform
        x, y = pixel_to_map(place.transform, np.array([[window.col, window.row]]))[0].tolist()
        target = TargetGrid(
            height=window.height,
            width=window.width,
            crs_wkt=whole.crs_wkt,
            transform=(a, b, x, d, e, y),
        )
        return cls(source=image, target=target)

    def to_cells(self, points: FloatArray) -> FloatArray:
        """Places (n, 2) given as (column, row) of the image, as (column, row) of the cells."""
        ground = pixel_to_map(self.source.transform, points)
        moved = reproject_points(ground, self.source.crs_wkt, self.target.crs_wkt)
        return map_to_pixel(self.target.transform, moved)

    def pixel_area(self, place: FloatArray) -> float:
        """Area in cells of a pixel at a place (2,) of the image."""
        steps = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        origin, right, down = self.to_cells(place + steps)
        (a, b), (c, d) = right - origin, down - origin
        return abs(float(a * d - b * c))

    def shares(self, window: Window) -> CellShares | None:
        """The pixels of a window in the cells; None where it reaches into none."""
        reached = window_around(self.to_cells(window_outline(window)), _whole(self.target), 1)
        if reached is None:
            return None
        pairs = self._upright(window) if self._is_upright() else self._askew(window)
        rows, cols, pixels, share = pairs
        rows, cols = rows - reached.row, cols - reached.col
        inside = (rows >= 0) & (rows < reached.height) & (cols >= 0) & (cols < reached.width)
        cells = rows[inside] * reached.width + cols[inside]
        area = self.pixel_area(window_centre(window))
        return CellShares(reached, cells, pixels[inside], share[inside], area)

    def _lattice(self, window: Window, rows: FloatArray, cols: FloatArray) -> FloatArray:
        """(r, c, 2) rows x columns of a window as (column, row) of the cells.

        Only knots are transformed, others interpolated: of pixels of 30 m to 0.001 pixels.
        """
        knot_rows, row_weights = _hats(rows, window.row, window.height)
        knot_cols, col_weights = _hats(cols, window.col, window.width)
        x, y = np.meshgrid(knot_cols, knot_rows)
        knots = self.to_cells(np.stack([x.ravel(), y.ravel()], 1)).reshape(*x.shape, 2)
        # row weights K column weights^T, for each coordinate
        return np.stack([row_weights @ knots[..., k] @ col_weights.T for k in (0, 1)], -1)

    def _is_upright(self) -> bool:
        """Whether rows and columns of pixels and cells run alike, so that areas are exact."""
        source, target = self.source, self.target
        return source.crs_wkt == target.crs_wkt and not any(
            is_rotated(grid.transform, height=grid.height, width=grid.width)
            for grid in (source, target)
        )

    def _upright(self, window: Window) -> _Pairs:
        """Rows and columns of cells, pixels and shares: products of overlaps along both axes."""
        corners = np.array(
            [
                [window.col, window.row],
                [window.col + window.width, window.row + window.height],
            ],
            float,
        )
        (left, top), (right, bottom) = self.to_cells(corners)
        col, of_col, col_share = _overlaps(left, right, window.width)
        row, of_row, row_share = _overlaps(top, bottom, window.height)
        return (
            np.repeat(row, len(col)),
            np.tile(col, len(row)),
            (of_row[:, None] * window.width + of_col).ravel(),
            (row_share[:, None] * col_share).ravel(),
        )

    def _askew(self, window: Window) -> _Pairs:
        """The same by parts of pixels, each in the cell of its centre."""
        side = math.sqrt(self.pixel_area(window_centre(window)))
        parts = max(1, min(PARTS_OF_CELL, math.ceil(side * PARTS_OF_CELL)))
        offsets = (np.arange(parts) + 0.5) / parts
        cols = (window.col + np.arange(window.width)[:, None] + offsets).ravel()
        rows = (window.row + np.arange(window.height)[:, None] + offsets).ravel()
        places = self._lattice(window, rows, cols).reshape(-1, 2)
        row, col = np.divmod(np.arange(len(places)), len(cols))
        pixel = row // parts * window.width + col // parts
        known = np.isfinite(places).all(1)
        cell, pixel = np.floor(places[known]).astype(np.int64), pixel[known]
        if parts == 1:
            return cell[:, 1], cell[:, 0], pixel, np.ones(pixel.size)
        # parts of one pixel in one cell have the same key
        first, size = cell.min(0), np.ptp(cell, 0) + 1
        flat = (cell[:, 1] - first[1]) * size[0] + cell[:, 0] - first[0]
        keys, counts = np.unique(flat * window.height * window.width + pixel, return_counts=True)
        flat, pixel = np.divmod(keys, window.height * window.width)
        row, col = np.divmod(flat, size[0])
        return row + first[1], col + first[0], pixel, counts / parts**2


def _hats(places: FloatArray, start: int, length: int) -> tuple[FloatArray, FloatArray]:
    """Knots (k,) along a side of a window, and weights (n, k) that interpolate between them."""
    knots = np.linspace(start, start + length, math.ceil(length / KNOT_PIXELS) + 1)
    step = knots[1] - knots[0]
    return knots, np.clip(1 - np.abs(places[:, None] - knots) / step, 0, None)


_Pairs = tuple[IndexArray, IndexArray, IndexArray, FloatArray]


def _overlaps(start: float, stop: float, count: int) -> tuple[IndexArray, IndexArray, FloatArray]:
    """Cells, pixels and the pixels' shares in the cells, of pixels along a line.

    Args:
        start: where the first pixel begins, in cells.
        stop: where the last one ends.
        count: number of pixels.
    """
    edges = np.linspace(start, stop, count + 1)
    low, high = np.minimum(edges[:-1], edges[1:]), np.maximum(edges[:-1], edges[1:])
    reach = math.ceil(abs(stop - start) / count) + 1
    cell = np.floor(low)[:, None] + np.arange(reach)
    length = np.minimum(high[:, None], cell + 1) - np.maximum(low[:, None], cell)
    share = length / (high - low)[:, None]
    pixel, number = np.nonzero(share > _SLIVER)
    return cell[pixel, number].astype(np.int64), pixel, share[pixel, number]


def _metres_of_map(crs_wkt: str, x: float, y: float) -> tuple[float, float]:
    """Metres of a unit of x and y, those of the map where its scale is about 1."""
    along = metres_per_unit(crs_wkt, x=x, y=y)
    unit = unit_metres(crs_wkt)
    if unit is not None and all(abs(size / unit - 1) < PLAIN_SCALE for size in along):
        return unit, unit
    return along


def _same_text(crs_wkt: str, other: str) -> str:
    """The text of the other CRS where both are the same, else its own."""
    from pyproj import CRS

    same = CRS.from_wkt(crs_wkt).equals(CRS.from_wkt(other), ignore_axis_order=True)
    return other if same else crs_wkt


def _grid_of(source: SpectralSource) -> TargetGrid:
    return TargetGrid(
        height=source.height,
        width=source.width,
        crs_wkt=source.crs_wkt,
        transform=source.transform,
    )


def _whole(grid: TargetGrid) -> Window:
    return Window(0, 0, grid.height, grid.width)


def window_centre(window: Window) -> FloatArray:
    """Column and row (2,) of the middle of a window."""
    return np.array([window.col + window.width / 2, window.row + window.height / 2])
