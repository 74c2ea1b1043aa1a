"""A cloud-optimised GeoTIFF: directories first, then the blocks of the overviews, then the image's.

The blocks are those of a plain GeoTIFF, copied byte for byte. GDAL 3.10 would pack them anew with
all bands of a pixel together, and one band would cost as much to read as the whole cube.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import numpy as np

from uavssr.io.writers.block_file import OFFSETS, SIZES, BlockFile, Key, Numbers, checksum
from uavssr.io.writers.geotiff import GeoTiffWriter
from uavssr.io.writers.tiff_packing import pack_directory, tag_values

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
        arranged = Path(f"{self._part}.cog")
        stored = arrange(self._file, arranged)
        self._file.close()
        arranged.replace(self._part)
        self._file = self._handles.enter_context(closing(BlockFile(self._part)))
        self._file.stored = stored


def arrange(file: BlockFile, path: Path) -> dict[Key, int]:
    """Write a finished file anew in the order of a COG; returns the checksums of its places.

    Raises:
        OSError: the system refused, a full disk most often.
    """
    order = sorted(file.stored, key=lambda key: (-key[0], key[1:]))
    tables = [np.zeros((2, level.blocks), np.int64) for level in file.levels]
    end, stored = len(_head(file, tables)), dict[Key, int]()
    for key in order:
        _, sizes = file.entries(key)
        steps = sizes + 2 * _AROUND
        offsets = end + np.cumsum(steps) - steps + _AROUND
        tables[key[0]][:, file.levels[key[0]].indices(*key[1:])] = offsets, sizes
        end += int(steps.sum())
    with path.open("xb") as out:
        out.write(_head(file, tables))
        for key in order:
            data = _wrapped(file, key)
            offsets, sizes = tables[key[0]][:, file.levels[key[0]].indices(*key[1:])]
            stored[key] = checksum([data[_AROUND:-_AROUND]], offsets, sizes)
            out.write(data)
    return stored


def _wrapped(file: BlockFile, key: Key) -> bytes:
    """The blocks of one place, each with its size before it and its last bytes again behind."""
    offsets, sizes = file.entries(key)
    data, first = file.read(key), int(offsets[0])
    if checksum([data], offsets, sizes) != file.stored[key]:
        place = f"the block of {key} (level, row, column)"
        raise OSError(errno.EIO, f"{place} not as written when read back")
    ends = zip((offsets - first).tolist(), sizes.tolist(), strict=True)
    blocks = [data[start : start + size] for start, size in ends]
    return b"".join(len(b).to_bytes(_AROUND, "little") + b + b[-_AROUND:] for b in blocks)


def _head(file: BlockFile, tables: Sequence[Numbers]) -> bytes:
    """All that stands before the blocks."""
    form = file.form
    start = len(file.header(first=0)) + len(_GHOST)
    start += start % 2
    head = (file.header(first=start) + _GHOST).ljust(start, b"\0")
    for level, (offsets, sizes) in zip(file.levels, tables, strict=True):
        tags = {tag: file.values(each) for tag, each in level.tags.items()}
        made = {OFFSETS: offsets, SIZES: sizes}
        tags |= {tag: tag_values(form, level.tags[tag].kind, each) for tag, each in made.items()}
        last = level is file.levels[-1]
        head += pack_directory(form, tags, len(head), followed=not last)
    return head
