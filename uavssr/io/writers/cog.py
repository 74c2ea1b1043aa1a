"""A cloud-optimised GeoTIFF: directories first, then the blocks of the overviews, then the image's.

The blocks are those of a plain GeoTIFF, copied byte for byte. GDAL 3.10 would pack them anew with
all bands of a pixel together, and one band would cost as much to read as the whole cube.
"""

from __future__ import annotations

import errno
import zlib
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from uavssr.io.writers.block_file import (
    OFFSETS,
    SIZES,
    BlockFile,
    Key,
    Numbers,
    pack_directory,
    tag_values,
)
from uavssr.io.writers.geotiff import GeoTiffWriter

_LAYOUT: Final = (
    b"LAYOUT=IFDS_BEFORE_DATA\nBLOCK_ORDER=ROW_MAJOR\nBLOCK_LEADER=SIZE_AS_UINT4\n"
    b"BLOCK_TRAILER=LAST_4_BYTES_REPEATED\nKNOWN_INCOMPATIBLE_EDITION=NO\n "
)
_GHOST: Final = b"GDAL_STRUCTURAL_METADATA_SIZE=%06d bytes\n" % len(_LAYOUT) + _LAYOUT
"""By this GDAL knows the layout; it changes NO to YES when it edits such a file."""
_AROUND: Final = 4
"""Bytes before a block that tell its size, and bytes behind it that repeat its last ones."""


class CogWriter(GeoTiffWriter):
    """Writes a cloud-optimised GeoTIFF; the arguments are those of `GeoTiffWriter`."""

    copies = 2

    def _complete(self) -> None:
        super()._complete()
        path = Path(f"{self._part}.cog")
        arranged = self._handles.enter_context(closing(arrange(self._file, path)))
        self._file.close()
        path.replace(self._part)
        self._file = arranged


def arrange(file: BlockFile, path: Path) -> BlockFile:
    """Write a finished file anew in the order of a COG; returns it, open.

    Raises:
        OSError: the system refused, a full disk most often, or a block is damaged.
    """
    order = sorted(file.stored, key=lambda key: (-key[0], key[1:]))
    tables = [np.zeros_like(table) for table in file.tables]
    end, stored = len(_head(file, tables)), dict[Key, int]()
    for level, row, col in order:
        sizes = file.tables[level][1, :, row, col]
        steps = sizes + 2 * _AROUND
        tables[level][:, :, row, col] = end + np.cumsum(steps) - steps + _AROUND, sizes
        end += int(steps.sum())
    with path.open("xb") as out:
        out.write(_head(file, tables))
        for key in order:
            data = _wrapped(file, key)
            stored[key] = zlib.crc32(data[_AROUND:-_AROUND])
            out.write(data)
    arranged = BlockFile(path)
    arranged.tables, arranged.stored = tables, stored
    return arranged


def _wrapped(file: BlockFile, key: Key) -> bytes:
    """The blocks of one place, each with its size before it and its last bytes again behind."""
    level, row, col = key
    data, ends = file.read(key), np.cumsum(file.tables[level][1, :, row, col]).tolist()
    if zlib.crc32(data) != file.stored[key]:
        place = f"the block of {key} (level, row, column)"
        raise OSError(errno.EIO, f"{place} not as written when read back")
    blocks = [data[start:end] for start, end in pairwise([0, *ends])]
    return b"".join(len(b).to_bytes(_AROUND, "little") + b + b[-_AROUND:] for b in blocks)


def _head(file: BlockFile, tables: Sequence[Numbers]) -> bytes:
    """All that stands before the blocks."""
    form = file.form
    start = len(file.header(first=0)) + len(_GHOST)
    start += start % 2
    head = (file.header(first=start) + _GHOST).ljust(start, b"\0")
    for number, (level, table) in enumerate(zip(file.levels, tables, strict=True), start=1):
        tags = {tag: file.values(position) for tag, position in level.items()}
        for tag, numbers in zip((OFFSETS, SIZES), table, strict=True):
            tags[tag] = tag_values(form, level[tag].kind, numbers)
        head += pack_directory(form, tags, len(head), followed=number < len(tables))
    return head
