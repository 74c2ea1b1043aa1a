"""Directories of the TIFF files that we write: where each tag's values lie, and new ones.

For files of our own making; `tiff` reads those of others. Must not know what the tags mean.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from uavssr.io.writers.raw_bytes import take

BYTES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 11: 4, 12: 8, 16: 8}
"""Size of a value by its TIFF type, as far as GDAL writes it."""
SHORT, LONG, LONG8 = 3, 4, 16
_NUMBERS: Final = {SHORT: "u2", LONG: "u4", LONG8: "u8"}


@dataclass(frozen=True, slots=True)
class Values:
    """The values of one tag."""

    kind: int
    count: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """Where the values of one tag lie in a file."""

    kind: int
    count: int
    place: int

    @property
    def size(self) -> int:
        """Bytes of all values."""
        return BYTES[self.kind] * self.count


@dataclass(frozen=True, slots=True)
class Form:
    """What differs between classic TIFF and BigTIFF, and between byte orders."""

    order: str
    """As `struct` writes it."""
    big: bool

    @classmethod
    def of(cls, handle: int) -> Self:
        """The form of an open file."""
        start = take(handle, 4, 0)
        order = "<" if start[:2] == b"II" else ">"
        return cls(order, struct.unpack_from(f"{order}H", start, 2)[0] == 43)

    @property
    def first(self) -> int:
        """Where the file says at which byte its first directory begins; its header ends there."""
        return 8 if self.big else 4

    @property
    def word(self) -> str:
        """An offset, as `struct` writes it."""
        return f"{self.order}{'Q' if self.big else 'I'}"

    @property
    def _field(self) -> int:
        return 8 if self.big else 4

    @property
    def _counter(self) -> str:
        return f"{self.order}{'Q' if self.big else 'H'}"

    def numbers(self, kind: int) -> np.dtype[np.unsignedinteger]:
        """The type of a table's numbers."""
        return np.dtype(f"{self.order}{_NUMBERS[kind]}")

    def values(self, kind: int, numbers: npt.ArrayLike) -> Values:
        """Whole numbers as the values of a tag."""
        raw = np.atleast_1d(np.asarray(numbers)).astype(self.numbers(kind))
        return Values(kind, raw.size, raw.tobytes())

    def offset_at(self, handle: int, place: int) -> int:
        """An offset that stands at a place of the file."""
        return int(struct.unpack(self.word, take(handle, self._field, place))[0])

    def read(self, handle: int, start: int) -> tuple[dict[int, Entry], int]:
        """The entries of the directory at `start`, and where it says what follows it."""
        head = struct.calcsize(self._counter)
        (count,) = struct.unpack(self._counter, take(handle, head, start))
        fixed = struct.Struct(f"{self.order}HH{self.word[1]}")
        step, first = fixed.size + self._field, start + head
        raw = take(handle, count * step, first)
        entries = {}
        for index in range(count):
            tag, kind, number = fixed.unpack_from(raw, index * step)
            place = first + index * step + fixed.size
            if BYTES[kind] * number > self._field:
                place = self.offset_at(handle, place)
            entries[tag] = Entry(kind, number, place)
        return entries, first + count * step

    def packed(self, tags: Mapping[int, Values], start: int, *, followed: bool = False) -> bytes:
        """A directory for the place `start`; where `followed`, another comes right behind it."""
        fixed = struct.Struct(f"{self.order}HH{self.word[1]}")
        body, tail = bytearray(struct.pack(self._counter, len(tags))), bytearray()
        behind = start + len(body) + len(tags) * (fixed.size + self._field) + self._field
        behind += -behind % 8
        for tag, values in sorted(tags.items()):
            body += fixed.pack(tag, values.kind, values.count)
            if len(values.data) > self._field:
                body += struct.pack(self.word, behind + len(tail))
                tail += values.data + bytes(-len(values.data) % 8)
            else:
                body += values.data.ljust(self._field, b"\0")
        body += struct.pack(self.word, behind + len(tail) if followed else 0)
        return bytes(body).ljust(behind - start, b"\0") + bytes(tail)
