"""Names of files: which of them every library can use, and whether there is such a file."""

from __future__ import annotations

import unicodedata
from pathlib import Path


def name_problem(path: Path) -> str | None:
    """Why GDAL, HDF5 or a terminal cannot use the name of a file or of a folder above it."""
    text = str(path.absolute())
    wrong = next((c for c in text if unicodedata.category(c) in ("Cc", "Zl", "Zp")), None)
    if wrong is not None:
        return f"the path holds the control character {wrong!r}"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "the path holds bytes that are not UTF-8"
    return None


def is_file(path: Path) -> bool:
    """Whether there is such a file; False also where its name is too long or its folder closed."""
    try:
        return path.is_file()
    except OSError:
        return False
