"""GDAL as the program runs it: with its own settings only, and quiet."""

from __future__ import annotations

import os
import re
import sys
from types import TracebackType
from typing import Final

_OPTION: Final = re.compile(
    r"(?!(GDAL_DATA|GDAL_DRIVER_PATH|CPL_TMPDIR)$)"
    r"((GDAL|GTIFF|TIFF|CPL|OSR|OGR|VSI|AWS)_|(PROJ_NETWORK|CONVERT_YCBCR_TO_RGB)$)"
)


_BLOCK_CACHE_MB: Final = 64
"""`io.checks.BLOCK_CACHE`, which would load rasterio here."""


def ignore_gdal_settings() -> None:
    """Remove GDAL's options from the environment: some change pixels or open the network.

    Where it finds its data and drivers stays. Its configuration file is not read either. Its block
    cache, by default a twentieth of the machine's memory, is limited.
    """
    for name in [name for name in os.environ if _OPTION.match(name)]:
        del os.environ[name]
    os.environ["GDAL_CONFIG_FILE"] = os.devnull
    os.environ["GDAL_CACHEMAX"] = str(_BLOCK_CACHE_MB)


def hide_undecodable_messages() -> None:
    """Show no traceback where a message of GDAL is not UTF-8; the error itself is raised anyway."""
    sys.excepthook = _show_uncaught


def _show_uncaught(
    kind: type[BaseException], err: BaseException, trace: TracebackType | None
) -> None:
    if not issubclass(kind, UnicodeDecodeError):
        sys.__excepthook__(kind, err, trace)
