"""JPEG 2000 files: the layout that the header of the first codestream states."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from uavssr.errors import InputRefused
from uavssr.io.checks.layout import Layout, check_layout

JP2_MAGIC: Final = b"\0\0\0\x0cjP  \r\n\x87\n"
"""First bytes of a JP2 file (ISO/IEC 15444-1, annex I)."""
_MAX_BOXES: Final = 64
"""Boxes before the codestream; files of Sentinel-2 have about six."""
_SIZ: Final = struct.Struct(">HHHHIIIIIIIIHBBB")
"""Start of a codestream: SOC, SIZ, its length, capabilities, eight sizes, bands, first band."""


def read_jp2_layout(descriptor: int, path: Path, max_pixels: int | None) -> Layout:
    """The layout of the first codestream of a JP2 file.

    Raises:
        InputRefused: truncated, no codestream, subsampled, or beyond `check_layout`'s limits.
    """
    size = os.fstat(descriptor).st_size
    for kind, start, end in _boxes(descriptor, size):
        if end > size:
            break
        if kind == b"jp2c":
            raw = os.pread(descriptor, _SIZ.size, start)
            layout = _layout(raw, path)
            check_layout(layout, path=path, file_bytes=size, max_pixels=max_pixels)
            return layout
    raise _damaged(path, f"truncated: no complete codestream in {size} bytes")


def _boxes(descriptor: int, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, first byte of the content and end of the boxes of a file."""
    position = 0
    for _ in range(_MAX_BOXES):
        header = os.pread(descriptor, 16, position)
        if len(header) < 8:
            return
        length, content = int.from_bytes(header[:4], "big"), position + 8
        if length == 1:  # the length is too large for four bytes
            length, content = int.from_bytes(header[8:16], "big"), position + 16
        end = size if length == 0 else position + length
        if end < content:
            return
        yield header[4:8], content, end
        position = end


def _layout(raw: bytes, path: Path) -> Layout:
    if len(raw) < _SIZ.size or raw[:4] != b"\xff\x4f\xff\x51":
        raise _damaged(path, "its codestream does not begin with its size")
    _, _, _, _, right, bottom, left, top, cols, rows, _, _, bands, depth, *steps = _SIZ.unpack(raw)
    if steps != [1, 1]:
        raise _damaged(path, "its bands are subsampled")
    bits = (depth & 127) + 1
    width, height = right - left, bottom - top
    rows, cols = min(rows, max(height, 0)), min(cols, max(width, 0))
    stored = 8 if bits <= 8 else 16 if bits <= 16 else 32
    return Layout(
        width=width,
        height=height,
        bands=bands,
        bits=stored,
        is_complex=False,
        block=(rows, cols),
        block_bytes=rows * cols * bands * stored // 8,
    )


def _damaged(path: Path, fact: str) -> InputRefused:
    return InputRefused(fact, path=path, remedy="download or extract the file again")
