"""The memory that GDAL may use for blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import rasterio

BLOCK_CACHE: Final = 64 * 2**20
"""Bytes of GDAL's block cache in the whole process; its own default is 5 % of the memory."""


@contextmanager
def block_cache(size: int = BLOCK_CACHE) -> Iterator[None]:
    """Limit GDAL's block cache to `size` bytes, for all threads."""
    with rasterio.Env(GDAL_CACHEMAX=size):
        yield
