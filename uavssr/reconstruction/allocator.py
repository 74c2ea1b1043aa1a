"""Settings of glibc's malloc while tiles are computed: freed memory is reused for the next tile."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Parameters of mallopt, from glibc's malloc.h."""
_REUSE_BELOW: Final = 2**30
"""Bytes above which an array goes back to the system while tiles are computed: none is larger."""
_DEFAULT_BELOW: Final = 2**25
"""The same threshold in bytes as glibc sets it by itself, at most."""


@contextmanager
def freed_memory_reused() -> Iterator[None]:
    """Reuse memory that the body frees, and return it to the system at the end."""
    reuse_freed_memory()
    try:
        yield
    finally:
        return_freed_memory()


def reuse_freed_memory() -> None:
    """Keep memory that is freed in the process, for the next array; does nothing without glibc.

    By default glibc requests an array of megabytes from the system and returns it, which costs a
    page fault for each 4 KB, and gives each thread an arena that others cannot use.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_ARENA_MAX, 1)
        _set_thresholds(library, _REUSE_BELOW)


def return_freed_memory() -> None:
    """Return free memory to the system, now and whenever more is freed."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        _set_thresholds(library, _DEFAULT_BELOW)
        library.malloc_trim(0)


def _set_thresholds(library: ctypes.CDLL, value: int) -> None:
    library.mallopt(_TRIM_THRESHOLD, value)
    library.mallopt(_MMAP_THRESHOLD, value)
