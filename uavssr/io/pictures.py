"""Pictures of benchmarks: PNG and JPEG files of 8 or 16 bits, and JPEG in memory.

A picture has no place on the ground. A raster for reconstruction is opened by `msi` instead.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile

from uavssr.errors import InputRefused
from uavssr.io.bounded import read_bytes, why_unread
from uavssr.io.checks import GDAL_ERRORS

PictureArray = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
PictureDriver = Literal["PNG", "JPEG"]

_MAX_FILE: Final = 2**28
"""Bytes of a picture's file."""
_MAX_PICTURE_PIXELS: Final = 2**26
_PNG_START: Final = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_JPEG_START: Final = b"\xff\xd8\xff"
_NO_FRAME: Final = (0xC4, 0xC8, 0xCC)
"""Markers of JPEG between 0xC0 and 0xCF that begin no frame."""


def read_picture(path: Path) -> PictureArray:
    """The numbers (band, y, x) of a PNG or JPEG file, as they are stored.

    Raises:
        InputRefused: no such file, another kind of file, damaged, or over 67 megapixels.
    """
    try:
        return decode_picture(read_bytes(path, _MAX_FILE))
    except (OSError, ValueError, *GDAL_ERRORS) as err:
        why = why_unread(err, path) if isinstance(err, OSError | ValueError) else str(err)
        raise InputRefused(
            f"no PNG or JPEG picture ({why})", path=path, remedy="get or extract the file again"
        ) from err


def decode_picture(raw: bytes) -> PictureArray:
    """The numbers (band, y, x) of the bytes of a PNG or JPEG file.

    Raises:
        ValueError: neither of both, or over 67 megapixels.
        RasterioError: damaged.
    """
    driver, (height, width) = _kind_and_size(raw)
    if height * width > _MAX_PICTURE_PIXELS:
        raise ValueError(f"{width} x {height} pixels, more than {_MAX_PICTURE_PIXELS}")
    with _no_place(), MemoryFile(raw) as memory, memory.open(driver=driver) as dataset:
        numbers: PictureArray = dataset.read()
    if numbers.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"its numbers are {numbers.dtype}")
    return numbers


def encode_jpeg(numbers: npt.NDArray[np.uint8], *, quality: int) -> bytes:
    """A JPEG file of red, green and blue (3, y, x), with colours at half the resolution.

    The tables are those of libjpeg for a quality of 1 to 100, as in OpenCV.
    """
    bands, height, width = numbers.shape
    with _no_place(), MemoryFile() as memory:
        with memory.open(
            driver="JPEG", count=bands, height=height, width=width, dtype="uint8", QUALITY=quality
        ) as dataset:
            dataset.write(numbers)
        return bytes(memory.read())


@contextmanager
def _no_place() -> Iterator[None]:
    """Without rasterio's warning that a picture has no place."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def _kind_and_size(raw: bytes) -> tuple[PictureDriver, tuple[int, int]]:
    """The driver of a picture, and its rows and columns by its header."""
    if raw.startswith(_PNG_START) and len(raw) > len(_PNG_START) + 8:
        width, height = struct.unpack_from(">II", raw, len(_PNG_START))
        return "PNG", (height, width)
    if raw.startswith(_JPEG_START):
        return "JPEG", _jpeg_size(raw)
    raise ValueError(f"begins with {raw[:4]!r}")


def _jpeg_size(raw: bytes) -> tuple[int, int]:
    """Rows and columns in the first frame header, ITU-T T.81 (B.2.2)."""
    place = 2
    while place + 9 <= len(raw) and raw[place] == 0xFF:
        marker, length = raw[place + 1], int.from_bytes(raw[place + 2 : place + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            height, width = struct.unpack_from(">HH", raw, place + 5)
            return height, width
        place += 2 + length
    raise ValueError("holds no frame header")
