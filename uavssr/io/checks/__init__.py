"""What may be opened, and within which limits, before GDAL sees a file.

Nothing here decodes a pixel.
"""

from uavssr.io.checks.block_cache import BLOCK_CACHE, block_cache
from uavssr.io.checks.checked_file import (
    CheckedFile,
    check_path_text,
    check_raster,
    sidecars,
)
from uavssr.io.checks.fingerprint import Fingerprint, fingerprint
from uavssr.io.checks.gdal_errors import GDAL_ERRORS
from uavssr.io.checks.header import (
    MAX_BANDS,
    Layout,
    check_layout,
    data_file,
    envi_header,
    read_envi_list,
)
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
]
