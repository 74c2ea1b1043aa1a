"""Arrays of Zarr stores of format 2: checked first, then read by zarr-python.

Some codecs run code, and a chunk may claim to unpack to more than memory holds. So zarr-python gets
no file: it is handed the checked metadata, and chunks that were unpacked here within their size.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import zarr
from numcodecs import Blosc, Zstd
from zarr.abc.buffer import Buffer, BufferPrototype
from zarr.abc.store import ByteRequest
from zarr.storage import MemoryStore, WrapperStore

from uavssr.errors import InputRefused

ZarrJson = Mapping[str, Any]
"""A JSON object."""

ZARR_REMEDY: Final = "give a store that uavssr wrote, or that xarray wrote with zarr_format=2"
_MAX_METADATA_BYTES: Final = 4 * 2**20
_COMPRESSORS: Final = {"zstd": Zstd, "blosc": Blosc}
"""Codecs that are called; any other is refused."""
_DTYPES: Final = ("u1", "u2", "i2", "u4", "i4", "f4", "f8")


@dataclass(frozen=True, slots=True, kw_only=True)
class ZarrArray:
    """One array of a store, whose metadata were checked; may be sent to other processes."""

    path: Path
    """The store, for messages."""
    name: str
    """The array's folder in it."""
    metadata: ZarrJson
    """Its `.zarray`."""
    attributes: ZarrJson
    """Its `.zattrs`."""
    shape: tuple[int, ...]
    """Numbers along each axis."""
    chunks: tuple[int, ...]
    """The same of a chunk."""
    dtype: np.dtype[Any]
    """Type of the numbers."""
    fill: float
    """The number that a missing chunk holds."""

    @classmethod
    def of(cls, path: Path, name: str) -> ZarrArray:
        """Read and check the metadata of an array.

        Raises:
            InputRefused: it is missing, or of a kind that is not read.
        """
        metadata = read_json(path, f"{name}/.zarray")
        try:
            _check_metadata(metadata)
            fill = metadata.get("fill_value")
            found = cls(
                path=path,
                name=name,
                metadata=metadata,
                attributes=read_json(path, f"{name}/.zattrs"),
                shape=tuple(map(int, metadata["shape"])),
                chunks=tuple(map(int, metadata["chunks"])),
                dtype=np.dtype(metadata["dtype"]),
                fill=0.0 if fill is None else float(fill),
            )
            found.opened()
        except (KeyError, TypeError, ValueError) as err:
            raise InputRefused(
                f"the metadata of its array {name} are not of the Zarr format 2 ({err})", path=path
            ) from err
        return found

    def opened(self) -> zarr.Array[Any]:
        """The array as zarr-python reads it."""
        return zarr.open_array(_CheckedStore(self), mode="r", zarr_format=2)

    def read(self, box: tuple[slice, ...]) -> npt.NDArray[np.generic]:
        """The numbers in a box of the array.

        Raises:
            InputRefused: a chunk cannot be decoded.
        """
        return np.ascontiguousarray(self.opened()[box])

    def unpacked(self, key: str) -> bytes | None:
        """The bytes of a chunk before the filters, none where there is no such file.

        Raises:
            InputRefused: the chunk cannot be unpacked to the size that the metadata state.
        """
        name = f"{self.name}/{key}"
        chunk = np.empty(math.prod(self.chunks), self.dtype)
        try:
            if not (self.path / name).exists():
                return None
            raw = _read_bytes(self.path, name, 2 * chunk.nbytes + 2**16)
            compressor = self.metadata.get("compressor")
            if compressor is None:
                chunk[:] = np.frombuffer(raw, self.dtype)
            else:
                _COMPRESSORS[compressor["id"]]().decode(raw, out=chunk)  # never beyond its end
        except (OSError, ValueError, RuntimeError) as err:
            raise InputRefused(
                f"chunk {key} of its array {self.name} cannot be read: {err}",
                path=self.path,
                remedy="the store is damaged: copy or write it again",
            ) from err
        return chunk.tobytes()


class _CheckedStore(WrapperStore[MemoryStore]):
    """Hands zarr-python the checked metadata of one array, and its chunks without compression."""

    def __init__(self, array: ZarrArray) -> None:
        super().__init__(MemoryStore(read_only=True))
        self._array = array

    async def get(
        self,
        key: str,
        prototype: BufferPrototype,
        byte_range: ByteRequest | None = None,  # noqa: ARG002 - always None in format 2
    ) -> Buffer | None:
        """The content of a file of the array's folder; None where there is no such file."""
        if key == ".zarray":
            data = json.dumps({**self._array.metadata, "compressor": None}).encode()
        elif key.startswith("."):
            return None
        else:
            unpacked = await asyncio.to_thread(self._array.unpacked, key)
            if unpacked is None:
                return None
            data = unpacked
        return prototype.buffer.from_bytes(data)


def _check_metadata(metadata: ZarrJson) -> None:
    """Let known types, compressors and filters pass, and a shape that is one.

    Raises:
        KeyError, TypeError, ValueError: anything else.
    """
    dtype = np.dtype(str(metadata["dtype"]))
    compressor = (metadata.get("compressor") or {}).get("id")
    filters = metadata.get("filters") or []
    if dtype.str[1:] not in _DTYPES or metadata["zarr_format"] != 2:
        raise ValueError(f"type {dtype} in format {metadata['zarr_format']}")
    delta = {"id": "delta", "dtype": dtype.str, "astype": dtype.str}
    if compressor not in {*_COMPRESSORS, None} or filters not in ([], [delta]):
        raise ValueError(f"codecs {compressor} and {filters}")
    shape, chunks = (tuple(map(int, metadata[key])) for key in ("shape", "chunks"))
    if len(shape) != len(chunks) or min(*shape, *chunks, 1) < 1:
        raise ValueError(f"shape {shape}, chunks {chunks}")


def read_json(path: Path, name: str) -> ZarrJson:
    """A file of metadata of a store.

    Raises:
        InputRefused: it is missing, or holds no JSON object.
    """
    try:
        found = json.loads(_read_bytes(path, name, _MAX_METADATA_BYTES))
    except (OSError, ValueError, RecursionError) as err:
        why = err.strerror if isinstance(err, OSError) else "no JSON"
        raise InputRefused(f"has no {name} ({why})", path=path, remedy=ZARR_REMEDY) from err
    if not isinstance(found, dict):
        raise InputRefused(f"its {name} is no JSON object", path=path, remedy=ZARR_REMEDY)
    return found


def _read_bytes(store: Path, name: str, most: int) -> bytes:
    """The bytes of a regular file inside a store, of which there may be so many."""
    path = store / name
    if not path.is_file():  # a FIFO would never end
        raise FileNotFoundError(2, "no such file")
    if not path.resolve().is_relative_to(store.resolve()):
        raise PermissionError(1, "a link out of the store")
    with path.open("rb") as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise ValueError(f"more than {most} bytes")
    return raw
