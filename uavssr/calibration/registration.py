"""The shift of a hyperspectral cube against an image, on common blocks of the image's pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

import numpy as np

from uavssr.calibration.lucas_kanade import ImagePair, estimate_shift
from uavssr.io.hsi import CubeSource, TargetGrid, WarpedCube
from uavssr.io.msi import MsiSource
from uavssr.io.raster import read_pixels
from uavssr.sensors import BoolArray, Float32Array
from uavssr.tiling import TileGrid, Window

Shift = tuple[float, float]
"""Rows and columns of the image by which a cube is moved down and right."""

WINDOW_BLOCKS: Final = 32
"""Side of the windows that are read, in blocks."""
COARSE_FACTOR: Final = 4
"""Factor on the side of the blocks on which a shift of several pixels is searched first."""
MIN_SHIFT_PX: Final = 0.1
"""Pixels of the image below which a cube is not moved: interpolation blurs, and what remains is
fitted by `misregistration_patterns`."""
MAX_LAST_STEP_PX: Final = 0.5
"""Blocks by which the last step may still move a cube: more, and the search has not ended."""
SEARCH_WINDOWS: Final = 9
"""Most windows in which a shift is searched."""
_MAX_CANDIDATES: Final = 144
"""Most windows that are tried to find enough valid ones, evenly spaced."""
_MIN_VALID_SHARE: Final = 0.25
"""Least share of valid blocks in a window that is used."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CommonBlocks:
    """A cube and an image as means over the same square blocks of the image's pixels."""

    cube: CubeSource
    """The cube."""
    msi: MsiSource
    """The image."""
    block: int
    """Side of a block in pixels of the image."""
    shift: Shift = (0.0, 0.0)
    """Rows and columns of the image by which the cube is moved."""

    @property
    def warped(self) -> WarpedCube:
        """The cube on the grid of blocks, moved by `shift`."""
        a, b, c, d, e, f = self.msi.transform
        side = self.block
        target = TargetGrid(
            height=self.msi.height // side,
            width=self.msi.width // side,
            crs_wkt=self.msi.crs_wkt,
            transform=(a * side, b * side, c, d * side, e * side, f),
        )
        shift = self.shift[0] / side, self.shift[1] / side
        return WarpedCube(cube=self.cube, target=target, shift=shift)

    @property
    def response(self) -> Float32Array:
        """The nominal response (c, C); beyond the cube's ends its last wavelength stands in."""
        rows = self.msi.sensor.response() @ self.cube.grid.interpolation()
        return np.asarray(rows, np.float32)

    def windows(self, count: int) -> list[Window]:
        """Up to `count` windows of blocks, evenly spaced over the ground that the cube covers."""
        common = self.warped.common()
        if common is None:
            return []
        tiles = TileGrid(height=common.height, width=common.width, tile=WINDOW_BLOCKS)
        chosen = np.linspace(0, len(tiles) - 1, min(len(tiles), count)).round().astype(int)
        cores = (tiles[int(index)].core for index in chosen)
        return [
            replace(core, row=core.row + common.row, col=core.col + common.col) for core in cores
        ]

    def image_means(self, window: Window) -> tuple[Float32Array, BoolArray, BoolArray]:
        """Means (c, y, x) of the image; wholly valid blocks, and partly saturated ones (y, x)."""
        side = self.block
        height, width = window.height, window.width
        pixels = Window(window.row * side, window.col * side, height * side, width * side)
        values, valid, saturated = read_unsaturated(self.msi, pixels)
        shape = height, side, width, side
        return (
            values.reshape(-1, *shape).mean((2, 4)),
            np.asarray(valid.reshape(shape).all((1, 3))),
            np.asarray(saturated.reshape(shape).any((1, 3))),
        )

    def image_pairs(self, count: int) -> list[ImagePair]:
        """The predicted and the seen image of up to `count` windows a quarter valid in both.

        NaN where invalid. Where nodata leaves fewer, more windows are tried, 144 at most.
        """
        return [pair for _, pair in self.placed_pairs(count)]

    def placed_pairs(self, count: int) -> list[tuple[Window, ImagePair]]:
        """The same with the window of blocks that each shows."""
        first = self.windows(count)
        more = (window for window in self.windows(_MAX_CANDIDATES) if window not in first)
        return list(islice(self._valid_pairs((*first, *more)), count))

    def _valid_pairs(self, windows: tuple[Window, ...]) -> Iterator[tuple[Window, ImagePair]]:
        warped, response = self.warped, self.response
        for window in windows:
            seen, valid, _ = self.image_means(window)
            if valid.mean() < _MIN_VALID_SHARE:
                continue
            spectra, covered = warped.read(window)
            if (valid & covered).mean() >= _MIN_VALID_SHARE:
                # Y = R X
                predicted = np.tensordot(response, spectra, 1)
                yield window, (predicted, np.where(valid, seen, np.float32(np.nan)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftEstimate:
    """The shift of a cube against an image."""

    shift: Shift
    """Rows and columns of the image by which the cube must be moved."""
    determined: bool
    """Whether cube and image determine it; otherwise it is zero, or rests on coarse blocks alone.
    """

    def __str__(self) -> str:
        if not self.determined and self.shift == (0.0, 0.0):
            return "not determined, taken as none"
        text = f"{self.shift[0]:+.2f} rows, {self.shift[1]:+.2f} columns"
        return text if self.determined else f"{text}, not confirmed on small blocks"


def find_shift(cube: CubeSource, msi: MsiSource, block: int = 1) -> ShiftEstimate:
    """The shift by which a cube must be moved, (0, 0) below `MIN_SHIFT_PX` and if none is found.

    On blocks of four times `block` first, then twice on `block`, which leaves no bias. It is
    determined if the last step could measure it and moves the cube by less than `MAX_LAST_STEP_PX`.
    """
    shift, last = (0.0, 0.0), None
    for side in (COARSE_FACTOR * block, block, block):
        if min(msi.height, msi.width) < side:
            continue
        blocks = CommonBlocks(cube=cube, msi=msi, block=side, shift=shift)
        last = estimate_shift(blocks.image_pairs(SEARCH_WINDOWS))
        down, right = last or (0.0, 0.0)
        shift = shift[0] + side * down, shift[1] + side * right
    determined = last is not None and float(np.hypot(*last)) < MAX_LAST_STEP_PX
    small = bool(np.hypot(*shift) < MIN_SHIFT_PX)
    return ShiftEstimate(shift=(0.0, 0.0) if small else shift, determined=determined)


def read_unsaturated(msi: MsiSource, window: Window) -> tuple[Float32Array, BoolArray, BoolArray]:
    """Reflectance (c, y, x) of a window, and its valid and its saturated pixels (y, x).

    A pixel with the largest number of its integer type in any band is saturated and not valid.
    """
    pixels = read_pixels(msi.reader, msi.rule, msi.scale, window)
    numbers, values, valid = pixels.numbers, pixels.reflectance, pixels.valid
    if numbers.dtype.kind not in "iu":
        return values, valid, np.zeros_like(valid)
    largest = np.iinfo(numbers.dtype.name).max
    # also where the scale makes that number an impossible reflectance
    ground = pixels.stated & ~msi.rule.named(numbers) & ~msi.rule.fill(numbers)
    saturated = np.asarray(np.equal(numbers, largest).any(0)) & ground
    return values, valid & ~saturated, saturated
