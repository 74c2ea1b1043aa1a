"""A TIFF that GDAL made without pixels, to which blocks are appended and entered in its tables.

GDAL writes all that a GeoTIFF says of itself; this module handles directories and blocks of bytes.
"""

from __future__ import annotations

import math
import os
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from uavssr.io.checks import TiffDirectory, TiffForm, TiffReader, TiffTag
from uavssr.io.writers.raw_bytes import Packed, put, put_all, take

KIND, WIDTH, HEIGHT, SIDE, OFFSETS, SIZES = 254, 256, 257, 322, 324, 325
_OF_OVERVIEWS: Final = (258, 259, 262, 277, 284, 317, SIDE, 323, 338, 339, 42113)
"""Tags that an overview shares with its image: how numbers are stored, and nodata."""
LONG, LONG8 = 4, 16
"""TIFF types of uint32 and uint64."""
_ALIGNED: Final = 8

Numbers = npt.NDArray[np.int64]
Key = tuple[int, int, int]
"""Level (0 the image, 1 its largest overview ...), row and column of a block."""


@dataclass(frozen=True, slots=True)
class TagValues:
    """The values of one tag."""

    kind: int
    """Their TIFF type."""
    count: int
    """Number of values."""
    data: bytes
    """The values in the byte order of the file."""


class BlockFile:
    """Appends blocks from any thread, and remembers where they are until `write_tables`.

    Args:
        path: a TIFF that is tiled in squares, without pixels or of our own making.
        overviews: (height, width) of the overviews to add, the largest first.
    """

    def __init__(self, path: Path, *, overviews: Sequence[tuple[int, int]] = ()) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._lock = threading.Lock()
        self._reader = TiffReader(self._handle)
        self.form, self._end = self._reader.form, self._reader.size
        directories = list(self._reader.directories())
        self.levels, link = [tags for tags, _ in directories], directories[-1][1]
        # Offsets and sizes of each level's blocks, (2, plane, row, column); a plane is a band, or
        # all bands where they are interleaved by pixel.
        self.tables = [self._table(tags) for tags in self.levels]
        self.planes = self.tables[0].shape[1]
        self.stored = dict[Key, int]()  # CRC-32 of the blocks of one place
        for size in overviews:
            link = self._add_overview(size, link)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def append(self, key: Key, blocks: Sequence[Packed]) -> None:
        """Store the blocks of one place, one per plane; they replace earlier ones.

        Raises:
            OSError: the system refused, a full disk most often.
        """
        level, row, col = key
        sizes, checksum = np.fromiter(map(len, blocks), np.int64, len(blocks)), 0
        for block in blocks:
            checksum = zlib.crc32(block, checksum)
        with self._lock:
            start, self._end = self._end, self._end + int(sizes.sum())
        # Remembered before the write, so that a failed one is noticed.
        self.stored[key] = checksum
        self.tables[level][:, :, row, col] = start + np.cumsum(sizes) - sizes, sizes
        put_all(self._handle, blocks, start)

    def write_tables(self) -> None:
        """Enter all blocks in the file's own tables.

        Raises:
            OSError: the system refused, a full disk most often.
        """
        for tags, table in zip(self.levels, self.tables, strict=True):
            for tag, numbers in zip((tags[OFFSETS], tags[SIZES]), table, strict=True):
                put(self._handle, tag_values(self.form, tag.kind, numbers).data, tag.position)

    def wrong(self, pool: ThreadPoolExecutor) -> Iterator[Key]:
        """Places whose blocks, or whose entries in the tables, are not as they were stored."""
        for level, (tags, table) in enumerate(zip(self.levels, self.tables, strict=True)):
            for row, col in np.argwhere((self._table(tags) != table).any((0, 1))).tolist():
                yield level, row, col
        damaged = pool.map(lambda key: zlib.crc32(self.read(key)) != self.stored[key], self.stored)
        yield from compress(self.stored, damaged)

    def read(self, key: Key) -> bytes:
        """The bytes from the first to the last block of one place."""
        level, row, col = key
        offsets, sizes = self.tables[level][:, :, row, col]
        return take(self._handle, int(offsets[-1] + sizes[-1] - offsets[0]), int(offsets[0]))

    def header(self, *, first: int) -> bytes:
        """The file's own header, with the first directory at another place."""
        return take(self._handle, self.form.offset.size, 0) + self.form.offset.pack(first)

    def values(self, tag: TiffTag) -> TagValues:
        """The values of one tag."""
        return TagValues(tag.kind, tag.count, take(self._handle, tag.size, tag.position))

    def _table(self, tags: TiffDirectory) -> Numbers:
        """A level's table as it is in the file."""
        read = self._reader
        height, width, side = (read.number(tags, tag) for tag in (HEIGHT, WIDTH, SIDE))
        table = [read.numbers(tags[tag], count=tags[tag].count) for tag in (OFFSETS, SIZES)]
        shape = 2, -1, -(-height // side), -(-width // side)
        return np.stack(table).astype(np.int64).reshape(shape)

    def _add_overview(self, size: tuple[int, int], link: int) -> int:
        """Append and link the directory of an overview; returns where to link the next."""
        image, form = self.levels[0], self.form
        side = self._reader.number(image, SIDE)
        none = np.zeros(self.planes * math.prod(-(-length // side) for length in size))
        tags = {tag: self.values(image[tag]) for tag in _OF_OVERVIEWS if tag in image}
        tags |= {
            KIND: tag_values(form, LONG, 1),
            WIDTH: tag_values(form, LONG, size[1]),
            HEIGHT: tag_values(form, LONG, size[0]),
            OFFSETS: tag_values(form, LONG8 if form.big else LONG, none),
            SIZES: tag_values(form, LONG, none),
        }
        start = self._end + -self._end % _ALIGNED
        data = pack_directory(form, tags, start)
        put(self._handle, data, start)
        self._end = start + len(data)
        put(self._handle, form.offset.pack(start), link)
        directory, following = self._reader.directory(start)
        self.levels.append(directory)
        self.tables.append(self._table(directory))
        return following


def tag_values(form: TiffForm, kind: int, numbers: npt.ArrayLike) -> TagValues:
    """Whole numbers as the values of a tag."""
    raw = np.atleast_1d(np.asarray(numbers)).astype(form.dtype(kind))
    return TagValues(kind, raw.size, raw.tobytes())


def pack_directory(
    form: TiffForm, tags: Mapping[int, TagValues], start: int, *, followed: bool = False
) -> bytes:
    """A directory for the position `start`, with all values of its tags by their numbers.

    If it is `followed` by another directory, that comes right behind it.
    """
    field = form.offset.size
    body, values = bytearray(form.tag_count.pack(len(tags))), bytearray()
    behind = start + len(body) + len(tags) * (form.tag.size + field) + field
    behind += -behind % _ALIGNED
    for number, tag in sorted(tags.items()):
        body += form.tag.pack(number, tag.kind, tag.count)
        if len(tag.data) > field:
            body += form.offset.pack(behind + len(values))
            values += tag.data + bytes(-len(tag.data) % _ALIGNED)
        else:
            body += tag.data.ljust(field, b"\0")
    body += form.offset.pack(behind + len(values) if followed else 0)
    return bytes(body).ljust(behind - start, b"\0") + bytes(values)
