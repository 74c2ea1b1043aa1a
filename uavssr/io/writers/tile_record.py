"""The record of a finished tile, and the .npz file that holds it in a journal."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import BinaryIO, Final
from zipfile import ZipFile

import numpy as np

from uavssr.io.bounded import opened_arrays, read_array
from uavssr.io.writers.raw_bytes import Packed
from uavssr.sensors import BoolArray, Float32Array, NumberArray

DAMAGE = (OSError, TypeError, ValueError)
"""Errors that `unpack_record` raises for a file that is not as it was written."""
_STF, _COUNT = "stf/", "count/"
_CRC_BYTES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TileRecord:
    """The results of one tile: all that its part of any output needs."""

    index: int
    """Position of the tile in its grid."""
    valid: BoolArray
    """(y, x), the valid pixels of the tile's core."""
    maps: Mapping[str, Float32Array] = field(default_factory=dict)
    """Stacks (k, y, x) by name, the coefficients among them; none for an empty tile."""
    stf: Mapping[str, NumberArray] = field(default_factory=dict)
    """The tile's STF as named numbers; none for an empty tile."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Valid pixels with a flag, by its name; none for an empty tile."""


def pack_record(record: TileRecord, *, key: str) -> list[Packed]:
    """The pieces of an .npz file for the run `key`, the record's own arrays among them.

    Its last bytes, a comment, are the CRC-32 of all before them: without it a flipped bit between
    the members of the zip file would pass.
    """
    # All small arrays are fields of one: they are read ten times faster than as members.
    small = {
        "key": np.array(key),
        "index": np.array(record.index),
        "shape": np.array(record.valid.shape),
        "valid": np.packbits(record.valid),
        **{f"{_STF}{name}": np.asarray(array) for name, array in record.stf.items()},
        **{f"{_COUNT}{name}": np.array(count) for name, count in record.counts.items()},
    }
    tile = np.zeros((), [(name, array.dtype, array.shape) for name, array in small.items()])
    for name, array in small.items():
        tile[name] = array
    file = _Pieces()
    with ZipFile(file, "w") as archive:
        for name, array in {"tile": tile, **record.maps}.items():
            _add_array(archive, name, array)
        archive.comment = bytes(_CRC_BYTES)
    *pieces, end = file.pieces.values()
    pieces.append(bytes(end)[:-_CRC_BYTES])
    checksum = 0
    for piece in pieces:
        checksum = zlib.crc32(piece, checksum)
    return [*pieces, checksum.to_bytes(_CRC_BYTES, "big")]


def _add_array(archive: ZipFile, name: str, array: NumberArray) -> None:
    """Add an array as `numpy.savez` does, but for copies of it."""
    whole = np.asarray(array, order="C")
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        header = np.lib.format.header_data_from_array_1_0(whole)
        np.lib.format.write_array_header_1_0(member, header)
        member.write(whole.reshape(-1).view(np.uint8).data)


class _Pieces(BytesIO):
    """A file that keeps what is written to it as it is: no piece is copied."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: dict[int, Packed] = {}  # by their places; a header is written twice
        self._place = 0

    def write(self, piece: Packed) -> int:  # type: ignore[override]
        self.pieces[self._place] = piece
        self._place += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._place

    def seek(self, place: int, _whence: int = os.SEEK_SET) -> int:
        self._place = place
        return place


def unpack_record(file: BinaryIO, *, key: str, index: int, maps: bool) -> TileRecord:
    """The record of tile `index` in a file of the run `key`.

    With `maps` the whole file is read and checked, else the few kilobytes without them.

    Raises:
        ValueError: the file is of another run or tile, or damaged; so are the others of `DAMAGE`.
    """
    if maps:
        data = file.read()
        crc = zlib.crc32(memoryview(data)[:-_CRC_BYTES])
        if data[-_CRC_BYTES:] != crc.to_bytes(_CRC_BYTES, "big"):
            raise ValueError("not as written")
        file = BytesIO(data)
    with opened_arrays(file, file.seek(0, os.SEEK_END)) as archive:  # nothing in it is compressed
        tile = read_array(archive, "tile")
        if len(archive.comment) != _CRC_BYTES:
            raise ValueError("cut")
        if (str(tile["key"]), int(tile["index"])) != (key, index):
            raise ValueError("of another run or tile")
        height, width = tile["shape"].tolist()
        valid = np.unpackbits(tile["valid"], count=height * width).astype(bool)
        stf, counts = (
            {
                name.removeprefix(prefix): np.asarray(tile[name], order="C")
                for name in tile.dtype.names or ()
                if name.startswith(prefix)
            }
            for prefix in (_STF, _COUNT)
        )
        names = [name.removesuffix(".npy") for name in archive.namelist() if maps]
        stacks = [name for name in names if name != "tile"]
        return TileRecord(
            index=index,
            valid=valid.reshape(height, width),
            maps={name: np.asarray(read_array(archive, name), order="C") for name in stacks},
            stf=stf,
            counts={name: int(count) for name, count in counts.items()},
        )
