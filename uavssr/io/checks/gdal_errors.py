"""The exceptions that a call of rasterio may raise for a damaged file."""

from __future__ import annotations

from typing import Final

import rasterio
from rasterio.errors import RasterioError


def _base_of_gdal_errors() -> type[Exception]:
    """The base class of GDAL's own errors.

    Some calls of rasterio let such an error through as it is, but no public name of rasterio covers
    them. It is found from a file that does not exist: rasterio replaces GDAL's error by its own and
    Python keeps the replaced one as context.
    """
    try:
        rasterio.open("/vsimem/no such file")
    except RasterioError as err:
        classes = type(err.__context__).__mro__
        return next((cls for cls in classes if cls.__bases__ == (Exception,)), RasterioError)
    return RasterioError


GDAL_ERRORS: Final = (RasterioError, _base_of_gdal_errors(), UnicodeDecodeError)
"""Errors of rasterio, of GDAL itself, and of text in the file that is not UTF-8."""
