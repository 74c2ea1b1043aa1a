"""The numbers of a stored cube (counts, scale, nodata), and the options of GeoTIFF files."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from uavssr.errors import IncompleteRun, OutputError, UsageError

CubeDtype = Literal["uint16", "float32"]
CubeArray = npt.NDArray[np.uint16] | npt.NDArray[np.float32]

SCALE: Final = 0.0001
"""Reflectance per count of a uint16 cube."""
NODATA: Final = 65535
"""Marks invalid pixels of a uint16 cube; counts 0..65534 hold reflectance 0..6.5534."""

_LOSSLESS = {"NONE", "DEFLATE", "ZSTD"}
_FREE_OPTIONS = {
    *("BIGTIFF", "COMPRESS", "GEOTIFF_KEYS_FLAVOR", "GEOTIFF_VERSION", "INTERLEAVE"),
    *("NUM_THREADS", "PREDICTOR", "ZLEVEL", "ZSTD_LEVEL"),
}
"""What `--co` may set. The rest would lose digits, leave sidecars or break the blocks."""
_CHOICES = {
    "BIGTIFF": frozenset({"YES", "NO", "IF_NEEDED", "IF_SAFER"}),
    "GEOTIFF_KEYS_FLAVOR": frozenset({"STANDARD", "ESRI_PE"}),
    "GEOTIFF_VERSION": frozenset({"AUTO", "1.0", "1.1"}),
    "INTERLEAVE": frozenset({"BAND", "PIXEL"}),
}
_RANGES = {"NUM_THREADS": (1, 1024), "PREDICTOR": (1, 3), "ZLEVEL": (1, 9), "ZSTD_LEVEL": (1, 22)}
"""GDAL ignores some values outside with a warning of its own, and stops at others."""
_CLASSIC_LIMIT = 2**32
"""Bytes that a TIFF without BIGTIFF can address."""
_OVERVIEWS_FROM = 512
"""Scenes with a longer side than this many pixels get overviews."""


def quantise(
    cube: npt.NDArray[np.float32],
    valid: npt.NDArray[np.bool_],
    *,
    dtype: CubeDtype = "uint16",
    where: str = "cube",
) -> CubeArray:
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


def creation_options(
    given: Mapping[str, str], *, dtype: CubeDtype, block: int, needed_bytes: int, path: Path
) -> dict[str, str]:
    """GDAL's options for a cube: the defaults with the user's `K=V` on top.

    Args:
        given: the user's options, in either case.
        dtype: what the file stores.
        block: side of the file's blocks in pixels, which the user cannot change.
        needed_bytes: the most that the file can take.
        path: the output, for the message.

    Raises:
        UsageError: an option that would lose digits or break the file's layout.
        OutputError: the file might not fit without BIGTIFF.
    """
    fixed = {"TILED": "YES", "BLOCKXSIZE": str(block), "BLOCKYSIZE": str(block)}
    merged = {
        **fixed,
        "INTERLEAVE": "BAND",
        "COMPRESS": "ZSTD",
        "PREDICTOR": "2" if dtype == "uint16" else "3",
        "BIGTIFF": "YES",
        "NUM_THREADS": str(min(4, os.cpu_count() or 1)),
    }
    for key, value in given.items():
        name = key.upper()
        if name not in _FREE_OPTIONS and str(value).upper() != fixed.get(name):
            allowed = ", ".join(sorted(_FREE_OPTIONS))
            raise UsageError(f"creation option {name} cannot be set", remedy=f"use {allowed}")
        merged[name] = str(value)
    if merged["COMPRESS"].upper() not in _LOSSLESS:
        names = ", ".join(sorted(_LOSSLESS))
        raise UsageError(f"COMPRESS={merged['COMPRESS']} is not written", remedy=f"use {names}")
    for name, value in merged.items():
        _check_value(name, value, dtype)
    if merged["BIGTIFF"].upper() != "YES" and needed_bytes > _CLASSIC_LIMIT:
        raise OutputError(
            f"BIGTIFF={merged['BIGTIFF']}, but the cube may take {needed_bytes / 1e9:.1f} GB",
            path=path,
            remedy="leave out --co BIGTIFF",
        )
    return merged


def _check_value(name: str, value: str, dtype: CubeDtype) -> None:
    choices = _CHOICES.get(name)
    if choices is not None and value.upper() not in choices:
        raise UsageError(f"{name}={value} is unknown", remedy=f"use {', '.join(sorted(choices))}")
    if name == "NUM_THREADS" and value.upper() == "ALL_CPUS":
        return
    if name in _RANGES:
        low, high = _RANGES[name]
        if not re.fullmatch(r"[0-9]{1,4}", value) or not low <= int(value) <= high:
            raise UsageError(f"{name}={value} is no whole number from {low} to {high}")
    if name == "PREDICTOR" and value == "3" and dtype != "float32":
        raise UsageError(
            f"PREDICTOR=3 is for float numbers, the cube is {dtype}",
            remedy="use PREDICTOR=2, or --dtype float32",
        )


def overview_levels(height: int, width: int) -> list[int]:
    """Overview factors for a scene: 4, 8, 16 ... until the longest side has 512 pixels or less.

    There is no factor 2: it would add a quarter to the file and to the time.
    """
    longest = max(height, width)
    if longest <= _OVERVIEWS_FROM:
        return []
    return [4 * 2**k for k in range(32) if k == 0 or longest // (2 * 2**k) > _OVERVIEWS_FROM]
