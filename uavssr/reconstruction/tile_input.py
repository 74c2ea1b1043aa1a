"""Pixels of tiles: windows with halos, their results, groups, and weights for blending."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from uavssr.reconstruction.scene_sample import fill_invalid
from uavssr.sensors import BoolArray, Float32Array, FloatArray
from uavssr.tiling import Tile, TileGrid, Window

if TYPE_CHECKING:
    from uavssr.io.msi import MsiSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """A window to reconstruct, with the pixels around it that the network needs."""

    window: Window
    """The window of the result."""
    outer: Window
    """The window and its halo."""
    image: Tensor
    """(c, H, W) reflectance of `outer` in the host's memory, finite everywhere."""
    outer_valid: BoolArray
    """(H, W) of `outer`."""

    @property
    def msi(self) -> Tensor:
        """(c, h, w) reflectance of `window`."""
        rows, cols = self.window.within(self.outer)
        return self.image[:, rows, cols]

    @property
    def valid(self) -> BoolArray:
        """(h, w) of `window`."""
        return self.outer_valid[self.window.within(self.outer)]

    def quarters(self, tiles: TileGrid) -> Iterator[Patch]:
        """The same window in up to four parts, each with a halo of its own."""
        for window in self.window.quarters():
            outer = tiles.with_halo(window)
            rows, cols = outer.within(self.outer)
            yield Patch(
                window=window,
                outer=outer,
                image=self.image[:, rows, cols],
                outer_valid=self.outer_valid[rows, cols],
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TileInput:
    """Pixels that are read for one tile."""

    tile: Tile
    """The tile."""
    patches: Mapping[int, Patch]
    """Patches with valid pixels, by the tile whose STF is used there; its own for the core."""

    @property
    def own(self) -> Patch | None:
        """The core; None where it has no valid pixel."""
        return self.patches.get(self.tile.index)

    @property
    def valid(self) -> BoolArray:
        """(h, w) of the core."""
        core = self.tile.core
        return np.zeros((core.height, core.width), bool) if self.own is None else self.own.valid


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowResult:
    """Image and result of a window of h x w pixels, on the engine's device."""

    msi: Tensor
    """(c, h, w) reflectance."""
    coefficients: Tensor
    """(r, h, w) coefficients of the basis."""


def read_patch(
    source: MsiSource, tiles: TileGrid, window: Window, fill: Float32Array
) -> Patch | None:
    """A window and its halo with `fill` (c,) where invalid; None if the window has no valid pixel.

    Raises:
        InputRefused: a block cannot be decoded, or the file changed.
    """
    outer = tiles.with_halo(window)
    msi, valid = source.read(outer)
    if not valid[window.within(outer)].any():
        return None
    image = torch.from_numpy(fill_invalid(msi, valid, fill))
    return Patch(window=window, outer=outer, image=image, outer_valid=valid)


def group_tiles(tiles: TileGrid, size: int) -> Iterator[tuple[int, ...]]:
    """All tiles in row-major order, in groups of up to `size` neighbours that read as many pixels.

    The groups depend on the grid alone, so a resumed run has the same.
    """
    for _, run in groupby(tiles, key=lambda tile: (tile.read.height, tile.read.width)):
        while group := tuple(tile.index for tile in islice(run, size)):
            yield group


def blend_windows(tiles: TileGrid, tile: Tile, overlap: int) -> Iterator[tuple[int, Window]]:
    """Parts of a tile's core where its own STF and its neighbours' STFs are used, by tile index."""
    for neighbour in tiles.neighbours(tile.index):
        reach = neighbour.core.grown(overlap // 2, height=tiles.height, width=tiles.width)
        window = tile.core.intersection(reach)
        if window is not None:
            yield neighbour.index, window


def blend_weight(tiles: TileGrid, tile: Tile, window: Window, overlap: int) -> Float32Array:
    """(h, w) weight in a window of the cube that a tile's own STF gives, 0 to 1.

    It falls linearly from one to zero over `overlap` pixels across each border of the core; the
    weights of all tiles sum to one at every pixel.
    """
    core, half = tile.core, overlap // 2
    down = _ramp(core.row, core.height, tiles.height, half, window.rows)
    right = _ramp(core.col, core.width, tiles.width, half, window.cols)
    return np.outer(down, right).astype(np.float32)


def _ramp(start: int, length: int, total: int, half: int, at: slice) -> FloatArray:
    """Weight along one axis of a core `start .. start+length` at the pixels `at`."""
    centre = np.arange(at.start, at.stop) + 0.5
    weight = np.ones(centre.shape)
    if half > 0 and start > 0:
        weight = np.minimum(weight, (centre - start + half) / (2 * half))
    if half > 0 and start + length < total:
        weight = np.minimum(weight, (start + length + half - centre) / (2 * half))
    return np.clip(weight, 0, 1)
