"""Arrays of Zarr stores of format 2: checked first, then read by zarr-python.

Some codecs run code, and a chunk may claim to unpack to more than memory holds. So zarr-python gets
no file: it is handed the checked metadata, and chunks that were unpacked here within their size.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr
from numcodecs import Blosc, Zstd
from zarr.abc.buffer import Buffer, BufferPrototype
from zarr.abc.store import ByteRequest
from zarr.storage import MemoryStore, WrapperStore

from uavssr.errors import InputRefused
from uavssr.io.bounded import parse_json, read_bytes
from uavssr.io.checks import MAX_BLOCK_BYTES, size_text

ZarrJson = Mapping[str, Any]
"""A JSON object."""

ZARR_REMEDY: Final = "give a store that uavssr wrote, or that xarray wrote with zarr_format=2"
_MAX_METADATA_BYTES: Final = 4 * 2**20
_COMPRESSORS: Final = {"zstd": Zstd, "blosc": Blosc}
"""Codecs that are called; any other is refused."""
_SMALL_CHUNK: Final = 4096
"""Values of a chunk below which an array may have at most `_MAX_SMALL_CHUNKS` of them."""
_MAX_SMALL_CHUNKS: Final = 100_000
_MAX_SIDE: Final = 2**62
_DTYPES: Final = ("u1", "u2", "i2", "u4", "i4", "f4", "f8")


class _CheckedStore(WrapperStore[MemoryStore]):
    """Checked metadata of one array, and its chunks without compression, for zarr-python."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(MemoryStore(read_only=True))
        self._path, self._name = path, name
        self._metadata = read_json(path, f"{name}/.zarray")
        self._attributes = read_json(path, f"{name}/.zattrs")
        _check_metadata(self._metadata)

    async def get(
        self,
        key: str,
        prototype: BufferPrototype,
        byte_range: ByteRequest | None = None,  # noqa: ARG002 - always None in format 2
    ) -> Buffer | None:
        """The content of a file of the array's folder; None where there is no such file."""
        data: bytes | None = None
        if key == ".zarray":
            data = json.dumps({**self._metadata, "compressor": None}).encode()
        elif key == ".zattrs":
            data = json.dumps(self._attributes).encode()
        elif not key.startswith("."):
            data = await asyncio.to_thread(self._unpacked, key)
        return None if data is None else prototype.buffer.from_bytes(data)

    def _unpacked(self, key: str) -> bytes | None:
        """The bytes of a chunk before the filters, None where there is no such file."""
        name, compressor = f"{self._name}/{key}", self._metadata.get("compressor")
        try:
            if not (self._path / name).exists():
                return None
            chunk = np.empty(math.prod(self._metadata["chunks"]), self._metadata["dtype"])
            raw = _read_bytes(self._path, name, 2 * chunk.nbytes + 2**16)
            if compressor is None:
                chunk[:] = np.frombuffer(raw, chunk.dtype)
            else:
                _COMPRESSORS[compressor["id"]]().decode(raw, out=chunk)  # never beyond its end
        except (OSError, ValueError, RuntimeError, MemoryError) as err:
            raise InputRefused(
                f"chunk {key} of its array {self._name} cannot be read: {err}",
                path=self._path,
                remedy="the store is damaged: copy or write it again",
            ) from err
        return chunk.tobytes()


def open_array(path: Path, name: str) -> zarr.Array[Any]:
    """An array of a store as zarr-python reads it, from any thread or process.

    Raises:
        InputRefused: it is missing, or of a kind that is not read; when read, also a broken chunk.
    """
    try:
        return zarr.open_array(_CheckedStore(path, name), mode="r", zarr_format=2)
    except (KeyError, TypeError, ValueError, OverflowError) as err:
        raise InputRefused(
            f"the metadata of its array {name} are not of the Zarr format 2 ({err})", path=path
        ) from err


def _check_metadata(metadata: ZarrJson) -> None:
    """Refuse, by a KeyError, TypeError or ValueError, unknown types, codecs and shapes."""
    dtype = np.dtype(str(metadata["dtype"]))
    codec = metadata.get("compressor")
    compressor = None if codec is None else codec["id"]
    filters = metadata.get("filters") or []
    if dtype.str[1:] not in _DTYPES or metadata["zarr_format"] != 2:
        raise ValueError(f"type {dtype} in format {metadata['zarr_format']}")
    delta = {"id": "delta", "dtype": dtype.str, "astype": dtype.str}
    if compressor not in {*_COMPRESSORS, None} or filters not in ([], [delta]):
        raise ValueError(f"codecs {compressor} and {filters}")
    shape, chunks = (tuple(map(int, metadata[key])) for key in ("shape", "chunks"))
    if len(shape) != len(chunks) or min(*shape, *chunks, 1) < 1:
        raise ValueError(f"shape {shape}, chunks {chunks}")
    if max(*shape, *chunks, 1) > _MAX_SIDE:
        raise ValueError(f"a shape or chunks of more than {_MAX_SIDE} values along one axis")
    values = math.prod(chunks)
    count = math.prod(-(-side // chunk) for side, chunk in zip(shape, chunks, strict=True))
    if values * dtype.itemsize > MAX_BLOCK_BYTES:
        raise ValueError(f"chunks {chunks} of {size_text(values * dtype.itemsize)}")
    if count > _MAX_SMALL_CHUNKS and values < _SMALL_CHUNK:
        raise ValueError(f"{count} chunks {chunks}")


def read_json(path: Path, name: str) -> ZarrJson:
    """A file of metadata of a store; it must hold a JSON object."""
    try:
        metadata = parse_json(_read_bytes(path, name, _MAX_METADATA_BYTES))
    except (OSError, ValueError) as err:
        why = err.strerror if isinstance(err, OSError) else "no JSON"
        raise InputRefused(f"has no {name} ({why})", path=path, remedy=ZARR_REMEDY) from err
    if not isinstance(metadata, dict):
        raise InputRefused(f"its {name} is no JSON object", path=path, remedy=ZARR_REMEDY)
    return metadata


def _read_bytes(store: Path, name: str, most: int) -> bytes:
    """The bytes of a regular file inside a store, `most` at most."""
    path = store / name
    if not path.resolve().is_relative_to(store.resolve()):
        raise PermissionError(1, "a link out of the store")
    return read_bytes(path, most)
