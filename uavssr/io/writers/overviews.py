"""Overviews of a scene that arrives block by block, as means of the valid pixels.

Reduced blocks wait for their neighbours in an unnamed file, so memory depends on the block alone.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from uavssr.io.writers.raw_bytes import put, take
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
        folder: with free space for a twelfth of the scene.
        sizes: (height, width) of the scene and of each overview, a quarter and then half as long.
        side: of a block in pixels, the same in every level; a multiple of 4.
        bands: first axis of a block.
        nodata: marks invalid pixels: the largest whole number, or NaN.
        dtype: of the numbers.
    """

    def __init__(
        self,
        folder: Path,
        *,
        sizes: Sequence[tuple[int, int]],
        side: int,
        bands: int,
        nodata: float,
        dtype: str,
    ) -> None:
        self._sizes, self._side, self._bands = sizes, side, bands
        self._nodata, self._kind = nodata, np.dtype(dtype)
        self._places: list[dict[tuple[int, int], int]] = [{} for _ in sizes[1:]]
        self._handles = ExitStack()
        self._files = [self._handles.enter_context(_nameless(folder)) for _ in sizes[1:]]

    def close(self) -> None:
        """Free the disk space; a second call does nothing."""
        self._handles.close()

    @staticmethod
    def factor(level: int) -> int:
        """Pixels of a level along the side of one pixel of the next."""
        return 2 if level else 4

    def reduce(self, level: int, bands: Work) -> NumberArray:
        """Some bands (k, y, x) of a block of `level`, reduced for `put`."""
        return reduced(bands, factor=self.factor(level), nodata=self._nodata)

    def put(self, level: int, place: tuple[int, int], parts: Sequence[NumberArray]) -> None:
        """Keep a reduced block of `level`; it replaces an earlier one of that place.

        Raises:
            OSError: the system refused, a full disk most often.
        """
        places = self._places[level]
        slot = places.setdefault(place, len(places))
        step = self._bands * (self._side // self.factor(level)) ** 2 * self._kind.itemsize
        put(self._files[level].fileno(), np.concatenate(parts).tobytes(), slot * step)

    def blocks(self, level: int) -> Iterator[tuple[int, int, NumberArray]]:
        """Row, column and numbers (band, y, x) of an overview's blocks that are not empty."""
        factor = self.factor(level - 1)
        parts = defaultdict[tuple[int, int], list[tuple[int, int]]](list)
        for row, col in self._places[level - 1]:
            parts[row // factor, col // factor].append((row, col))
        for (row, col), places in sorted(parts.items()):
            height, width = self._shape(level, row, col)
            block = np.full((self._bands, height, width), self._nodata, self._kind)
            for place in places:
                part = self._get(level - 1, place)
                top, left = ((k % factor) * (self._side // factor) for k in place)
                block[:, top : top + part.shape[1], left : left + part.shape[2]] = part
            yield row, col, block

    def _get(self, level: int, place: tuple[int, int]) -> NumberArray:
        factor = self.factor(level)
        shape = self._bands, *(-(-side // factor) for side in self._shape(level, *place))
        step = self._bands * (self._side // factor) ** 2 * self._kind.itemsize
        start, count = self._places[level][place] * step, int(np.prod(shape)) * self._kind.itemsize
        raw = take(self._files[level].fileno(), count, start)
        return np.frombuffer(raw, self._kind).reshape(shape)

    def _shape(self, level: int, row: int, col: int) -> tuple[int, int]:
        height, width = self._sizes[level]
        return min(self._side, height - row * self._side), min(self._side, width - col * self._side)


def _nameless(folder: Path) -> IO[bytes]:
    """A file that disappears with its handle, however the process ends."""
    return tempfile.TemporaryFile(dir=folder)
