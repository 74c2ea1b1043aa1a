"""A TIFF that GDAL made without pixels, to which blocks are appended and entered in its tables.

GDAL writes all that a GeoTIFF says of itself; this module handles directories and blocks of bytes.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from uavssr.io.checks import TiffDirectory, TiffReader, TiffTag
from uavssr.io.writers.raw_bytes import put, take
from uavssr.io.writers.tiff_packing import LONG, LONG8, TagValues, pack_directory, tag_values

KIND, WIDTH, HEIGHT, SAMPLES, PLANAR = 254, 256, 257, 277, 284
SIDE, OFFSETS, SIZES = 322, 324, 325
_OF_OVERVIEWS: Final = (258, 259, 262, SAMPLES, PLANAR, 317, SIDE, 323, 338, 339, 42113)
"""Tags that an overview shares with its image: how numbers are stored, and nodata."""

_AT_ONCE: Final = 256  # places that wait to be read back

Numbers = npt.NDArray[np.int64]
Key = tuple[int, int, int]
"""Level (0 the image, 1 its largest overview ...), row and column of a block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One image of the file: the scene or an overview."""

    tags: TiffDirectory
    """Its directory."""
    size: tuple[int, int]
    """Height and width in pixels."""
    side: int
    """Of a block, in pixels."""
    planes: int
    """Blocks at one place: one per sample, or one for all samples."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of blocks."""
        return -(-self.size[0] // self.side), -(-self.size[1] // self.side)

    @property
    def blocks(self) -> int:
        """Length of the tables."""
        return self.shape[0] * self.shape[1] * self.planes

    def indices(self, row: int, col: int) -> Numbers:
        """Positions of a place's blocks in the tables."""
        rows, cols = self.shape
        return row * cols + col + rows * cols * np.arange(self.planes)


class BlockFile:
    """Appends blocks from any thread and keeps the tables in the file up to date.

    Args:
        path: a TIFF that is tiled in squares, without pixels or of our own making.
        overviews: (height, width) of the overviews to add, the largest first.
    """

    def __init__(self, path: Path, *, overviews: Sequence[tuple[int, int]] = ()) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._lock = threading.Lock()
        self._reader, self.stored = TiffReader(self._handle), dict[Key, int]()
        self.form, self._end = self._reader.form, self._reader.size
        directories = list(self._reader.directories())
        self.levels, link = [self._level(tags) for tags, _ in directories], directories[-1][1]
        for size in overviews:
            link = self._add_overview(size, link)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def append(self, key: Key, blocks: Sequence[bytes]) -> None:
        """Store the blocks of one place, one per plane; they replace earlier ones.

        Raises:
            OSError: the system refused, a full disk most often.
        """
        sizes = np.array([len(block) for block in blocks])
        with self._lock:
            start, self._end = self._end, self._end + int(sizes.sum())
        offsets = start + np.cumsum(sizes) - sizes
        # Remembered before the write, so that a failed one is found.
        self.stored[key] = checksum(blocks, offsets, sizes)
        for block, offset in zip(blocks, offsets.tolist(), strict=True):
            self._write(block, offset)
        level, row, col = key
        indices = self.levels[level].indices(row, col)
        self._enter(level, OFFSETS, indices, offsets)
        self._enter(level, SIZES, indices, sizes)

    def wrong(self, pool: ThreadPoolExecutor) -> Iterator[Key]:
        """Places whose blocks, or whose entries in the tables, are not as they were stored."""
        keys = list(self.stored)
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            yield from compress(some, pool.map(self._is_wrong, some))

    def _is_wrong(self, key: Key) -> bool:
        offsets, sizes = self.entries(key)
        inside = np.all(np.diff(offsets) >= sizes[:-1]) and offsets[-1] + sizes[-1] <= self._end
        return not inside or checksum([self.read(key)], offsets, sizes) != self.stored[key]

    def entries(self, key: Key) -> tuple[Numbers, Numbers]:
        """Offsets and sizes of the blocks of one place, as the tables give them."""
        level, row, col = key
        indices = self.levels[level].indices(row, col)
        return self._entered(level, OFFSETS, indices), self._entered(level, SIZES, indices)

    def read(self, key: Key) -> bytes:
        """The bytes from the first to the last block of one place."""
        offsets, sizes = self.entries(key)
        return take(self._handle, int(offsets[-1] + sizes[-1] - offsets[0]), int(offsets[0]))

    def header(self, *, first: int) -> bytes:
        """The file's own header, with the first directory at another place."""
        return take(self._handle, self.form.offset.size, 0) + self.form.offset.pack(first)

    def _level(self, tags: TiffDirectory) -> Level:
        height, width, side, samples, planar = (
            self._reader.number(tags, tag) for tag in (HEIGHT, WIDTH, SIDE, SAMPLES, PLANAR)
        )
        planes = samples if planar == 2 else 1
        return Level(tags=tags, size=(height, width), side=side, planes=planes)

    def _add_overview(self, size: tuple[int, int], link: int) -> int:
        """Append and link the directory of an overview; returns where to link the next."""
        image, form = self.levels[0], self.form
        level = Level(tags={}, size=size, side=image.side, planes=image.planes)
        tags = {tag: self.values(image.tags[tag]) for tag in _OF_OVERVIEWS if tag in image.tags}
        tags |= {KIND: tag_values(form, LONG, 1), WIDTH: tag_values(form, LONG, size[1])}
        tags |= {
            HEIGHT: tag_values(form, LONG, size[0]),
            SIZES: tag_values(form, LONG, np.zeros(level.blocks)),
        }
        tags[OFFSETS] = tag_values(form, LONG8 if form.big else LONG, np.zeros(level.blocks))
        start = self._end + -self._end % 8
        data = pack_directory(form, tags, start)
        self._write(data, start)
        self._end = start + len(data)
        self._write(form.offset.pack(start), link)
        found, following = self._reader.directory(start)
        self.levels.append(self._level(found))
        return following

    def values(self, tag: TiffTag) -> TagValues:
        """The values of one tag."""
        return TagValues(tag.kind, tag.count, take(self._handle, tag.size, tag.position))

    def _enter(self, level: int, tag: int, indices: Numbers, values: Numbers) -> None:
        table = self.levels[level].tags[tag]
        kind = self.form.dtype(table.kind)
        places = (table.position + indices * kind.itemsize).tolist()
        for place, value in zip(places, values.astype(kind), strict=True):
            self._write(value.tobytes(), place)

    def _entered(self, level: int, tag: int, indices: Numbers) -> Numbers:
        table = self.levels[level].tags[tag]
        kind = self.form.dtype(table.kind)
        places = (table.position + indices * kind.itemsize).tolist()
        raw = b"".join(take(self._handle, kind.itemsize, place) for place in places)
        return np.frombuffer(raw, kind).astype(np.int64)

    def _write(self, data: bytes, place: int) -> None:
        put(self._handle, data, place)


def checksum(data: Iterable[bytes], offsets: Numbers, sizes: Numbers) -> int:
    """Of the blocks of one place, one after the other, and of what the tables say of them."""
    found = zlib.crc32(np.stack([offsets, sizes]).tobytes())
    for part in data:
        found = zlib.crc32(part, found)
    return found
