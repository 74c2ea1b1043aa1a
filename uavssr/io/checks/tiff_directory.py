"""Parser of TIFF directories: which tags an image has, and where in the file their values lie.

It serves the check of foreign files and the writers, which add blocks to files of our own. What it
reads is limited by the size of the file, never by a number in it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

MAX_TAGS: Final = 1024
"""Tags of one directory; real files have about 25."""
MAX_DIRECTORIES: Final = 256
"""Directories of one file: the image, its overviews and masks."""

_VALUE_BYTES: Final[Mapping[int, int]] = {
    **dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), start=1)),
    **dict.fromkeys((16, 17, 18), 8),
}
"""Bytes of one value by its TIFF type (TIFF 6.0 section 2; 16-18 are those of BigTIFF)."""
_UNSIGNED: Final = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}


class DamagedTiffError(OSError):
    """A TIFF whose structure contradicts itself or reaches past the end of the file."""


@dataclass(frozen=True, slots=True)
class TiffTag:
    """Where the values of one tag lie in a file."""

    kind: int
    """TIFF type of the values: 2 text, 3 uint16, 4 uint32, 16 uint64 ..."""
    count: int
    """Number of values."""
    position: int
    """First byte of the first value."""

    @property
    def size(self) -> int:
        """Bytes of all values; types that are not known count as bytes."""
        return _VALUE_BYTES.get(self.kind, 1) * self.count


TiffDirectory = dict[int, TiffTag]
"""The tags of one image by number."""


@dataclass(frozen=True, slots=True)
class TiffForm:
    """Byte order and width of offsets: classic TIFF or BigTIFF."""

    order: str
    """Byte order as `struct` and numpy write it, "<" or ">"."""
    big: bool
    """Whether it is BigTIFF."""

    @property
    def offset(self) -> struct.Struct:
        """A position in the file; a tag's values lie in its place if they need no more bytes."""
        return struct.Struct(f"{self.order}{'Q' if self.big else 'I'}")

    @property
    def tag_count(self) -> struct.Struct:
        """The number of tags, with which a directory begins."""
        return struct.Struct(f"{self.order}{'Q' if self.big else 'H'}")

    @property
    def tag(self) -> struct.Struct:
        """Number, type and count of one tag, before its values or their position."""
        return struct.Struct(f"{self.order}HH{'Q' if self.big else 'I'}")

    @property
    def first_link(self) -> int:
        """Position at which the file says where its first directory begins."""
        return self.offset.size

    def dtype(self, kind: int) -> np.dtype[np.unsignedinteger]:
        """The numpy type of unsigned values of a TIFF type."""
        return np.dtype(f"{self.order}{_UNSIGNED[kind]}")


class TiffReader:
    """Reads the directories of an open TIFF. All methods raise `DamagedTiffError`.

    Args:
        descriptor: of the file, open for reading; it stays the caller's to close.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        start = self.take(0, 8)
        order = "<" if start[:2] == b"II" else ">"
        self.form = TiffForm(order, struct.unpack_from(f"{order}H", start, 2)[0] == 43)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return os.fstat(self._descriptor).st_size

    def take(self, position: int, count: int, what: str = "the header") -> bytes:
        """The `count` bytes from `position` on; `what` they are, for the message."""
        size = self.size
        if position + count > size:
            raise DamagedTiffError(
                f"truncated: {what} at byte {position} needs {count} bytes, the file ends at {size}"
            )
        return os.pread(self._descriptor, count, position)

    def offset(self, position: int) -> int:
        """The offset that stands at `position`."""
        form = self.form.offset
        return int(form.unpack(self.take(position, form.size))[0])

    def directories(self) -> Iterator[tuple[TiffDirectory, int]]:
        """Each directory, and the position at which the file links to the next."""
        seen: set[int] = set()
        link = self.form.first_link
        while start := self.offset(link):
            if start in seen:
                raise DamagedTiffError(f"TIFF directories form a loop at {start}")
            seen.add(start)
            if len(seen) > MAX_DIRECTORIES:
                raise DamagedTiffError(f"more than {MAX_DIRECTORIES} TIFF directories")
            directory, link = self.directory(start)
            yield directory, link
        if not seen:
            raise DamagedTiffError("no TIFF directory")

    def directory(self, start: int) -> tuple[TiffDirectory, int]:
        """The directory at `start`, and the position of the link behind it."""
        form = self.form
        (count,) = form.tag_count.unpack(self.take(start, form.tag_count.size))
        if not 1 <= count <= MAX_TAGS:
            raise DamagedTiffError(f"a TIFF directory claims {count} tags, not 1-{MAX_TAGS}")
        first, step = start + form.tag_count.size, form.tag.size + form.offset.size
        raw = self.take(first, count * step, "a TIFF directory")
        directory: TiffDirectory = {}
        for i in range(count):
            number, kind, values = form.tag.unpack_from(raw, i * step)
            directory[number] = self._tag(number, kind, values, first + i * step + form.tag.size)
        return directory, first + len(raw)

    def _tag(self, number: int, kind: int, count: int, field: int) -> TiffTag:
        """A tag whose values, or the offset of them, stand at `field`."""
        tag = TiffTag(kind, count, field)
        if tag.size > self.form.offset.size:
            tag = TiffTag(kind, count, self.offset(field))
            self.take(tag.position + tag.size, 0, f"the end of tag {number}")
        return tag

    def numbers(self, tag: TiffTag, start: int = 0, count: int = 1) -> npt.NDArray[np.uint64]:
        """`count` unsigned values of a tag from the `start`-th on."""
        if tag.kind not in _UNSIGNED:
            raise DamagedTiffError(f"a TIFF tag that should hold numbers has type {tag.kind}")
        dtype = self.form.dtype(tag.kind)
        raw = self.take(tag.position + start * dtype.itemsize, count * dtype.itemsize, "a tag")
        return np.frombuffer(raw, dtype).astype(np.uint64)

    def number(self, directory: TiffDirectory, number: int, default: int | None = None) -> int:
        """The first value of a tag; `default` where the directory has no such tag."""
        tag = directory.get(number)
        if tag is not None and tag.count:
            return int(self.numbers(tag)[0])
        if default is None:
            raise DamagedTiffError(f"the TIFF has no tag {number}")
        return default
