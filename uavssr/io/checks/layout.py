"""Size and storage of a raster as its header states them, and the limits for both."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from uavssr.errors import InputRefused

MAX_PIXELS: Final = 4_000_000_000
"""Pixels of a scene that is read without `--max-pixels`."""
MAX_BANDS: Final = 512
"""Bands of one file; to open a file of 65,535 bands takes GDAL gigabytes of memory."""
MAX_SIDE: Final = 2**31 - 1
"""Rows or columns; GDAL counts them with signed 32 bit integers."""
MAX_BLOCK_BYTES: Final = 256 * 2**20
"""Bytes of one decoded block; GDAL holds the whole block to return one of its pixels."""
MAX_PLAIN_STRIP_BYTES: Final = 2 * 2**30
"""Bytes of one uncompressed strip; some writers make one strip of the whole image."""
MAX_RATIO: Final = 1100
"""Decoded bytes per byte of file; DEFLATE reaches at most 1032, so more means absent blocks."""
RATIO_FROM_BYTES: Final = 2**30
"""Decoded bytes of a scene below which the ratio is not checked, as it is quickly read anyway."""

_TRANSLATE: Final = ("gdal_translate", "-co", "TILED=YES")


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
    """Whether the blocks are uncompressed strips, of which GDAL can read a part."""
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
    """Refuse a raster that cannot be a scene or would exhaust the memory.

    The user's `max_pixels` replaces `MAX_PIXELS`, and lifts the limit of decoded bytes.

    Raises:
        InputRefused: an empty or absurd size, too many bands, a huge block, complex numbers, or a
            small file that claims to be a large one.
    """
    size, refuse = f"{layout.width} x {layout.height}", partial(InputRefused, path=path)
    if min(layout.width, layout.height) < 1:
        raise refuse(f"the header claims {size} pixels: nothing to read")
    if max(layout.width, layout.height) > MAX_SIDE:
        raise refuse(f"the header claims {size}, more pixels than GDAL can count")
    if not 1 <= layout.bands <= MAX_BANDS:
        raise refuse(f"the header claims {layout.bands} bands, not 1-{MAX_BANDS}")
    if layout.is_complex:
        raise refuse("complex numbers are no reflectance", remedy="write real numbers")
    if layout.block_bytes > (MAX_PLAIN_STRIP_BYTES if layout.plain_strips else MAX_BLOCK_BYTES):
        rows, cols = layout.block
        raise refuse(
            f"one block is {cols} x {rows} pixels, {size_text(layout.block_bytes)} to decode for "
            f"any pixel of a {size} image",
            remedy="rewrite it in small tiles: "
            + shlex.join([*_TRANSLATE, str(path), f"{path.with_suffix('')}_tiled.tif"]),
        )
    _check_claim(layout, path, file_bytes, max_pixels)


def _check_claim(layout: Layout, path: Path, file_bytes: int, max_pixels: int | None) -> None:
    claim = (
        f"the header claims {layout.width} x {layout.height} = {layout.pixels} pixels, "
        f"{size_text(layout.claimed_bytes)} once decoded, in a file of {size_text(file_bytes)}"
    )
    remedy = f"pass --max-pixels {layout.pixels} if that is true"
    limit = MAX_PIXELS if max_pixels is None else max_pixels
    if layout.pixels > limit:
        raise InputRefused(f"{claim}; the limit is {limit} pixels", path=path, remedy=remedy)
    large = layout.claimed_bytes > RATIO_FROM_BYTES
    if max_pixels is None and large and layout.claimed_bytes > MAX_RATIO * file_bytes:
        raise InputRefused(f"mostly absent: {claim}", path=path, remedy=remedy)


def size_text(count: float) -> str:
    """A number of bytes for a message: 512 bytes, 1.5 MB."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:g} bytes"
