"""The bytes of one TIFF block: predicted along its rows, then compressed, without loss.

GDAL does the same behind a lock and a cache, in twice the time.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
from zstandard import ZstdCompressor

Block = npt.NDArray[np.generic]
Rows = npt.NDArray[Any]
Packing = Literal["NONE", "DEFLATE", "ZSTD"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockCodec:
    """Turns blocks of one file into bytes; may be used from any thread."""

    packing: Packing
    """Compression."""
    level: int
    """Level of the compression."""
    predictor: int
    """1 none; 2 differences to the pixel before; 3 the same of the bytes of float numbers."""
    side: int
    """Rows and columns of a block; smaller ones at the edges are filled up."""

    @classmethod
    def of(cls, options: Mapping[str, str]) -> BlockCodec:
        """The codec that checked creation options of GDAL describe."""
        packing = cast(Packing, options["COMPRESS"].upper())
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

    def encode(self, blocks: Iterable[Block]) -> list[bytes]:
        """The bytes of blocks (samples, h, w); the samples of a pixel lie next to each other."""
        scratch: dict[int, Rows] = {}  # memory fresh from the system takes longer than the work
        pack = self._packer()
        return [pack(self._predicted(block, scratch)) for block in blocks]

    def _predicted(self, block: Block, scratch: dict[int, Rows]) -> Rows:
        samples, height, width = block.shape
        missing = (0, 0), (0, self.side - height), (0, self.side - width)
        full = np.pad(block, missing, mode="edge") if any(map(any, missing)) else block
        rows = np.ascontiguousarray(full.transpose(1, 2, 0)).reshape(self.side, -1)
        if self.predictor == 1:
            return rows
        whole = _planes(rows) if self.predictor == 3 else rows
        out = scratch.setdefault(samples, np.empty_like(whole))
        return _differences(whole, lag=samples, out=out)

    def _packer(self) -> Callable[[Rows], bytes]:
        """Compresses blocks one after the other, in one thread."""
        if self.packing == "NONE":
            return np.ndarray.tobytes
        if self.packing == "DEFLATE":
            return lambda rows: zlib.compress(rows.data, self.level)
        compress = ZstdCompressor(level=self.level).compress  # keeps its tables between blocks
        return lambda rows: compress(rows.data)


def _differences(rows: Rows, *, lag: int, out: Rows) -> Rows:
    """Each number less the one `lag` before it in its row, modulo its bits."""
    bits = f"u{rows.itemsize}"  # so that float numbers are taken as whole ones
    flat, differences = rows.view(bits).reshape(-1), out.view(bits).reshape(-1)
    np.subtract(flat[lag:], flat[:-lag], out=differences[lag:])
    out[:, :lag] = rows[:, :lag]
    return out


def _planes(rows: Rows) -> Rows:
    """The first bytes of all numbers of a row, then all second ones ...: the sign bytes first."""
    size = rows.itemsize
    split = rows.astype(f">f{size}").view(np.uint8).reshape(len(rows), -1, size)
    return np.ascontiguousarray(split.transpose(0, 2, 1)).reshape(len(rows), -1)
