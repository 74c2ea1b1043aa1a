"""Creation options of GeoTIFFs, and the bytes of a block that they ask for.

A block is predicted along its rows, then compressed, without loss. GDAL does the same behind a
lock and a cache, in twice the time.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from zstandard import ZstdCompressor

from uavssr.errors import OutputError, UsageError
from uavssr.io.writers.encoding import CubeDtype
from uavssr.io.writers.raw_bytes import Packed
from uavssr.io.writers.target import Target

Block = npt.NDArray[np.generic]
Rows = npt.NDArray[Any]

_FREE_OPTIONS = {
    *("BIGTIFF", "COMPRESS", "GEOTIFF_KEYS_FLAVOR", "GEOTIFF_VERSION", "INTERLEAVE"),
    *("NUM_THREADS", "PREDICTOR", "ZLEVEL", "ZSTD_LEVEL"),
}
"""What `--co` may set. The rest would lose digits, leave sidecars or break the blocks."""
_CHOICES = {
    "BIGTIFF": ("IF_NEEDED", "IF_SAFER", "NO", "YES"),
    "COMPRESS": ("DEFLATE", "NONE", "ZSTD"),
    "GEOTIFF_KEYS_FLAVOR": ("ESRI_PE", "STANDARD"),
    "GEOTIFF_VERSION": ("1.0", "1.1", "AUTO"),
    "INTERLEAVE": ("BAND", "PIXEL"),
}
_RANGES = {"NUM_THREADS": (1, 1024), "PREDICTOR": (1, 3), "ZLEVEL": (1, 9), "ZSTD_LEVEL": (1, 22)}
"""GDAL ignores some values outside with a warning of its own, and stops at others."""
_CLASSIC_LIMIT = 2**32
"""Bytes that a TIFF without BIGTIFF can address."""


def creation_options(target: Target) -> dict[str, str]:
    """GDAL's options for a GeoTIFF: the defaults with the target's own `K=V` on top.

    Raises:
        UsageError: an option that would lose digits or break the file's layout.
        OutputError: the file might not fit without BIGTIFF.
    """
    dtype, size, block = target.dtype, target.max_bytes, str(target.block)
    fixed = {"TILED": "YES", "BLOCKXSIZE": block, "BLOCKYSIZE": block}
    merged = {
        **fixed,
        "INTERLEAVE": "BAND",
        "COMPRESS": "ZSTD",
        "PREDICTOR": "2" if dtype == "uint16" else "3",
        "BIGTIFF": "NO" if size < target.classic_below else "YES",
        "NUM_THREADS": str(usable_cores()),
    }
    for key, value in target.creation_options.items():
        name = key.upper()
        if name not in _FREE_OPTIONS and str(value).upper() != fixed.get(name):
            allowed = ", ".join(sorted(_FREE_OPTIONS))
            raise UsageError(f"creation option {name} cannot be set", remedy=f"use {allowed}")
        merged[name] = str(value)
    for name, value in merged.items():
        _check_value(name, value, dtype)
    if merged["BIGTIFF"].upper() != "YES" and size > _CLASSIC_LIMIT:
        raise OutputError(
            f"BIGTIFF={merged['BIGTIFF']}, but the cube may take {size / 1e9:.1f} GB",
            path=target.path,
            remedy="leave out --co BIGTIFF",
        )
    return merged


def usable_cores() -> int:
    """Cores that this process may run on, as far as its affinity says."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_value(name: str, value: str, dtype: CubeDtype) -> None:
    choices = _CHOICES.get(name, (value.upper(),))
    if value.upper() not in choices:
        raise UsageError(f"{name}={value} is not written", remedy=f"use {', '.join(choices)}")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockCodec:
    """Turns blocks of one file into bytes; may be used from any thread."""

    packing: str
    """NONE, DEFLATE or ZSTD."""
    level: int
    """Level of the compression."""
    predictor: int
    """1 none; 2 differences to the pixel before; 3 the same of the bytes of float numbers."""
    side: int
    """Rows and columns of a block; smaller ones at the edges are filled up."""

    @classmethod
    def of(cls, options: Mapping[str, str]) -> BlockCodec:
        """The codec that checked creation options of GDAL describe."""
        packing = options["COMPRESS"].upper()
        predictor = 1 if packing == "NONE" else int(options["PREDICTOR"])
        # Most bytes of float numbers are noise, for which zstd's fast levels search less: as small.
        levels = {"DEFLATE": ("ZLEVEL", 6), "ZSTD": ("ZSTD_LEVEL", -1 if predictor == 3 else 1)}
        name, usual = levels.get(packing, ("", 0))
        return cls(
            packing=packing,
            level=int(options.get(name, usual)),
            predictor=predictor,
            side=int(options["BLOCKXSIZE"]),
        )

    def encode(self, blocks: Block) -> list[Packed]:
        """The bytes of each of n blocks (n, samples, h, w).

        All blocks go through one call of each library, which lets other threads run meanwhile; the
        samples of a pixel lie next to each other.
        """
        return self._packed(self._predicted(blocks))

    def _predicted(self, blocks: Block) -> Rows:
        """(n, row, bytes or numbers of a row)."""
        count, samples, height, width = blocks.shape
        missing = *2 * [(0, 0)], (0, self.side - height), (0, self.side - width)
        full = np.pad(blocks, missing, mode="edge") if any(map(any, missing)) else blocks
        rows = np.ascontiguousarray(full.transpose(0, 2, 3, 1)).reshape(count, self.side, -1)
        if self.predictor == 1:
            return rows
        return _differences(_planes(rows) if self.predictor == 3 else rows, lag=samples)

    def _packed(self, blocks: Rows) -> list[Packed]:
        if self.packing == "NONE":
            return [block.tobytes() for block in blocks]
        if self.packing == "DEFLATE":
            return [zlib.compress(block.data, self.level) for block in blocks]
        compressor = ZstdCompressor(level=self.level)
        packed = compressor.multi_compress_to_buffer([block.data for block in blocks])
        return [cast("Packed", packed[k]) for k in range(len(packed))]


def _differences(rows: Rows, *, lag: int) -> Rows:
    """Each number less the one `lag` before it in its row, modulo its bits."""
    bits, out = f"u{rows.itemsize}", np.empty_like(rows)  # float numbers are taken as whole ones
    flat, differences = rows.view(bits).reshape(-1), out.view(bits).reshape(-1)
    np.subtract(flat[lag:], flat[:-lag], out=differences[lag:])
    out[..., :lag] = rows[..., :lag]
    return out


def _planes(rows: Rows) -> Rows:
    """The first bytes of all numbers of a row, then all second ones ...: the sign bytes first."""
    count, height, width = rows.shape
    split = rows.astype(f">f{rows.itemsize}").view(np.uint8).reshape(count, height, width, -1)
    return np.ascontiguousarray(split.transpose(0, 1, 3, 2)).reshape(count, height, -1)
