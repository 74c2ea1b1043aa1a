"""An image as a satellite sees it: means over its cells, weighted with the point spread function.

The image is read once, as means over small blocks. A cell's mean is

    m = sum_i w_i y_i / sum_i w_i,    w_i = v_i exp(-|d_i|^2 / (2 s^2))

over blocks with means y, shares of valid pixels v and distances d from the middle of the cell;
s is `PSF_SIGMA_CELLS`. Its derivatives by the place of the cell and by log s give the error of a
shift and of a width that are not exactly known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np

from uavssr.calibration.registration import Shift, read_unsaturated
from uavssr.errors import InputRefused
from uavssr.io.hsi import (
    map_to_pixel,
    pixel_to_map,
    reproject_points,
    window_around,
    window_outline,
)
from uavssr.io.msi import MsiSource
from uavssr.io.satellite import PSF_SIGMA_CELLS, CellGrid
from uavssr.sensors import FloatArray
from uavssr.tiling import Window

BLOCKS_PER_CELL: Final = 8
"""Blocks along the side of a cell: their own width is then a hundredth of the PSF's variance."""
MIN_PIXELS_PER_CELL: Final = 3.0
"""Least length of a cell in pixels of the image."""
WIDTH_ERROR: Final = 0.06
"""Relative standard deviation of the PSF's width: 22-25 m are measured at 20 m."""
_READ_PIXELS: Final = 2**20
"""Pixels of the image that are read at once, about."""
_BLOCKS_AT_ONCE: Final = 2**16
"""Blocks that are summed at once."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageBlocks:
    """n blocks of an image's pixels at their places on a grid of cells; c bands."""

    places: FloatArray
    """(n, 2) column and row of their middles, in cells."""
    means: FloatArray
    """(n, c) mean reflectance of the valid pixels, 0 where there is none."""
    valid: FloatArray
    """(n,) share of valid pixels."""
    saturated: FloatArray
    """(n,) share of saturated pixels."""
    per_cell: float
    """Blocks on the area of a cell."""

    def near(self, window: Window, cells: int) -> ImageBlocks:
        """The blocks on a window of cells and so many around it."""
        low = np.array([window.col, window.row]) - cells
        high = np.array([window.col + window.width, window.row + window.height]) + cells
        inside = ((self.places > low) & (self.places < high)).all(1)
        return ImageBlocks(
            places=self.places[inside],
            means=self.means[inside],
            valid=self.valid[inside],
            saturated=self.saturated[inside],
            per_cell=self.per_cell,
        )

    def scaled(self, factor: float, offset: FloatArray) -> ImageBlocks:
        """The same blocks on a grid of cells 1 / `factor` as long that begins at `offset` (2,)."""
        return ImageBlocks(
            places=(self.places - offset) * factor,
            means=self.means,
            valid=self.valid,
            saturated=self.saturated,
            per_cell=self.per_cell / factor**2,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CellMeans:
    """An image of c bands on a window of cells."""

    means: FloatArray
    """(c, y, x) reflectance weighted with the PSF; NaN where no pixel is valid."""
    valid: FloatArray
    """(y, x) share of the PSF on valid pixels, 0..1."""
    saturated: FloatArray
    """(y, x) share of the PSF on saturated pixels, 0..1."""


def covered_cells(msi: MsiSource, grid: CellGrid) -> Window | None:
    """The cells of a grid on which an image lies, none around them; None where there are none.

    Raises:
        InputRefused: the image's coordinates are local.
    """
    scene = window_outline(Window(0, 0, msi.height, msi.width))
    try:
        ground = reproject_points(pixel_to_map(msi.transform, scene), msi.crs_wkt, grid.crs_wkt)
    except InputRefused as err:
        raise InputRefused(err.fact, path=msi.summary.paths[0], remedy=err.remedy) from err
    cells = map_to_pixel(grid.transform, ground)
    return window_around(cells, Window(0, 0, grid.height, grid.width))


def read_blocks(msi: MsiSource, grid: CellGrid, window: Window) -> ImageBlocks:
    """The blocks of an image on a window of cells, read strip by strip.

    Raises:
        InputRefused: the image's pixels are not much finer than the cells.
    """
    pixels = _pixels_under(msi, grid, window)
    length = _pixels_per_cell(msi, grid, window)
    if length < MIN_PIXELS_PER_CELL:
        raise InputRefused(
            f"a cell of the satellite, {grid.metres:.3g} m, is {length:.2g} pixels of the image "
            f"long, not {MIN_PIXELS_PER_CELL:g} or more",
            path=msi.summary.paths[0],
            remedy="give a finer image",
        )
    side = max(1, int(length / BLOCKS_PER_CELL))
    parts = [_blocks_of(msi, strip, side) for strip in _strips(pixels, side)]
    middles, means, valid, saturated = (np.concatenate(part) for part in zip(*parts, strict=True))
    ground = reproject_points(pixel_to_map(msi.transform, middles), msi.crs_wkt, grid.crs_wkt)
    return ImageBlocks(
        places=map_to_pixel(grid.transform, ground),
        means=means,
        valid=valid,
        saturated=saturated,
        per_cell=(length / side) ** 2,
    )


def cell_means(blocks: ImageBlocks, window: Window, shift: Shift = (0.0, 0.0)) -> CellMeans:
    """The image on a window of cells; `shift` in cells is how far it lies down and right."""
    return _means_of(_sums(blocks, window, shift, moments=False)[0], blocks)


def cell_means_with_errors(
    blocks: ImageBlocks, window: Window, shift: Shift, *, shift_error: float
) -> tuple[CellMeans, FloatArray]:
    """The same, and the standard deviations (c, y, x) of the means' random errors.

    Args:
        blocks: the image.
        window: the cells.
        shift: as in `cell_means`.
        shift_error: standard deviation of the shift along each axis, in cells.
    """
    sums, count = _sums(blocks, window, shift, moments=True), blocks.means.shape[1]
    cells = _means_of(sums[0, : 2 + count], blocks)
    with np.errstate(invalid="ignore", divide="ignore"):
        # dm = (sum w g y - m sum w g) / sum w  with g = dx / s^2, dy / s^2, |d|^2 / s^2
        slopes = (sums[1:, 2 : 2 + count] - cells.means * sums[1:, :1]) / sums[0, 0]
        variance = np.clip(sums[0, 2 + count :] / sums[0, 0] - cells.means**2, 0, None)
    across, down, width = slopes
    error = shift_error**2 * (across**2 + down**2) + (WIDTH_ERROR * width) ** 2
    error += np.clip(1 - cells.valid, 0, 1) ** 2 * variance
    return cells, np.sqrt(error)


def _means_of(sums: FloatArray, blocks: ImageBlocks) -> CellMeans:
    """Means and shares of sums (2 + c, y, x) of valid shares, saturated shares and values."""
    whole = 2 * math.pi * PSF_SIGMA_CELLS**2 * blocks.per_cell
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(sums[0] > 0, sums[2:] / sums[0], np.nan)
    return CellMeans(means=means, valid=sums[0] / whole, saturated=sums[1] / whole)


def _sums(blocks: ImageBlocks, window: Window, shift: Shift, *, moments: bool) -> FloatArray:
    """Sums (1, 2 + c, y, x) over blocks of w times valid, saturated and value.

    With `moments` (4, 2 + 2 c, y, x): also of squares, and all of them times dx / s^2, dy / s^2 and
    |d|^2 / s^2.
    """
    count = len(blocks.valid)
    shape = (4, 2 + 2 * blocks.means.shape[1]) if moments else (1, 2 + blocks.means.shape[1])
    sums = np.zeros((*shape, window.height * window.width))
    place = blocks.places - (window.col + shift[1], window.row + shift[0])
    for start in range(0, count, _BLOCKS_AT_ONCE):
        part = slice(start, start + _BLOCKS_AT_ONCE)
        means, valid = blocks.means[part], blocks.valid[part, None]
        columns = [valid, blocks.saturated[part, None], valid * means]
        columns += [valid * means**2] if moments else []
        _add(sums, place[part], np.concatenate(columns, axis=1), window.width)
    return sums.reshape(*shape, window.height, window.width)


def _add(sums: FloatArray, place: FloatArray, columns: FloatArray, width: int) -> None:
    """Add columns (n, m) of blocks at places (n, 2) to sums (1 or 4, m, cells), `width` a row.

    Each to the 3 x 3 cells around it: three standard deviations of the PSF.
    """
    height, sigma = sums.shape[2] // width, PSF_SIGMA_CELLS
    for down, right in product((-1, 0, 1), repeat=2):
        col, row = np.floor(place + np.array([right, down])).astype(np.intp).T
        inside = (col >= 0) & (col < width) & (row >= 0) & (row < height)
        cell = (row * width + col)[inside]
        dx = (place[:, 0] - col - 0.5)[inside]
        dy = (place[:, 1] - row - 0.5)[inside]
        square = (dx**2 + dy**2) / sigma**2
        weight = np.exp(-square / 2)
        factors = (weight, weight * dx / sigma**2, weight * dy / sigma**2, weight * square)
        for moment, factor in zip(sums, factors, strict=False):
            for index, column in enumerate(columns[inside].T):
                moment[index] += np.bincount(cell, factor * column, sums.shape[2])


def _pixels_under(msi: MsiSource, grid: CellGrid, window: Window) -> Window:
    """The image's pixels under a window of cells and two cells around it."""
    outer = Window(window.row - 2, window.col - 2, window.height + 4, window.width + 4)
    ground = pixel_to_map(grid.transform, window_outline(outer))
    pixels = map_to_pixel(msi.transform, reproject_points(ground, grid.crs_wkt, msi.crs_wkt))
    scene = Window(0, 0, msi.height, msi.width)
    return window_around(pixels, scene) or scene


def _pixels_per_cell(msi: MsiSource, grid: CellGrid, window: Window) -> float:
    """Length of a cell in pixels of the image, at the middle of a window."""
    middle = np.array([window.col + window.width / 2, window.row + window.height / 2])
    corners = middle + np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    ground = reproject_points(pixel_to_map(grid.transform, corners), grid.crs_wkt, msi.crs_wkt)
    origin, right, down = map_to_pixel(msi.transform, ground)
    (a, b), (c, d) = right - origin, down - origin
    return math.sqrt(abs(a * d - b * c))


def _strips(pixels: Window, side: int) -> Iterator[Window]:
    """Windows of whole blocks that cover a window, but for a rest smaller than a block."""
    side = min(side, pixels.height, pixels.width)
    across = max(1, min(pixels.width, math.isqrt(_READ_PIXELS)) // side) * side
    down = max(1, _READ_PIXELS // (across * side)) * side
    for row in range(pixels.row, pixels.row + pixels.height - side + 1, down):
        height = min(down, pixels.row + pixels.height - row) // side * side
        for col in range(pixels.col, pixels.col + pixels.width - side + 1, across):
            width = min(across, pixels.col + pixels.width - col) // side * side
            yield Window(row, col, height, width)


def _blocks_of(
    msi: MsiSource, window: Window, side: int
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Middles (n, 2) as (column, row), means (n, c), valid and saturated shares (n,)."""
    side = min(side, window.height, window.width)
    shape = window.height // side, side, window.width // side, side
    values, valid, saturated = read_unsaturated(msi, window)
    share = valid.reshape(shape).mean((1, 3))
    summed = np.where(valid, values, 0).reshape(-1, *shape).mean((2, 4), dtype=float)
    means = summed / np.maximum(share, 1e-12)
    rows, cols = np.mgrid[: shape[0], : shape[2]] * side + side / 2
    middles = np.stack([window.col + cols.ravel(), window.row + rows.ravel()], axis=1)
    full = saturated.reshape(shape).mean((1, 3))
    return middles, means.reshape(len(values), -1).T, share.ravel(), full.ravel()
