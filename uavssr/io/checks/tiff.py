"""A bounded reader of TIFF headers: finds truncation, loops and absurd sizes before GDAL does.

Must not decode pixels. What it reads is limited by the file's own size, never by what it claims.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt

from uavssr.errors import InputRefused
from uavssr.io.checks.header import Layout, check_layout

MAX_TAGS: Final = 1024
"""Tags of one directory; real files have about 25."""
MAX_DIRECTORIES: Final = 256
"""Directories of one file: the image, its overviews and masks."""
OFFSETS_AT_ONCE: Final = 1 << 18
"""Block offsets held in memory at a time while they are checked."""

_TYPE_BYTES: Final = {
    **dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), start=1)),
    **dict.fromkeys((16, 17, 18), 8),
}
_UNSIGNED: Final = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}

WIDTH, HEIGHT, BITS, COMPRESSION, MODEL = 256, 257, 258, 259, 272
STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES, PLANAR = 273, 277, 278, 279, 284
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES, SAMPLE_FORMAT = 322, 323, 324, 325, 339
_COMPLEX_FORMATS: Final = (5, 6)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One tag: where its values lie in the file."""

    tag: int
    kind: int
    count: int
    position: int


class _Header:
    """Reads numbers at checked positions of one open file."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.path, self._file = path, file
        self.size = file.seek(0, io.SEEK_END)
        start = self.take(0, 8)
        self.order = "<" if start[:2] == b"II" else ">"
        self.big = self.number(2, "H") == 43
        self.first = self.number(8, "Q") if self.big else self.number(4, "I")

    def take(self, position: int, count: int, what: str = "the header") -> bytes:
        """`count` bytes at `position`, or a refusal that says what lies outside the file."""
        if position + count > self.size:
            raise InputRefused(
                f"truncated: {what} at byte {position} needs {count} bytes, "
                f"the file ends at {self.size}",
                path=self.path,
                remedy="copy or export the file again",
            )
        self._file.seek(position)
        return self._file.read(count)

    def number(self, position: int, code: str) -> int:
        """One unsigned number in the file's byte order."""
        layout = f"{self.order}{code}"
        return int(struct.unpack(layout, self.take(position, struct.calcsize(layout)))[0])

    def values(self, entry: _Entry, start: int, count: int) -> npt.NDArray[np.uint64]:
        """`count` unsigned values of a tag from the `start`-th on."""
        if entry.kind not in _UNSIGNED:
            raise InputRefused(f"TIFF tag {entry.tag} has type {entry.kind}", path=self.path)
        size = _TYPE_BYTES[entry.kind]
        raw = self.take(entry.position + start * size, count * size, f"tag {entry.tag}")
        return np.frombuffer(raw, f"{self.order}{_UNSIGNED[entry.kind]}").astype(np.uint64)


_Directory = dict[int, _Entry]


def read_tiff_layout(path: Path, *, max_pixels: int | None = None) -> Layout:
    """The first image's layout, after every block of every directory is found inside the file.

    Raises:
        InputRefused: truncated, a loop of directories, too many tags, blocks missing, or a layout
            beyond the limits of `header.check_layout`.
    """
    with path.open("rb") as file:
        header = _Header(file, path)
        directories = list(_directories(header))
        layouts = [_layout(header, directory) for directory in directories]
        for directory, layout in zip(directories, layouts, strict=True):
            check_layout(layout, path=path, file_bytes=header.size, max_pixels=max_pixels)
            _check_blocks(header, directory, layout)
    return layouts[0]


def _directories(header: _Header) -> Iterator[_Directory]:
    seen: set[int] = set()
    position = header.first
    while position:
        if position in seen:
            raise InputRefused(f"TIFF directories form a loop at {position}", path=header.path)
        seen.add(position)
        if len(seen) > MAX_DIRECTORIES:
            raise InputRefused(f"more than {MAX_DIRECTORIES} TIFF directories", path=header.path)
        directory, position = _directory(header, position)
        yield directory
    if not seen:
        raise InputRefused("no TIFF directory", path=header.path)


