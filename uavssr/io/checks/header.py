"""What a file's header claims, and the limits it must keep. Must not read a pixel or call GDAL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from uavssr.errors import InputRefused

MAX_PIXELS: Final = 4_000_000_000
"""Pixels of a scene that are read without being asked for by `--max-pixels`."""
MAX_BANDS: Final = 512
"""Bands of one file; a header with 65,535 of them costs GDAL gigabytes to open."""
MAX_SIDE: Final = 2**31 - 1
"""Rows or columns GDAL can count."""
MAX_BLOCK_BYTES: Final = 256 * 2**20
"""Decoded size of one block: GDAL must hold it whole to give back one pixel."""
MAX_PLAIN_STRIP_BYTES: Final = 2 * 2**30
"""The same for uncompressed strips, which some writers make as large as the image."""
MAX_RATIO: Final = 1100
"""Claimed bytes per byte of file; DEFLATE cannot pass 1032, so more means mostly absent blocks."""
RATIO_FROM_BYTES: Final = 2**30
"""Claims smaller than this are cheap to read whatever their ratio."""

_ENVI_BYTES: Final = {1: 1, 2: 2, 3: 4, 4: 4, 5: 8, 6: 8, 9: 16, 12: 2, 13: 4, 14: 8, 15: 8}
_ENVI_COMPLEX: Final = (6, 9)
_ENVI_HEADER_LIMIT: Final = 4 * 2**20
_ENVI_DATA: Final = ("", ".img", ".dat", ".bsq", ".bil", ".bip", ".raw", ".bin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Size and storage of a raster as its header states them."""

    width: int
    """Columns."""
    height: int
    """Rows."""
    bands: int
    """Bands, alpha included."""
    bits: int
    """Bits of one number."""
    is_complex: bool
    """Whether the numbers are complex."""
    block: tuple[int, int]
    """Rows and columns of one stored block."""
    block_bytes: int
    """Bytes of one block once decoded."""
    plain_strips: bool = False
    """Uncompressed strips, of which GDAL need not hold a whole one."""
    model: str = ""
    """The camera model (TIFF tag 272), which GDAL does not report."""

    @property
    def pixels(self) -> int:
        """Pixels of the scene."""
        return self.width * self.height

    @property
    def claimed_bytes(self) -> int:
        """Bytes of all bands once decoded."""
        return self.pixels * self.bands * self.bits // 8


def check_layout(
    layout: Layout, *, path: Path, file_bytes: int, max_pixels: int | None = None
) -> None:
    """Refuse what cannot be a scene or would exhaust the machine, before anything is read.

    Raises:
        InputRefused: empty or absurd size, too many bands, a huge block, complex numbers, or a
            small file that claims to be a large one.
    """
    size = f"{layout.width} x {layout.height} pixels"
    if min(layout.width, layout.height) < 1:
        raise InputRefused(f"the header claims {size}: nothing to read", path=path)
    if max(layout.width, layout.height) > MAX_SIDE:
        raise InputRefused(f"the header claims {size}, more than GDAL can count", path=path)
    if not 1 <= layout.bands <= MAX_BANDS:
        raise InputRefused(f"the header claims {layout.bands} bands, not 1-{MAX_BANDS}", path=path)
    if layout.is_complex:
        raise InputRefused(
            "complex numbers are no reflectance", path=path, remedy="write real numbers"
        )
    _check_block(layout, path)
    _check_claim(layout, path, file_bytes, max_pixels)


def _check_block(layout: Layout, path: Path) -> None:
    limit = MAX_PLAIN_STRIP_BYTES if layout.plain_strips else MAX_BLOCK_BYTES
    if layout.block_bytes > limit:
        rows, cols = layout.block
        raise InputRefused(
            f"one block is {cols} x {rows} pixels, {gigabytes(layout.block_bytes)} to decode for "
            f"any pixel of a {layout.width} x {layout.height} image",
            path=path,
            remedy="rewrite it in small tiles: gdal_translate -co TILED=YES IN OUT",
        )


