"""ENVI headers: the text file that describes a raw raster file beside it."""

from __future__ import annotations

import filecmp
import glob
import re
from pathlib import Path
from typing import Final

from uavssr.errors import InputRefused
from uavssr.io.bounded import open_regular, read_bytes, why_unread
from uavssr.io.checks.layout import Layout, check_layout
from uavssr.io.checks.names import is_file

OUR_DESCRIPTION: Final = "Reflectance reconstructed by uavssr"
"""The description in each ENVI header that this package writes."""
_VALUE_BYTES: Final = {1: 1, 2: 2, 3: 4, 4: 4, 5: 8, 6: 8, 9: 16, 12: 2, 13: 4, 14: 8, 15: 8}
_COMPLEX: Final = (6, 9)
_MAX_HEADER_BYTES: Final = 4 * 2**20
_HEADER_SUFFIXES: Final = (".hdr", ".HDR")
_DATA_SUFFIXES: Final = ("", ".img", ".dat", ".bsq", ".bil", ".bip", ".raw", ".bin")


def envi_headers(data: Path) -> list[Path]:
    """The files beside a raw file that may be its ENVI header, in GDAL's order of lookup.

    GDAL looks for `<name>.<ext>.hdr` before `<stem>.hdr` since 3.4, and knows `.hdr` and `.HDR`.
    """
    if not data.name:
        return []
    stems = dict.fromkeys((str(data), str(data.with_suffix(""))))
    candidates = (Path(f"{stem}{suffix}") for stem in stems for suffix in _HEADER_SUFFIXES)
    return [path for path in candidates if path != data and is_file(path)]


def envi_header(data: Path) -> Path | None:
    """The ENVI header of a raw file, None without one.

    A second header is ignored where it describes another file, or the first one is ours.

    Raises:
        InputRefused: two headers that differ, either of which may describe the file.
    """
    headers = envi_headers(data)
    for header in headers[1:]:
        if not (
            _same(header, headers[0])
            or described_files(header)
            or not _begins(header, b"ENVI")
            or OUR_DESCRIPTION in _text(headers[0])
        ):
            raise InputRefused(
                f"two ENVI headers may describe it and differ: {headers[0].name}, {header.name}",
                path=data,
                remedy="remove or rename the one that does not belong to it",
            )
    return headers[0] if headers else None


def described_files(header: Path) -> list[Path]:
    """The raw files beside an ENVI header that have no other header before it."""
    return [file for file in _files_beside(header) if _same(envi_headers(file)[0], header)]


def data_file(path: Path) -> Path:
    """The raw file that an ENVI header (.hdr) describes; any other file itself.

    Raises:
        InputRefused: the header describes no file beside it or several, or a file has another
            header, which differs.
    """
    if path.suffix.lower() != ".hdr" or not is_file(path):
        return path
    files = described_files(path)
    if len(files) == 1:
        return files[0]
    if not files:
        for file in _files_beside(path):
            envi_header(file)  # names both headers
    fact = f"{'several data files' if files else 'no data file'} beside this ENVI header"
    fact += f": {', '.join(file.name for file in files)}" if files else ""
    raise InputRefused(fact, path=path, remedy="give the data file itself")


def _files_beside(header: Path) -> list[Path]:
    """The raw files of which a file may be the header."""
    stem = header.with_suffix("").name
    files = [
        file
        for file in header.parent.glob(f"{glob.escape(stem)}*")
        if file.name[len(stem) :].lower() in _DATA_SUFFIXES
        and is_file(file)
        and any(header.samefile(other) for other in envi_headers(file))
    ]
    return sorted(files, key=lambda file: _DATA_SUFFIXES.index(file.name[len(stem) :].lower()))


def _same(one: Path, other: Path) -> bool:
    """Whether two headers are one file, or hold the same."""
    return one.samefile(other) or filecmp.cmp(one, other, shallow=False)


def _begins(file: Path, start: bytes) -> bool:
    with open_regular(file) as opened:
        return opened.read(len(start)) == start


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
    value = _fields(header).get(key, "")
    if not (value.startswith("{") and value.endswith("}")):
        return []
    items = re.sub(r";[^\n]*", "", value[1:-1])
    return [item.strip() for item in re.split(r"[,\n]", items) if item.strip()]


def _fields(header: Path) -> dict[str, str]:
    """The values by key in lower case, as text; a list in braces may have many lines.

    Of a key that comes twice the last counts, as it does for GDAL.
    """
    fields: dict[str, str] = {}
    lines = iter(_text(header).split("\n"))
    for line in lines:
        key, sign, value = line.partition("=")
        parts = [value.strip()]
        if parts[0].startswith("{"):
            while "}" not in parts[-1] and (more := next(lines, None)) is not None:
                parts.append(more)
        if sign:
            items, brace, rest = "\n".join(parts).partition("}")
            fields[key.strip().lower()] = items + brace if items.startswith("{") else items + rest
    return fields


def _text(header: Path) -> str:
    try:
        raw = read_bytes(header, _MAX_HEADER_BYTES)
    except (OSError, ValueError) as err:
        raise InputRefused(why_unread(err, header), path=header) from err
    if not raw.startswith(b"ENVI"):
        raise InputRefused("not an ENVI header", path=header)
    return raw.decode("utf-8", errors="replace")


def _numbers(header: Path) -> dict[str, int]:
    """The fields that are whole numbers, by their names in lower case."""
    texts = _fields(header)
    numbers = {key: int(text) for key, text in texts.items() if re.fullmatch(r"[0-9]{1,18}", text)}
    fields = {"header offset": 0, "file compression": 0} | numbers
    for key in ("samples", "lines", "bands", "data type"):
        if key not in fields:
            raise InputRefused(f"the ENVI header gives no {key!r}", path=header)
    if fields["file compression"]:
        raise InputRefused("compressed ENVI files are not read", path=header)
    return fields
