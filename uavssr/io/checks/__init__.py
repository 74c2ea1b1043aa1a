"""Safety of input files before GDAL opens them: kind of file, completeness and size.

Nothing here decodes a pixel.
"""

from uavssr.io.checks.block_cache import BLOCK_CACHE, block_cache
from uavssr.io.checks.checked_file import (
    CheckedFile,
    PathLike,
    check_path_text,
    check_raster,
    sidecars,
)
from uavssr.io.checks.envi_header import data_file, envi_header, read_envi_list
from uavssr.io.checks.fingerprint import Fingerprint, fingerprint
from uavssr.io.checks.gdal_errors import GDAL_ERRORS
from uavssr.io.checks.layout import MAX_BANDS, Layout, check_layout, size_text
from uavssr.io.checks.tiff_directory import (
    DamagedTiffError,
    TiffDirectory,
    TiffForm,
    TiffReader,
    TiffTag,
)

__all__ = [
    "BLOCK_CACHE",
    "GDAL_ERRORS",
    "MAX_BANDS",
    "CheckedFile",
    "DamagedTiffError",
    "Fingerprint",
    "Layout",
    "PathLike",
    "TiffDirectory",
    "TiffForm",
    "TiffReader",
    "TiffTag",
    "block_cache",
    "check_layout",
    "check_path_text",
    "check_raster",
    "data_file",
    "envi_header",
    "fingerprint",
    "read_envi_list",
    "sidecars",
    "size_text",
]