def _check_claim(layout: Layout, path: Path, file_bytes: int, max_pixels: int | None) -> None:
    claim = (
        f"{layout.width} x {layout.height} = {layout.pixels} pixels, "
        f"{gigabytes(layout.claimed_bytes)} once decoded, in a file of {gigabytes(file_bytes)}"
    )
    allowed = MAX_PIXELS if max_pixels is None else max_pixels
    if layout.pixels > allowed:
        raise InputRefused(
            f"the header claims {claim}; the limit is {allowed} pixels",
            path=path,
            remedy=f"pass --max-pixels {layout.pixels} if that is true",
        )
    large = layout.claimed_bytes > RATIO_FROM_BYTES
    if max_pixels is None and large and layout.claimed_bytes > MAX_RATIO * file_bytes:
        raise InputRefused(
            f"mostly absent: the header claims {claim}",
            path=path,
            remedy=f"pass --max-pixels {layout.pixels} if that is true",
        )


def gigabytes(count: int) -> str:
    """A byte count for a message."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


def envi_header(data: Path) -> Path | None:
    """The ENVI header beside a raw file, in the order in which GDAL looks for it."""
    for candidate in (data.with_suffix(".hdr"), Path(f"{data}.hdr")):
        if candidate != data and candidate.is_file():
            return candidate
    return None


def read_envi_layout(data: Path, header: Path) -> Layout:
    """The layout in an ENVI header, checked against the size of the raw file.

    Raises:
        InputRefused: not an ENVI header, or the raw file is shorter than it says.
    """
    fields = _envi_fields(header)
    kind = fields["data type"]
    if kind not in _ENVI_BYTES:
        raise InputRefused(f"ENVI data type {kind} is unknown", path=header)
    layout = Layout(
        width=fields["samples"],
        height=fields["lines"],
        bands=fields["bands"],
        bits=8 * _ENVI_BYTES[kind],
        is_complex=kind in _ENVI_COMPLEX,
        block=(1, fields["samples"]),
        block_bytes=fields["samples"] * _ENVI_BYTES[kind],
    )
    needed = fields["header offset"] + layout.claimed_bytes
    found = data.stat().st_size
    if needed > found:
        raise InputRefused(f"truncated: {found} bytes where {needed} are needed", path=data)
    return layout


def read_envi_list(header: Path, key: str) -> list[str]:
    """The items of `key = {a, b, ...}` in an ENVI header, empty where it has no such list.

    Headwall's lists may begin with commas and carry `;` comments, on which GDAL's own reading of
    them slips by a band or more.
    """
    found = re.search(rf"(?im)^[ \t]*{re.escape(key)}[ \t]*=[ \t]*{{([^}}]*)}}", _envi_text(header))
    plain = re.sub(r";[^\n]*", "", found[1]) if found else ""
    return [item.strip() for item in re.split(r"[,\n]", plain) if item.strip()]


def _envi_text(header: Path) -> str:
    with header.open("rb") as file:
        raw = file.read(_ENVI_HEADER_LIMIT + 1)
    if not raw.startswith(b"ENVI") or len(raw) > _ENVI_HEADER_LIMIT:
        raise InputRefused("not an ENVI header", path=header)
    return raw.decode("utf-8", errors="replace")


def _envi_fields(header: Path) -> dict[str, int]:
    text = _envi_text(header)
    fields = {"header offset": 0, "file compression": 0}
    for key, value in re.findall(r"(?im)^[ \t]*([a-z][a-z ]*?)[ \t]*=[ \t]*(\d+)[ \t\r]*$", text):
        fields[key.lower()] = int(value)
    for key in ("samples", "lines", "bands", "data type"):
        if key not in fields:
            raise InputRefused(f"the ENVI header gives no {key!r}", path=header)
    if fields["file compression"]:
        raise InputRefused("compressed ENVI files are not read", path=header)
    return fields


def data_file(path: Path) -> Path:
    """The raw file that an ENVI header (.hdr) describes; any other file itself.

    Raises:
        InputRefused: none lies beside it, or several do.
    """
    if path.suffix.lower() != ".hdr" or not path.is_file():
        return path
    beside = (Path(f"{path.with_suffix('')}{ending}") for ending in _ENVI_DATA)
    found = [file for file in beside if file.is_file()]
    if len(found) != 1:
        names = ", ".join(file.name for file in found)
        raise InputRefused(
            f"{'several data files' if found else 'no data file'} beside this ENVI header"
            + (f": {names}" if found else ""),
            path=path,
            remedy="give the data file itself",
        )
    return found[0]
