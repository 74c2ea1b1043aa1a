"""TIFF headers: the tags of each image, where their values lie, and the layout that they state.

What is read is limited by the size of the file, never by a number in it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from uavssr.errors import InputRefused
from uavssr.io.checks.layout import Layout, check_layout

MAX_TAGS: Final = 1024
"""Tags of one directory; real files have about 25."""
MAX_METADATA_BYTES: Final = 2**20
"""Bytes of GDAL's metadata items of one directory, which GDAL reads slowly; 270 bands have 160 kB.
"""
MAX_DIRECTORIES: Final = 256
"""Directories of one file: the image, its overviews and masks."""

_VALUE_BYTES: Final[Mapping[int, int]] = {
    **dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), start=1)),
    **dict.fromkeys((16, 17, 18), 8),
}
"""Bytes of one value by its TIFF type (TIFF 6.0 section 2; 16-18 are those of BigTIFF)."""
_UNSIGNED: Final = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}
_OFFSETS_AT_ONCE: Final = 1 << 18
"""Block offsets held in memory at a time while they are checked."""

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _MODEL = 256, 257, 258, 259, 272
_STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES, _PLANAR = 273, 277, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES, _SAMPLE_FORMAT = 322, 323, 324, 325, 339
_GDAL_METADATA: Final = 42112
_COMPLEX_FORMATS: Final = (5, 6)


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


class TiffForm(NamedTuple):
    """Byte order and width of offsets: classic TIFF or BigTIFF."""

    order: str
    """Byte order as `struct` and numpy write it, "<" or ">"."""
    big: bool
    """Whether it is BigTIFF."""
    offset: struct.Struct
    """A position in the file; a tag's values lie in its place if they need no more bytes."""
    tag_count: struct.Struct
    """The number of tags, with which a directory begins."""
    tag: struct.Struct
    """Number, type and count of one tag, before its values or their position."""

    @classmethod
    def of(cls, header: bytes) -> TiffForm:
        """The form that the first bytes of a file state."""
        order = "<" if header[:2] == b"II" else ">"
        big = struct.unpack_from(f"{order}H", header, 2)[0] == 43
        codes = ("Q", "Q", "HHQ") if big else ("I", "H", "HHI")
        return cls(order, big, *(struct.Struct(order + code) for code in codes))

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
        self.form = TiffForm.of(self.take(0, 8))

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
        seen = set[int]()
        link = self.form.offset.size  # the header has as many bytes before its own link
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
            tag = TiffTag(kind, values, first + i * step + form.tag.size)
            if tag.size > form.offset.size:  # too many bytes: their position stands there instead
                tag = replace(tag, position=self.offset(tag.position))
                self.take(tag.position + tag.size, 0, f"the end of tag {number}")
            directory[number] = tag
        return directory, first + len(raw)

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


def read_tiff_layout(descriptor: int, path: Path, max_pixels: int | None) -> Layout:
    """The layout of the first image, after a check that no block lies past the end of the file.

    The blocks and sizes of all directories are checked, which are overviews and masks.

    Raises:
        InputRefused: truncated, a loop of directories, too many tags, blocks missing, or a layout
            beyond the limits of `check_layout`.
    """
    try:
        reader = TiffReader(descriptor)
        directories = [directory for directory, _ in reader.directories()]
        layouts = [_layout(reader, directory) for directory in directories]
        for directory, layout in zip(directories, layouts, strict=True):
            check_layout(layout, path=path, file_bytes=reader.size, max_pixels=max_pixels)
            _check_blocks(reader, directory, layout)
    except DamagedTiffError as err:
        raise InputRefused(str(err), path=path, remedy="copy or export the file again") from err
    return layouts[0]


def _layout(reader: TiffReader, directory: TiffDirectory) -> Layout:
    metadata = directory.get(_GDAL_METADATA)
    if metadata is not None and metadata.size > MAX_METADATA_BYTES:
        size = f"{metadata.size / 1e6:.1f} MB"
        raise DamagedTiffError(f"the TIFF holds {size} of GDAL metadata items, more than 1 MB")
    number = partial(reader.number, directory)
    width, height = number(_WIDTH), number(_HEIGHT)
    bands, bits = number(_SAMPLES, 1), number(_BITS, 1)
    tiled = _TILE_WIDTH in directory
    block = min(number(_ROWS_PER_STRIP, 2**32 - 1), height), width
    if tiled:
        block = number(_TILE_HEIGHT), number(_TILE_WIDTH)
    together = bands if number(_PLANAR, 1) == 1 else 1
    return Layout(
        width=width,
        height=height,
        bands=bands,
        bits=bits,
        is_complex=number(_SAMPLE_FORMAT, 1) in _COMPLEX_FORMATS,
        block=block,
        block_bytes=block[0] * block[1] * together * bits // 8,
        plain_strips=not tiled and number(_COMPRESSION, 1) == 1,
        model=_model(reader, directory),
    )


def _model(reader: TiffReader, directory: TiffDirectory) -> str:
    tag = directory.get(_MODEL)
    if tag is None or tag.kind != 2:
        return ""
    raw = reader.take(tag.position, min(tag.count, 256), "the camera model")
    return raw.split(b"\0")[0].decode("latin-1").strip()


def _check_blocks(reader: TiffReader, directory: TiffDirectory, layout: Layout) -> None:
    tiled = _TILE_WIDTH in directory
    tags = (_TILE_OFFSETS, _TILE_BYTES) if tiled else (_STRIP_OFFSETS, _STRIP_BYTES)
    offsets, sizes = (directory.get(tag) for tag in tags)
    rows, cols = layout.block
    if offsets is None or min(rows, cols) < 1:
        raise DamagedTiffError("the TIFF lists no blocks of pixels")
    planes = layout.bands if reader.number(directory, _PLANAR, 1) == 2 else 1
    expected = -(-layout.height // rows) * -(-layout.width // cols) * planes
    listed = offsets.count if sizes is None else min(offsets.count, sizes.count)
    if listed < expected:
        raise DamagedTiffError(f"the TIFF lists {listed} of {expected} blocks of pixels")
    end = np.uint64(reader.size)
    for start in range(0, expected, _OFFSETS_AT_ONCE):
        count = min(_OFFSETS_AT_ONCE, expected - start)
        starts = reader.numbers(offsets, start, count)
        lengths = np.ones_like(starts) if sizes is None else reader.numbers(sizes, start, count)
        rest = end - np.minimum(starts, end)  # no sum, which could pass 2^64
        outside = (lengths > rest) & (starts > 0)  # a block at 0 is absent, which is allowed
        if outside.any():
            raise DamagedTiffError(
                f"truncated: block {start + int(outside.argmax())} of {expected} lies past the "
                f"end of the file, which has {end} bytes"
            )
