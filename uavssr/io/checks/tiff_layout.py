"""The layout of a TIFF from its header, refused if truncated, looping or of an absurd size.

It reads no pixels, and finds such damage before GDAL opens the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from uavssr.errors import InputRefused
from uavssr.io.checks.layout import Layout, check_layout
from uavssr.io.checks.tiff_directory import DamagedTiffError, TiffDirectory, TiffReader

OFFSETS_AT_ONCE: Final = 1 << 18
"""Block offsets held in memory at a time while they are checked."""

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _MODEL = 256, 257, 258, 259, 272
_STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES, _PLANAR = 273, 277, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES, _SAMPLE_FORMAT = 322, 323, 324, 325, 339
_COMPLEX_FORMATS: Final = (5, 6)


def read_tiff_layout(path: Path, *, max_pixels: int | None = None) -> Layout:
    """The layout of the first image, after a check that no block lies past the end of the file.

    The blocks and sizes of all directories are checked, which are overviews and masks.

    Raises:
        InputRefused: truncated, a loop of directories, too many tags, blocks missing, or a layout
            beyond the limits of `check_layout`.
    """
    with path.open("rb") as file:
        try:
            reader = TiffReader(file.fileno())
            directories = [directory for directory, _ in reader.directories()]
            layouts = [_layout(reader, directory) for directory in directories]
            for directory, layout in zip(directories, layouts, strict=True):
                check_layout(layout, path=path, file_bytes=reader.size, max_pixels=max_pixels)
                _check_blocks(reader, directory, layout)
        except DamagedTiffError as err:
            raise InputRefused(str(err), path=path, remedy="copy or export the file again") from err
    return layouts[0]


def _layout(reader: TiffReader, directory: TiffDirectory) -> Layout:
    def number(tag: int, default: int | None = None) -> int:
        return reader.number(directory, tag, default)

    width, height = number(_WIDTH), number(_HEIGHT)
    bands, bits = number(_SAMPLES, 1), number(_BITS, 1)
    tiled = _TILE_WIDTH in directory
    if tiled:
        block = number(_TILE_HEIGHT), number(_TILE_WIDTH)
    else:
        block = min(number(_ROWS_PER_STRIP, 2**32 - 1), height), width
    together = bands if number(_PLANAR, 1) == 1 else 1
    return Layout(
        width=width,
        height=height,
        bands=bands,
        bits=bits,
        is_complex=number(_SAMPLE_FORMAT, 1) in _COMPLEX_FORMATS,
        block=block,
        block_bytes=block[0] * block[1] * together * bits // 8,
        plain_strips=not tiled and number(_COMPRESSION, 1) == 1,
        model=_model(reader, directory),
    )


def _model(reader: TiffReader, directory: TiffDirectory) -> str:
    tag = directory.get(_MODEL)
    if tag is None or tag.kind != 2:
        return ""
    raw = reader.take(tag.position, min(tag.count, 256), "the camera model")
    return raw.split(b"\0")[0].decode("latin-1").strip()


def _check_blocks(reader: TiffReader, directory: TiffDirectory, layout: Layout) -> None:
    tiled = _TILE_WIDTH in directory
    tags = (_TILE_OFFSETS, _TILE_BYTES) if tiled else (_STRIP_OFFSETS, _STRIP_BYTES)
    offsets, sizes = (directory.get(tag) for tag in tags)
    if offsets is None or min(layout.block) < 1:
        raise DamagedTiffError("the TIFF lists no blocks of pixels")
    expected = _block_count(layout, planar=reader.number(directory, _PLANAR, 1) == 2)
    listed = offsets.count if sizes is None else min(offsets.count, sizes.count)
    if listed < expected:
        raise DamagedTiffError(
            f"the TIFF lists {listed} blocks of pixels where {expected} are needed"
        )
    for start in range(0, expected, OFFSETS_AT_ONCE):
        count = min(OFFSETS_AT_ONCE, expected - start)
        starts = reader.numbers(offsets, start, count)
        lengths = np.ones_like(starts) if sizes is None else reader.numbers(sizes, start, count)
        outside = _past_the_end(starts, lengths, reader.size)
        if outside.any():
            raise DamagedTiffError(
                f"truncated: block {start + int(outside.argmax())} of {expected} lies past the "
                f"end of the file, which has {reader.size} bytes"
            )


def _block_count(layout: Layout, *, planar: bool) -> int:
    rows, cols = layout.block
    count = -(-layout.height // rows) * -(-layout.width // cols)
    return count * layout.bands if planar else count


def _past_the_end(
    starts: npt.NDArray[np.uint64], lengths: npt.NDArray[np.uint64], file_bytes: int
) -> npt.NDArray[np.bool_]:
    """Which blocks end past the end of the file; a block at 0 is absent, which is allowed."""
    end = np.uint64(file_bytes)
    rest = end - np.minimum(starts, end)  # written so that no sum can pass 2^64
    return (lengths > rest) & (starts > 0)
