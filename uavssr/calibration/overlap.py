"""What an image and a hyperspectral cube both show: means over blocks of the image's pixels.

The cube is moved to where the image has it first. Must not judge how well the two go together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from uavssr.calibration.alignment import PATTERNS, View, patterns, shift_between
from uavssr.io.hsi import (
    AVERAGING_RATIO,
    CubeSource,
    TargetGrid,
    WarpedCube,
    map_to_pixel,
    pixel_to_map,
    reproject_points,
)
from uavssr.io.msi import MsiSource
from uavssr.io.raster import SAME_GRID
from uavssr.sensors import BoolArray, Float32Array, FloatArray
from uavssr.tiling import TileGrid, Window

Shift = tuple[float, float]

SIDE: Final = 32
"""Side of the windows that are read, in blocks."""
WINDOWS: Final = 64
"""Most windows that are read, evenly spaced over the overlap."""
MOST: Final = 4000
"""Most blocks that are kept, evenly spaced: more would say little that is new."""
STEADY: Final = 2
"""A block is so many times as long as it must be where the overlap holds `ENOUGH` such blocks: cube
and image differ in sharpness, which matters less to it."""
ENOUGH: Final = 400
COARSE: Final = 4
"""The shift is looked for on blocks so many times as long first, to find one of several pixels."""
STILL: Final = 0.1
"""Pixels of the image below which a cube stays where it is: moving blurs, and what is left shows in
the patterns."""
VIEWS: Final = 9
"""Most windows in which the shift is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overlap:
    """k blocks that cube and image both cover wholly."""

    spectra: FloatArray
    """(k, C) means of the cube, reflectance."""
    msi: FloatArray
    """(k, c) means of the image, reflectance."""
    patterns: FloatArray
    """(k, c, 4) what errors of place and sharpness would leave in the image, see `alignment`."""
    block: int
    """Side of a block in pixels of the image."""
    shift: Shift
    """Rows and columns of the image by which the cube was moved."""
    skipped: dict[str, int]
    """Blocks that the cube covers and the image does not show, by reason."""


def read_overlap(cube: CubeSource, msi: MsiSource) -> Overlap:
    """Blocks of the overlap, evenly spaced where there are many; none where there is no overlap."""
    block = _block(cube, msi)
    shift = _shift(cube, msi, block)
    warped = _warped(cube, msi, block, shift)
    bands, response = len(msi.sensor), _response(cube, msi)
    spectra, seen = [np.empty((0, len(cube.grid)))], [np.empty((0, bands))]
    errors, skipped = [np.empty((0, bands, PATTERNS))], Counter[str]()
    for window in _windows(warped, WINDOWS):
        outer = window.grown(1, height=warped.height, width=warped.width)
        core = (slice(None), *window.within(outer))
        around, covered = warped.read(outer)
        known, covered = around[core], covered[core[1:]]
        means, valid, saturated = _block_means(msi, window, block)
        skipped["invalid in the image"] += int((covered & ~valid & ~saturated).sum())
        skipped["saturated in the image"] += int((covered & saturated).sum())
        usable = covered & valid
        expected = patterns(np.tensordot(response, around, 1))[(slice(None), *core)]
        spectra.append(known[:, usable].T.astype(float))
        seen.append(means[:, usable].T.astype(float))
        errors.append(expected[..., usable].T.astype(float))
    every = np.concatenate(spectra)
    chosen = np.linspace(0, len(every) - 1, min(len(every), MOST)).round().astype(int)
    return Overlap(
        spectra=every[chosen],
        msi=np.concatenate(seen)[chosen],
        patterns=np.concatenate(errors)[chosen],
        block=block,
        shift=shift,
        skipped=dict(+skipped),
    )


def look(msi: MsiSource, window: Window) -> tuple[Float32Array, BoolArray, BoolArray]:
    """Reflectance (c, y, x) of a window, and its pixels (y, x) that are valid, and saturated.

    A pixel with the largest number that its type holds, in any band, is saturated and not valid.
    """
    numbers, stated = msi.reader.read(window)
    values, valid = msi.scale.masked(numbers, stated & msi.rule.valid(numbers))
    if numbers.dtype.kind not in "iu":
        return values, valid, np.zeros_like(valid)
    largest = np.iinfo(numbers.dtype.name).max
    saturated = np.asarray(np.equal(numbers, largest).any(0)) & valid
    return values, valid & ~saturated, saturated


