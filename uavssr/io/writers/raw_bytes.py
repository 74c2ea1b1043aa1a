"""Bytes at a place of an open file: all of them, or an error."""

from __future__ import annotations

import errno
import os


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
