"""Bytes at a place of an open file: all of them, or an error."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Final, Protocol


class Packed(Protocol):
    """Bytes of a known length in any object with a buffer."""

    def __len__(self) -> int:
        """Number of bytes."""

    def __buffer__(self, flags: int, /) -> memoryview:
        """The bytes."""


_AT_ONCE: Final = 512
"""Buffers in one call of the system, which takes 1024 at most."""


def take(handle: int, count: int, place: int) -> bytes:
    """Exactly `count` bytes at a place of a file.

    Raises:
        OSError: the file ends before, as where GDAL met a full disk and said nothing.
    """
    raw = os.pread(handle, count, place)
    if len(raw) != count:
        raise OSError(errno.EIO, f"the file ends before byte {place + count}")
    return raw


def put(handle: int, data: bytes | memoryview, place: int) -> None:
    """Write all of `data` at a place of a file; from any thread.

    Raises:
        OSError: the system refused, a full disk most often.
    """
    rest = memoryview(data)
    while rest:  # at a limit the first write is short and the next one fails
        count = os.pwrite(handle, rest, place)
        rest, place = rest[count:], place + count


def put_all(handle: int, parts: Sequence[Packed], place: int) -> None:
    """Write buffers one behind the other; they are neither copied nor joined.

    Raises:
        OSError: the system refused, a full disk most often.
    """
    for start in range(0, len(parts), _AT_ONCE):
        some = parts[start : start + _AT_ONCE]
        size, count = sum(map(len, some)), os.pwritev(handle, some, place)
        if count < size:  # at a limit the next write fails, and says why
            put(handle, b"".join(some)[count:], place + count)
        place += size
