"""The pixels that tiles are made of: windows with their halos, which go together, how they blend.

Must not know the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from uavssr.reconstruction.scene_stf import Source, filled
from uavssr.sensors import BoolArray, Float32Array, FloatArray
from uavssr.tiling import Tile, TileGrid, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """A window to be reconstructed, with the pixels that this takes."""

    window: Window
    """What is kept."""
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
    """All that is read for one tile."""

    tile: Tile
    """The tile."""
    patches: Mapping[int, Patch]
    """By the tile whose STF counts there: the core for its own. None where nothing is valid."""

    @property
    def own(self) -> Patch | None:
        """The core; None where it has no valid pixel."""
        return self.patches.get(self.tile.index)


def read_patch(source: Source, tiles: TileGrid, window: Window, fill: Float32Array) -> Patch | None:
    """A window and its halo with `fill` (c,) where invalid; None where the window is all invalid.

    Raises:
        InputRefused: a block cannot be decoded, or the file changed.
    """
    outer = tiles.with_halo(window)
    msi, valid = source.read(outer)
    if not valid[window.within(outer)].any():
        return None
    image = torch.from_numpy(filled(msi, valid, fill))
    return Patch(window=window, outer=outer, image=image, outer_valid=valid)


def batches(tiles: TileGrid, size: int) -> Iterator[tuple[int, ...]]:
    """All tiles in row-major order, in tuples of up to `size` neighbours that read as much.

    They depend on nothing but the grid, so a resumed run has the same.
    """
    together: list[Tile] = []
    for tile in tiles:
        if together and (len(together) == size or not _same_size(together[0].read, tile.read)):
            yield tuple(each.index for each in together)
            together = []
        together.append(tile)
    yield tuple(each.index for each in together)


def _same_size(one: Window, other: Window) -> bool:
    return (one.height, one.width) == (other.height, other.width)


def shares(tiles: TileGrid, tile: Tile, overlap: int) -> Iterator[tuple[int, Window]]:
    """The parts of a tile's core in which its own STF and its neighbours' count."""
    for other in tiles.neighbours(tile.index):
        reach = other.core.grown(overlap // 2, height=tiles.height, width=tiles.width)
        window = tile.core.intersection(reach)
        if window is not None:
            yield other.index, window


def share_weight(tiles: TileGrid, tile: Tile, window: Window, overlap: int) -> Float32Array:
    """(h, w) how much a tile's own STF counts in a window.

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
