"""How much memory GDAL may take for blocks: by default a twentieth of the machine's, which is much.

Must not do anything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import rasterio

BLOCK_CACHE: Final = 64 * 2**20
"""Bytes for blocks that were read or are to be written, in the whole process."""


@contextmanager
def block_cache(size: int = BLOCK_CACHE) -> Iterator[None]:
    """Hold GDAL's block cache at `size` bytes, for all threads."""
    with rasterio.Env(GDAL_CACHEMAX=size):
        yield
