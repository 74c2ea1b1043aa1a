"""The C library's memory while tiles are made: what is freed is kept for the next tile.

Must not know what the memory is for.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Names of glibc's settings."""
_ALWAYS: Final = 2**30
"""Bytes: no array of a tile is larger."""
_USUAL: Final = 2**25
"""Bytes from which glibc goes to the system for each array, once it has seen one as large."""


@contextmanager
def memory_kept() -> Iterator[None]:
    """Keep what the body frees, and give it back to the system at the end; see `keep`."""
    keep()
    try:
        yield
    finally:
        give_back()


def keep() -> None:
    """From now on keep memory that is freed, for the next array.

    Each array of a tile is some megabytes, which glibc would fetch from the system and return every
    time, a page fault for each 4 KB. Threads share one arena from here on: in arenas of their own
    each would keep what only it can use. With another C library nothing is done.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_ARENA_MAX, 1)
        _set_thresholds(library, _ALWAYS)


def give_back() -> None:
    """Return to the system what `keep` has kept, and what is freed from now on."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        _set_thresholds(library, _USUAL)
        library.malloc_trim(0)


def _set_thresholds(library: ctypes.CDLL, value: int) -> None:
    library.mallopt(_TRIM_THRESHOLD, value)
    library.mallopt(_MMAP_THRESHOLD, value)
