"""The numbers of a stored cube: counts, scale, nodata and size."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np

from uavssr.errors import IncompleteRun
from uavssr.sensors import BoolArray, Float32Array, NumberArray

CubeDtype = Literal["uint16", "float32"]

SCALE: Final = 0.0001
"""Reflectance per count of a uint16 cube."""
NODATA: Final = 65535
"""Marks invalid pixels of a uint16 cube; counts 0..65534 hold reflectance 0..6.5534."""

_OVERVIEWS_FROM = 512
"""Scenes with a longer side than this many pixels get overviews."""


def quantise(
    cube: Float32Array, valid: BoolArray, *, dtype: CubeDtype = "uint16", where: str = "cube"
) -> NumberArray:
    """Reflectance as it is stored: counts of 0.0001, or float32 with NaN where invalid.

    As uint16, reflectance is clipped to 0..6.5534 and rounded to the nearest count.

    Args:
        cube: (C, y, x) reflectance; ignored where invalid.
        valid: (y, x), False where there is nothing to store.
        dtype: what the file stores.
        where: the place to name in an error.

    Raises:
        IncompleteRun: a valid pixel is not finite.
    """
    if cube.ndim != 3 or valid.shape != cube.shape[1:]:
        raise ValueError(f"cube {cube.shape} and mask {valid.shape} do not fit")
    stored = np.empty(cube.shape, dtype)
    work, invalid = np.empty(valid.shape, np.float32), ~valid
    nodata = NODATA if dtype == "uint16" else np.nan
    for index, band in enumerate(cube):
        np.copyto(work, band)
        np.copyto(work, 0, where=invalid)
        if not np.isfinite(work).all():
            bad = valid & ~np.isfinite(cube).all(0)
            raise IncompleteRun(
                f"{where}: {bad.sum()} of {valid.sum()} valid pixels are NaN or infinite",
                remedy="nothing of this tile was written; look at the input there and at the model",
            )
        if dtype == "uint16":
            np.clip(work, 0, (NODATA - 1) * SCALE, out=work)
            np.multiply(work, np.float32(1 / SCALE), out=work)
            np.rint(work, out=work)
        np.copyto(stored[index], work, casting="unsafe")
        np.copyto(stored[index], nodata, where=invalid)
    return stored


def cube_bytes(height: int, width: int, bands: int, *, dtype: CubeDtype = "uint16") -> int:
    """The most that a cube of this size takes on disk while it is made, overviews included."""
    pixels = height * width * bands * np.dtype(dtype).itemsize
    return pixels + pixels // 5 + 4096 * bands + 2**20


def overview_levels(height: int, width: int) -> list[int]:
    """Overview factors for a scene: 4, 8, 16 ... until the longest side has 512 pixels or less.

    There is no factor 2: it would add a quarter to the file and to the time.
    """
    longest = max(height, width)
    if longest <= _OVERVIEWS_FROM:
        return []
    return [4 * 2**k for k in range(32) if k == 0 or longest // (2 * 2**k) > _OVERVIEWS_FROM]
