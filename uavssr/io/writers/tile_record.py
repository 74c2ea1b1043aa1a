"""The record of a finished tile, and the .npz file that holds it in a journal."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, BinaryIO, Final
from zipfile import BadZipFile, ZipFile

import numpy as np
import numpy.typing as npt

from uavssr.sensors import BoolArray, Float32Array, NumberArray

DAMAGE: Final = (
    BadZipFile,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    NotImplementedError,
    OSError,
)
"""Errors that `unpack_record` raises for a file that is not as it was written."""
_MAPS, _STF = "maps/", "stf/"
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


def pack_record(record: TileRecord, *, key: str) -> list[bytes | memoryview]:
    """The parts of an .npz file whose last bytes, a comment, are the CRC-32 of all before them.

    Without it a flipped bit between the members of the zip file would pass.

    Args:
        record: the tile.
        key: of the run.
    """
    # All small arrays are fields of one: they are read ten times faster than as members.
    small = {
        "key": np.array(key),
        "index": np.array(record.index),
        "shape": np.array(record.valid.shape),
        "valid": np.packbits(record.valid),
        **{f"{_STF}{name}": np.asarray(array) for name, array in record.stf.items()},
    }
    tile = np.zeros((), [(name, array.dtype, array.shape) for name, array in small.items()])
    for name, array in small.items():
        tile[name] = array
    members = {"tile": tile, **{f"{_MAPS}{name}": maps for name, maps in record.maps.items()}}
    file = BytesIO()
    with ZipFile(file, "w") as archive:
        archive.comment = bytes(_CRC_BYTES)
        for name, array in members.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    body = file.getbuffer()[:-_CRC_BYTES]
    return [body, zlib.crc32(body).to_bytes(_CRC_BYTES, "big")]


def unpack_record(file: BinaryIO, *, key: str, index: int, maps: bool) -> TileRecord:
    """The record in a file.

    Args:
        file: open for reading.
        key: of the run.
        index: of the tile.
        maps: whether the maps are read and the whole file is checked; else a few kilobytes are.

    Raises:
        ValueError: the file is of another run or tile, or damaged; so are the others of `DAMAGE`.
    """
    with np.load(BytesIO(_checked(file.read())) if maps else file, allow_pickle=False) as arrays:
        tile = arrays["tile"]
        if len(arrays.zip.comment) != _CRC_BYTES:
            raise ValueError("cut")
        if (str(tile["key"]), int(tile["index"])) != (key, index):
            raise ValueError("of another run or tile")
        height, width = tile["shape"].tolist()
        valid = np.unpackbits(tile["valid"], count=height * width).astype(bool)
        return TileRecord(
            index=index,
            valid=valid.reshape(height, width),
            maps=_named(arrays, arrays.files, _MAPS) if maps else {},
            stf=_named(tile, tile.dtype.names, _STF),
        )


def _checked(data: bytes) -> bytes:
    crc = zlib.crc32(memoryview(data)[:-_CRC_BYTES])
    if data[-_CRC_BYTES:] != crc.to_bytes(_CRC_BYTES, "big"):
        raise ValueError("not as written")
    return data


def _named(
    arrays: Mapping[str, Any] | npt.NDArray[Any], names: Iterable[str], prefix: str
) -> dict[str, npt.NDArray[Any]]:
    """The arrays whose names begin with a prefix, by the rest of their names."""
    chosen = [name for name in names if name.startswith(prefix)]
    return {name.removeprefix(prefix): np.asarray(arrays[name], order="C") for name in chosen}
