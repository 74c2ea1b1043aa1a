"""Overviews of a scene that arrives block by block, as means of the valid pixels.

Reduced blocks wait for their neighbours in an unnamed file, so memory depends on the block alone.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from uavssr.io.writers.raw_bytes import put, take
from uavssr.io.writers.target import Target
from uavssr.sensors import NumberArray

Work = npt.NDArray[Any]


def reduced(bands: Work, *, factor: int, nodata: float) -> NumberArray:
    """Means (k, ceil(h / factor), ceil(w / factor)) of the valid pixels in squares of (k, h, w).

    Whole numbers are rounded to the nearest, halves up, as GDAL does. A square without a valid
    pixel is nodata: the largest whole number, or NaN.
    """
    kind = np.dtype("u4" if bands.dtype.kind == "u" else "f4")
    highest = bands.max()  # the largest count marks nodata, and a NaN wins over every number
    all_valid = highest < nodata if kind.kind == "u" else not np.isnan(highest)
    if all_valid and not any(side % factor for side in bands.shape[1:]):
        return _mean(_squares(bands, factor, kind), factor**2).astype(bands.dtype)
    invalid = bands == nodata if kind.kind == "u" else np.isnan(bands)
    margin = [(0, 0), *((0, -side % factor) for side in bands.shape[1:])]
    total = _squares(np.pad(np.where(invalid, 0, bands), margin), factor, kind)
    count = _squares(np.pad(~invalid, margin), factor, kind)
    return np.where(count > 0, _mean(total, np.maximum(count, 1)), nodata).astype(bands.dtype)


def _squares(bands: Work, factor: int, kind: np.dtype[Any]) -> Work:
    """Sums over squares; whole rows are added first, which is several times faster."""
    rows = bands[:, 0::factor].astype(kind)
    for k in range(1, factor):
        rows += bands[:, k::factor]
    cells = rows[..., 0::factor].copy()
    for k in range(1, factor):
        cells += rows[..., k::factor]
    return cells


def _mean(total: Work, count: Work | int) -> Work:
    return (total + count // 2) // count if total.dtype.kind == "u" else total / count


class Overviews:
    """Keeps reduced blocks of a level until the blocks of the next level are asked for.

    Args:
        target: the raster; its folder has free space for a twelfth of it. Its blocks have a side
            of a multiple of 4 pixels, and nodata is the largest whole number, or NaN.
    """

    def __init__(self, target: Target) -> None:
        self._target, self._levels = target, target.levels
        self._places: list[dict[tuple[int, int], int]] = [{} for _ in self._levels[1:]]
        self._handles = handles = ExitStack()
        # Files without a name, which disappear with their handles however the process ends.
        make = partial(tempfile.TemporaryFile, dir=target.path.parent)
        self._files = [handles.enter_context(make()) for _ in self._places]

    def close(self) -> None:
        """Free the disk space; a second call does nothing."""
        self._handles.close()

    def reduce(self, level: int, bands: Work) -> list[NumberArray]:
        """Some bands (k, y, x) of a block of `level`, reduced for `put`; none of the last level."""
        if level + 1 == len(self._levels):
            return []
        return [reduced(bands, factor=_factor(level), nodata=self._target.nodata)]

    def put(self, level: int, place: tuple[int, int], parts: Sequence[NumberArray]) -> None:
        """Keep a reduced block of `level`; it replaces an earlier one of that place.

        Raises:
            OSError: the system refused, a full disk most often.
        """
        places, block = self._places[level], self._empty(self._target.block // _factor(level))
        height, width = parts[0].shape[1:]
        np.concatenate(parts, out=block[:, :height, :width])
        slot = places.setdefault(place, len(places))
        put(self._files[level].fileno(), block.reshape(-1).view(np.uint8).data, slot * block.nbytes)

    def blocks(self, level: int) -> Iterator[tuple[int, int, NumberArray]]:
        """Row, column and numbers (band, y, x) of an overview's blocks that are not empty."""
        below, side = level - 1, self._target.block
        factor = _factor(below)
        parts = defaultdict[tuple[int, int], list[tuple[int, int]]](list)
        for row, col in self._places[below]:
            parts[row // factor, col // factor].append((row, col))
        height, width = self._levels[level]
        for (row, col), places in sorted(parts.items()):
            block, part = self._empty(side), self._empty(side // factor)
            for place in places:
                start = self._places[below][place] * part.nbytes
                raw = take(self._files[below].fileno(), part.nbytes, start)
                top, left = ((k % factor) * part.shape[1] for k in place)
                block[:, top : top + part.shape[1], left : left + part.shape[2]] = np.frombuffer(
                    raw, part.dtype
                ).reshape(part.shape)
            yield row, col, block[:, : height - row * side, : width - col * side]

    def _empty(self, side: int) -> Work:
        shape = self._target.bands, side, side
        return np.full(shape, self._target.nodata, self._target.dtype)


def _factor(level: int) -> int:
    """Pixels of a level along the side of one pixel of the next."""
    return 2 if level else 4
