"""Safety of input files before GDAL opens them: kind of file, completeness and size.

Nothing here decodes a pixel.
"""

from uavssr.io.checks.checked_file import (
    CheckedFile,
    PathLike,
    check_jp2,
    check_path_text,
    check_raster,
)
from uavssr.io.checks.envi_header import (
    OUR_DESCRIPTION,
    data_file,
    described_files,
    envi_header,
    envi_headers,
    read_envi_list,
)
from uavssr.io.checks.fingerprint import Fingerprint, fingerprint
from uavssr.io.checks.gdal import BLOCK_CACHE, GDAL_ERRORS, block_cache
from uavssr.io.checks.layout import MAX_BANDS, MAX_BLOCK_BYTES, Layout, check_layout, size_text
from uavssr.io.checks.names import is_file, name_problem
from uavssr.io.checks.tiff import TiffDirectory, TiffForm, TiffReader, TiffTag

__all__ = [
    "BLOCK_CACHE",
    "GDAL_ERRORS",
    "MAX_BANDS",
    "MAX_BLOCK_BYTES",
    "OUR_DESCRIPTION",
    "CheckedFile",
    "Fingerprint",
    "Layout",
    "PathLike",
    "TiffDirectory",
    "TiffForm",
    "TiffReader",
    "TiffTag",
    "block_cache",
    "check_jp2",
    "check_layout",
    "check_path_text",
    "check_raster",
    "data_file",
    "described_files",
    "envi_header",
    "envi_headers",
    "fingerprint",
    "is_file",
    "name_problem",
    "read_envi_list",
    "size_text",
]