def _directory(header: _Header, position: int) -> tuple[_Directory, int]:
    count_code, entry_code, field = ("Q", "HHQ", 8) if header.big else ("H", "HHI", 4)
    count = header.number(position, count_code)
    if not 1 <= count <= MAX_TAGS:
        raise InputRefused(
            f"a TIFF directory claims {count} tags, not 1-{MAX_TAGS}", path=header.path
        )
    start, fixed = position + struct.calcsize(f"={count_code}"), struct.calcsize(f"={entry_code}")
    raw = header.take(start, count * (fixed + field), "a TIFF directory")
    entries: _Directory = {}
    for i in range(count):
        at = i * (fixed + field)
        tag, kind, number = struct.unpack_from(f"{header.order}{entry_code}", raw, at)
        entries[tag] = _entry(header, tag, kind, number, start + at + fixed, field)
    following = header.number(start + len(raw), "Q" if header.big else "I")
    return entries, following


def _entry(header: _Header, tag: int, kind: int, count: int, place: int, field: int) -> _Entry:
    size = _TYPE_BYTES.get(kind, 1) * count
    if size > field:
        place = header.number(place, "Q" if field == 8 else "I")
        header.take(place + size, 0, f"the end of tag {tag}")
    return _Entry(tag, kind, count, place)


def _one(header: _Header, directory: _Directory, tag: int, default: int | None = None) -> int:
    entry = directory.get(tag)
    if entry is None or entry.count < 1:
        if default is None:
            raise InputRefused(f"the TIFF has no tag {tag}", path=header.path)
        return default
    return int(header.values(entry, 0, 1)[0])


def _layout(header: _Header, directory: _Directory) -> Layout:
    width, height = _one(header, directory, WIDTH), _one(header, directory, HEIGHT)
    bands, bits = _one(header, directory, SAMPLES, 1), _one(header, directory, BITS, 1)
    tiled = TILE_WIDTH in directory
    if tiled:
        block = _one(header, directory, TILE_HEIGHT), _one(header, directory, TILE_WIDTH)
    else:
        block = min(_one(header, directory, ROWS_PER_STRIP, 2**32 - 1), height), width
    together = bands if _one(header, directory, PLANAR, 1) == 1 else 1
    return Layout(
        width=width,
        height=height,
        bands=bands,
        bits=bits,
        is_complex=_one(header, directory, SAMPLE_FORMAT, 1) in _COMPLEX_FORMATS,
        block=block,
        block_bytes=block[0] * block[1] * together * bits // 8,
        plain_strips=not tiled and _one(header, directory, COMPRESSION, 1) == 1,
        model=_text(header, directory.get(MODEL)),
    )


def _text(header: _Header, entry: _Entry | None) -> str:
    if entry is None or entry.kind != 2:
        return ""
    raw = header.take(entry.position, min(entry.count, 256), f"tag {entry.tag}")
    return raw.split(b"\0")[0].decode("latin-1").strip()


def _check_blocks(header: _Header, directory: _Directory, layout: Layout) -> None:
    tiled = TILE_WIDTH in directory
    names = (TILE_OFFSETS, TILE_BYTES) if tiled else (STRIP_OFFSETS, STRIP_BYTES)
    offsets, sizes = (directory.get(name) for name in names)
    if offsets is None or min(layout.block) < 1:
        raise InputRefused("the TIFF lists no blocks of pixels", path=header.path)
    expected = _block_count(layout, planar=_one(header, directory, PLANAR, 1) == 2)
    listed = offsets.count if sizes is None else min(offsets.count, sizes.count)
    if listed < expected:
        raise InputRefused(
            f"the TIFF lists {listed} blocks of pixels where {expected} are needed",
            path=header.path,
        )
    for start in range(0, expected, OFFSETS_AT_ONCE):
        count = min(OFFSETS_AT_ONCE, expected - start)
        ends = header.values(offsets, start, count)
        length = np.ones_like(ends) if sizes is None else header.values(sizes, start, count)
        _check_ends(header, ends, length, start, expected)


def _block_count(layout: Layout, *, planar: bool) -> int:
    rows, cols = layout.block
    count = -(-layout.height // rows) * -(-layout.width // cols)
    return count * layout.bands if planar else count


def _check_ends(
    header: _Header,
    offsets: npt.NDArray[np.uint64],
    sizes: npt.NDArray[np.uint64],
    start: int,
    total: int,
) -> None:
    end = np.uint64(header.size)
    room = end - np.minimum(offsets, end)  # written so that no sum can pass 2^64
    outside = (sizes > room) & (offsets > 0)
    if outside.any():
        first = start + int(outside.argmax())
        raise InputRefused(
            f"truncated: block {first} of {total} lies past the end of the file, "
            f"which has {header.size} bytes",
            path=header.path,
            remedy="copy or export the file again",
        )
