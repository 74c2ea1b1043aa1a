"""GDAL's errors, and the memory of its block cache."""

from __future__ import annotations

from typing import Final

import rasterio
from rasterio.errors import RasterioError

BLOCK_CACHE: Final = 64 * 2**20
"""Bytes of GDAL's block cache in the whole process; its own default is 5 % of the memory."""


def block_cache() -> rasterio.Env:
    """A context in which GDAL's block cache holds at most `BLOCK_CACHE`, for all threads."""
    return rasterio.Env(GDAL_CACHEMAX=BLOCK_CACHE)


def _base_of_gdal_errors() -> type[Exception]:
    """The base class of GDAL's own errors, which no public name of rasterio covers.

    Some calls of rasterio raise them as they are. Other calls raise rasterio's own error instead,
    with GDAL's as its context: so does this one, of a file that does not exist.
    """
    try:
        rasterio.open("/vsimem/no such file")
    except RasterioError as err:
        classes = type(err.__context__).__mro__
        return next((cls for cls in classes if cls.__bases__ == (Exception,)), RasterioError)
    return RasterioError


GDAL_ERRORS: Final = (RasterioError, _base_of_gdal_errors(), UnicodeDecodeError)
"""Errors of rasterio, of GDAL itself, and of text in the file that is not UTF-8."""