def _block_means(
    msi: MsiSource, window: Window, block: int
) -> tuple[Float32Array, BoolArray, BoolArray]:
    """Means (c, y, x) over blocks; those valid all over, and those with a saturated pixel."""
    row, col = window.row * block, window.col * block
    pixels = Window(row, col, window.height * block, window.width * block)
    values, valid, saturated = look(msi, pixels)
    shape = window.height, block, window.width, block
    return (
        values.reshape(-1, *shape).mean((2, 4)),
        np.asarray(valid.reshape(shape).all((1, 3))),
        np.asarray(saturated.reshape(shape).any((1, 3))),
    )


def _shift(cube: CubeSource, msi: MsiSource, block: int) -> Shift:
    """Rows and columns of the image by which the cube is to be moved, on coarse blocks first."""
    shift = 0.0, 0.0
    for side in (COARSE * block, block, block):  # the last time without bias
        if min(msi.height, msi.width) < side:
            continue
        warped = _warped(cube, msi, side, shift)
        views = list(_views(warped, msi, side, _response(cube, msi)))
        down, right = shift_between(views)
        shift = shift[0] + side * down, shift[1] + side * right
    return (0.0, 0.0) if np.hypot(*shift) < STILL else shift


def _views(
    warped: WarpedCube, msi: MsiSource, block: int, response: Float32Array
) -> Iterator[View]:
    """What cube and image say of the same windows, NaN where they say nothing."""
    for window in _windows(warped, VIEWS):
        expected = np.tensordot(response, warped.read(window)[0], 1)
        seen, valid, _ = _block_means(msi, window, block)
        yield expected, np.where(valid, seen, np.float32(np.nan))


def _response(cube: CubeSource, msi: MsiSource) -> Float32Array:
    """The data sheet's response (c, C); past the cube's ends its last wavelength stands in."""
    return np.asarray(msi.sensor.response() @ cube.grid.interpolation(), np.float32)


def _warped(cube: CubeSource, msi: MsiSource, block: int, shift: Shift) -> WarpedCube:
    """The cube on blocks of the image's pixels, moved by `shift` pixels of the image."""
    a, b, c, d, e, f = msi.transform
    target = TargetGrid(
        height=msi.height // block,
        width=msi.width // block,
        crs_wkt=msi.crs_wkt,
        transform=(a * block, b * block, c, d * block, e * block, f),
    )
    return WarpedCube(cube=cube, target=target, shift=(shift[0] / block, shift[1] / block))


def _block(cube: CubeSource, msi: MsiSource) -> int:
    """Side of a block: one pixel on a common grid, else such that the cube is finer than it."""
    pixel = _warped(cube, msi, 1, (0.0, 0.0))
    needed = 1 if _aligned(cube, msi) else int(pixel.ratio / AVERAGING_RATIO) + 1
    common = pixel.common()
    steady = STEADY * needed
    plenty = common is not None and common.height * common.width >= ENOUGH * steady**2
    return min(steady if plenty else needed, msi.height, msi.width)


def _aligned(cube: CubeSource, msi: MsiSource) -> bool:
    """Whether the cube's pixels are pixels of the image."""
    corners = np.array([[0.0, 0.0], [cube.width, 0.0], [cube.width, cube.height]])
    ground = pixel_to_map(cube.place.transform, corners)
    own = reproject_points(ground, cube.place.crs_wkt, msi.crs_wkt)
    place = map_to_pixel(msi.transform, own)
    moved = place - corners
    same = np.abs(moved - moved[0].round()).max() < SAME_GRID
    return bool(np.isfinite(place).all() and same)


def _windows(warped: WarpedCube, most: int) -> Iterator[Window]:
    """Up to `most` windows, evenly spaced over what the cube covers."""
    common = warped.common()
    if common is None:
        return
    tiles = TileGrid(height=common.height, width=common.width, tile=SIDE)
    for index in np.linspace(0, len(tiles) - 1, min(len(tiles), most)).round().astype(int):
        core = tiles[int(index)].core
        yield Window(core.row + common.row, core.col + common.col, core.height, core.width)
