"""Pixels that the network is given: the sample of a scene, and tiles with their halos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from uavssr.errors import InputRefused
from uavssr.sensors import BoolArray, Float32Array, FloatArray
from uavssr.tiling import Tile, TileGrid, Window

if TYPE_CHECKING:
    from uavssr.io.msi import MsiSource

SAMPLE_SIZE: Final = 64
"""Side of a sampled window in pixels."""
SAMPLE_LATTICE: Final = 8
"""Cells of the lattice along each axis; a window lies at the centre of each."""
SAMPLE_COUNT: Final = 32
"""Most windows in a sample."""
SAMPLE_VALID: Final = 0.25
"""Share of valid pixels that a window needs, unless all windows have fewer."""
PLAUSIBLE: Final = (-0.1, 1.5)
"""Reflectance between which a pixel counts for the STF: glints and dead pixels lie outside."""

WindowPixels = tuple[Float32Array, BoolArray]
"""Reflectance (c, y, x) and valid pixels (y, x) of a window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneSample:
    """Windows that represent a scene."""

    msi: Tensor
    """(W, c, h, w) reflectance, finite."""
    valid: Tensor
    """(W, h, w) pixels that count for the STF."""
    valid_fraction: float
    """Share of valid pixels in all windows that were read, 0 to 1."""


def sample_scene(source: MsiSource, fill: Float32Array) -> SceneSample:
    """Windows of `SAMPLE_SIZE` pixels at the centres of the cells of a lattice over the scene.

    Windows with a share of at least `SAMPLE_VALID` valid pixels are used. Without any, windows with
    some valid pixels are used. At most `SAMPLE_COUNT` are taken, evenly spaced in row-major order.
    Nothing is random. If all windows are empty, the whole scene is searched. Invalid pixels are set
    to `fill` (c,).

    Raises:
        InputRefused: the scene has no valid pixel.
    """
    height, width = min(SAMPLE_SIZE, source.height), min(SAMPLE_SIZE, source.width)
    rows, cols = _lattice(source.height, height), _lattice(source.width, width)
    windows = [source.read(Window(row, col, height, width)) for row in rows for col in cols]
    shares = np.array([valid.mean() for _, valid in windows])
    fraction = float(shares.mean())
    if fraction == 0:
        windows = _first_valid_windows(source, height, width)
        shares = np.array([valid.mean() for _, valid in windows])
        fraction = float(shares.sum()) * height * width / (source.height * source.width)
    usable = np.flatnonzero(shares >= SAMPLE_VALID)
    if usable.size == 0:
        usable = np.flatnonzero(shares > 0)
    count = min(usable.size, SAMPLE_COUNT)
    chosen = usable[np.linspace(0, usable.size - 1, count).round().astype(int)]
    sample = [windows[i] for i in chosen]
    return SceneSample(
        msi=torch.from_numpy(np.stack([fill_invalid(msi, valid, fill) for msi, valid in sample])),
        valid=torch.from_numpy(np.stack([usable_pixels(msi, valid) for msi, valid in sample])),
        valid_fraction=fraction,
    )


def usable_pixels(msi: Float32Array, valid: BoolArray) -> BoolArray:
    """(y, x) pixels that count for an STF: valid, and of plausible reflectance.

    A glint or a dead pixel of reflectance 100 would outweigh the whole scene in second moments. It
    stays in the cube all the same.
    """
    with np.errstate(invalid="ignore"):
        low, high = PLAUSIBLE
        return valid & np.all((msi > low) & (msi < high), axis=0)


def fill_invalid(msi: Float32Array, valid: BoolArray, fill: Float32Array) -> Float32Array:
    """The image (c, y, x) with invalid pixels set to `fill` (c,).

    A constant, so that a tile and the whole scene have the same values around a hole.
    """
    return np.where(valid, msi, fill[:, None, None]).astype(np.float32)


def _first_valid_windows(source: MsiSource, height: int, width: int) -> list[WindowPixels]:
    """The first `SAMPLE_COUNT` windows with a valid pixel, in row-major order."""
    last_row, last_col = source.height - height, source.width - width
    tiles = TileGrid(height=source.height, width=source.width, tile=SAMPLE_SIZE)
    places = ((min(tile.core.row, last_row), min(tile.core.col, last_col)) for tile in tiles)
    pixels = (source.read(Window(row, col, height, width)) for row, col in places)
    windows = list(islice((window for window in pixels if window[1].any()), SAMPLE_COUNT))
    if not windows:
        raise InputRefused(
            f"no valid pixel in {source.width} x {source.height}",
            remedy="check its nodata value with uavssr inspect",
        )
    return windows


def _lattice(length: int, size: int) -> list[int]:
    """First pixels along one axis of windows at the cells' centres, without repetitions."""
    starts = (np.arange(SAMPLE_LATTICE) + 0.5) * length / SAMPLE_LATTICE - size / 2
    return sorted({int(start) for start in np.clip(starts.round(), 0, length - size)})


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
    """Patches with valid pixels, keyed by the tile whose STF is used there."""

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
