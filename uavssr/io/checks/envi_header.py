"""ENVI headers: the text file that describes a raw raster file beside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from uavssr.errors import InputRefused
from uavssr.io.checks.layout import Layout, check_layout

_VALUE_BYTES: Final = {1: 1, 2: 2, 3: 4, 4: 4, 5: 8, 6: 8, 9: 16, 12: 2, 13: 4, 14: 8, 15: 8}
_COMPLEX: Final = (6, 9)
_MAX_HEADER_BYTES: Final = 4 * 2**20
_DATA_SUFFIXES: Final = ("", ".img", ".dat", ".bsq", ".bil", ".bip", ".raw", ".bin")


def envi_header(data: Path) -> Path | None:
    """The ENVI header beside a raw file, in the order in which GDAL looks for it."""
    for candidate in (data.with_suffix(".hdr"), Path(f"{data}.hdr")):
        if candidate != data and candidate.is_file():
            return candidate
    return None


def data_file(path: Path) -> Path:
    """The raw file that an ENVI header (.hdr) describes; any other file itself.

    Raises:
        InputRefused: no such file lies beside the header, or several do.
    """
    if path.suffix.lower() != ".hdr" or not path.is_file():
        return path
    candidates = (Path(f"{path.with_suffix('')}{suffix}") for suffix in _DATA_SUFFIXES)
    files = [file for file in candidates if file.is_file()]
    if len(files) == 1:
        return files[0]
    fact = f"{'several data files' if files else 'no data file'} beside this ENVI header"
    fact += f": {', '.join(file.name for file in files)}" if files else ""
    raise InputRefused(fact, path=path, remedy="give the data file itself")


def read_envi_layout(data: Path, header: Path, max_pixels: int | None) -> Layout:
    """The layout in an ENVI header, checked against the size of the raw file.

    Raises:
        InputRefused: not an ENVI header, a raw file that is shorter than it says, or a layout
            beyond the limits of `check_layout`.
    """
    fields = _numbers(header)
    data_type, size = fields["data type"], data.stat().st_size
    if data_type not in _VALUE_BYTES:
        raise InputRefused(f"ENVI data type {data_type} is unknown", path=header)
    layout = Layout(
        width=fields["samples"],
        height=fields["lines"],
        bands=fields["bands"],
        bits=8 * _VALUE_BYTES[data_type],
        is_complex=data_type in _COMPLEX,
        block=(1, fields["samples"]),
        block_bytes=fields["samples"] * _VALUE_BYTES[data_type],
    )
    needed = fields["header offset"] + layout.claimed_bytes
    if needed > size:
        raise InputRefused(f"truncated: {size} bytes where {needed} are needed", path=data)
    check_layout(layout, path=data, file_bytes=size, max_pixels=max_pixels)
    return layout


def read_envi_list(header: Path, key: str) -> list[str]:
    """The items of `key = {a, b, ...}` in an ENVI header, empty where it has no such list.

    GDAL reads the lists of Headwall's headers wrong by a band or more, because they may begin with
    commas and carry `;` comments.
    """
    match = re.search(rf"(?im)^[ \t]*{re.escape(key)}[ \t]*=[ \t]*{{([^}}]*)}}", _text(header))
    items = re.sub(r";[^\n]*", "", match[1]) if match else ""
    return [item.strip() for item in re.split(r"[,\n]", items) if item.strip()]


def _text(header: Path) -> str:
    try:
        with header.open("rb") as file:
            raw = file.read(_MAX_HEADER_BYTES + 1)
    except OSError as err:
        raise InputRefused(f"cannot be read: {err.strerror}", path=header) from err
    if not raw.startswith(b"ENVI") or len(raw) > _MAX_HEADER_BYTES:
        raise InputRefused("not an ENVI header", path=header)
    return raw.decode("utf-8", errors="replace")


def _numbers(header: Path) -> dict[str, int]:
    """The fields that are whole numbers, by their names in lower case."""
    pattern = r"(?im)^[ \t]*([a-z][a-z ]*?)[ \t]*=[ \t]*(\d+)[ \t\r]*$"
    found = {key.lower(): int(value) for key, value in re.findall(pattern, _text(header))}
    fields = {"header offset": 0, "file compression": 0} | found
    for key in ("samples", "lines", "bands", "data type"):
        if key not in fields:
            raise InputRefused(f"the ENVI header gives no {key!r}", path=header)
    if fields["file compression"]:
        raise InputRefused("compressed ENVI files are not read", path=header)
    return fields
