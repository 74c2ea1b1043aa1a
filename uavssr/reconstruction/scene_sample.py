"""Pixels of a scene from which its STF is estimated: windows on a lattice, outliers left out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from uavssr.errors import InputRefused
from uavssr.sensors import BoolArray, Float32Array
from uavssr.tiling import TileGrid, Window

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

    Windows with a share `SAMPLE_VALID` of valid pixels are used, or any with valid pixels if there
    are none such; of these `SAMPLE_COUNT`, evenly spaced in row-major order. Nothing is random. If
    all windows are empty, the whole scene is searched.

    Args:
        source: the image.
        fill: (c,) reflectance that replaces invalid pixels.

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
