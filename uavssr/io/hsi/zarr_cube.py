"""The only way into a Zarr store: its metadata are checked first, its chunks decoded within bounds.

Of the Zarr format version 2 as xarray and we write it. Must not run a codec that its metadata
invent: some of them run code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from numcodecs import Blosc, Delta, Zstd
from rasterio.crs import CRS
from rasterio.errors import CRSError

from uavssr.errors import InputRefused
from uavssr.io.checks import Layout, check_layout
from uavssr.io.hsi.wavelengths import make_grid
from uavssr.io.raster import BandMetadata, nanometres
from uavssr.sensors import WavelengthGrid
from uavssr.tiling import Window

Numbers = npt.NDArray[np.generic]
Json = Mapping[str, Any]

_LARGEST: Final = 4 * 2**20
"""Bytes of a file of metadata."""
_PACKINGS: Final = {"zstd": Zstd, "blosc": Blosc}
_TYPES: Final = ("u1", "u2", "i2", "u4", "i4", "f4", "f8")
_SCALING: Final = ("scale_factor", "add_offset")
_REMEDY: Final = "give a store that uavssr wrote, or that xarray wrote with zarr_format=2"


@dataclass(frozen=True, slots=True, kw_only=True)
class ZarrArray:
    """One array of a store whose metadata were checked."""

    path: Path
    """The store, for messages."""
    name: str
    """The array's folder in it."""
    shape: tuple[int, ...]
    """Of the whole."""
    chunks: tuple[int, ...]
    """Of one chunk."""
    dtype: np.dtype[Any]
    """Of the numbers."""
    fill: float
    """What a chunk that is not there holds."""
    order: Literal["C", "F"]
    """C or F: which axis varies fastest in a chunk."""
    separator: str
    """Between the indices in a chunk's name."""
    packing: str | None
    """How chunks are compressed."""
    delta: bool
    """Whether chunks hold differences between neighbours."""
    attributes: Json
    """What it says of itself."""

    @classmethod
    def of(cls, path: Path, name: str) -> ZarrArray:
        """Read and check the metadata of an array.

        Raises:
            InputRefused: it is not there, or not of a kind that is read.
        """
        about = read_json(path, f"{name}/.zarray")
        try:
            found = cls._of(path, name, about)
        except (KeyError, TypeError, ValueError) as err:
            raise InputRefused(
                f"the metadata of its array {name} are not of the Zarr format 2 ({err})", path=path
            ) from err
        return found

    @classmethod
    def _of(cls, path: Path, name: str, about: Json) -> ZarrArray:
        dtype = np.dtype(str(about["dtype"]))
        packing = (about.get("compressor") or {}).get("id")
        filters = about.get("filters") or []
        if dtype.str[1:] not in _TYPES or about["zarr_format"] != 2:
            raise ValueError(f"type {dtype} in format {about['zarr_format']}")
        delta = {"id": "delta", "dtype": dtype.str, "astype": dtype.str}
        if packing not in {*_PACKINGS, None} or filters not in ([], [delta]):
            raise ValueError(f"codecs {packing} and {filters}")
        shape, chunks = (tuple(int(n) for n in about[key]) for key in ("shape", "chunks"))
        if len(shape) != len(chunks) or min(*shape, *chunks, 1) < 1:
            raise ValueError(f"shape {shape}, chunks {chunks}")
        fill = about.get("fill_value")
        return cls(
            path=path,
            name=name,
            shape=shape,
            chunks=chunks,
            dtype=dtype,
            fill=0.0 if fill is None else float(fill),
            order="F" if about.get("order", "C") == "F" else "C",
            separator={".": ".", "/": "/"}[about.get("dimension_separator", ".")],
            packing=packing,
            delta=bool(filters),
            attributes=read_json(path, f"{name}/.zattrs"),
        )

    def read(self, where: tuple[slice, ...]) -> Numbers:
        """The numbers in a box of the array.

        Raises:
            InputRefused: a chunk cannot be decoded.
        """
        out = np.full([s.stop - s.start for s in where], self.fill, self.dtype)
        steps = zip(where, self.chunks, strict=True)
        ranges = [range(s.start // size, -(-s.stop // size)) for s, size in steps]
        for index in np.ndindex(*map(len, ranges)):
            place = [each[k] for each, k in zip(ranges, index, strict=True)]
            chunk = self._chunk(place)
            if chunk is not None:
                into, part = zip(*map(_overlap, where, place, self.chunks), strict=True)
                out[into] = chunk[part]
        return out

    def _chunk(self, place: list[int]) -> Numbers | None:
        name = self.separator.join(map(str, place)) or "0"
        path = self.path / self.name / name
        count = math.prod(self.chunks)
        try:
            if not path.exists():
                return None
            raw = _take(path, 2 * count * self.dtype.itemsize + 2**16)
            packed = np.empty(count, self.dtype)
            if self.packing is None:
                packed[:] = np.frombuffer(raw, self.dtype)
            else:
                _PACKINGS[self.packing]().decode(raw, out=packed)  # no larger than it may be
            numbers = Delta(dtype=self.dtype).decode(packed) if self.delta else packed
        except (OSError, ValueError, RuntimeError) as err:
            raise InputRefused(
                f"chunk {name} of its array {self.name} cannot be read: {err}",
                path=self.path,
                remedy="the store is damaged: copy or write it again",
            ) from err
        found: Numbers = np.asarray(numbers).reshape(self.chunks, order=self.order)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ZarrReader:
    """Reads windows of a cube, from any thread or process."""

    array: ZarrArray
    """(wavelength, y, x)."""

    @property
    def height(self) -> int:
        """Rows of the scene."""
        return self.array.shape[1]

    @property
    def width(self) -> int:
        """Columns of the scene."""
        return self.array.shape[2]

    def read(self, window: Window) -> tuple[Numbers, npt.NDArray[np.bool_]]:
        """The stored numbers (band, y, x); what is valid only they tell.

        Raises:
            ValueError: the window reaches outside the scene.
            InputRefused: a chunk cannot be decoded.
        """
        bottom, right = window.row + window.height, window.col + window.width
        if min(window.row, window.col) < 0 or bottom > self.height or right > self.width:
            raise ValueError(f"{window} reaches outside a scene of {self.height} x {self.width}")
        numbers = self.array.read((slice(0, self.array.shape[0]), window.rows, window.cols))
        return numbers, np.ones(numbers.shape[1:], bool)


def is_zarr(path: Path) -> bool:
    """Whether a path is a folder that might be a Zarr store of version 2 or 3."""
    return path.is_dir() and any((path / name).is_file() for name in (".zgroup", "zarr.json"))


def check_cube(array: ZarrArray, *, max_pixels: int | None) -> None:
    """Refuse an array that is no cube or would exhaust the machine.

    Raises:
        InputRefused: other dimensions, or beyond the limits of `check_layout`.
    """
    if array.attributes.get("_ARRAY_DIMENSIONS") != ["wavelength", "y", "x"]:
        raise InputRefused(
            f"its array {array.name} has other dimensions than (wavelength, y, x)",
            path=array.path,
            remedy=_REMEDY,
        )
    bands, height, width = array.shape
    layout = Layout(
        width=width,
        height=height,
        bands=bands,
        bits=8 * array.dtype.itemsize,
        is_complex=False,
        block=(array.chunks[1], array.chunks[2]),
        block_bytes=math.prod(array.chunks) * array.dtype.itemsize,
    )
    claimed = layout.claimed_bytes  # a store says nothing of the bytes that it takes
    check_layout(layout, path=array.path, file_bytes=claimed, max_pixels=max_pixels)


def read_georeference(
    path: Path,
) -> tuple[CRS | None, tuple[float, float, float, float, float, float]]:
    """The CRS and the geotransform that the variable spatial_ref states.

    Raises:
        InputRefused: it states none that can be read.
    """
    about = read_json(path, "spatial_ref/.zattrs")
    wkt, numbers = about.get("crs_wkt"), str(about.get("GeoTransform", "")).split()
    try:
        c, a, b, f, d, e = map(float, numbers)
        return CRS.from_wkt(str(wkt)) if wkt else None, (a, b, c, d, e, f)
    except (CRSError, ValueError) as err:
        raise InputRefused(
            f"its spatial_ref holds no CRS and GeoTransform ({err})", path=path, remedy=_REMEDY
        ) from err


def read_store_grid(path: Path, *, count: int) -> WavelengthGrid:
    """The wavelengths of a store's cube of `count` bands.

    Raises:
        InputRefused: there is not one for each band, or they do not increase.
    """
    centres = _column(path, "wavelength", count)
    if None in centres:
        raise InputRefused("not a wavelength for every band", path=path, remedy=_REMEDY)
    unknown: list[float | None] = [None] * count
    widths = _column(path, "fwhm", count) if (path / "fwhm").is_dir() else unknown
    return make_grid(path, centres, widths)


def _column(path: Path, name: str, count: int) -> list[float | None]:
    array = ZarrArray.of(path, name)
    if array.shape != (count,):
        raise InputRefused(f"its {name} has shape {array.shape}, not ({count},)", path=path)
    values = array.read((slice(0, count),)).tolist()
    units = str(array.attributes.get("units", ""))
    return [nanometres(repr(value), units) for value in values]


def store_facts(array: ZarrArray, grid: WavelengthGrid) -> list[BandMetadata]:
    """What a store says of the bands of its cube."""
    about = array.attributes
    scale, offset = (_number(about.get(key), 1.0 - k) for k, key in enumerate(_SCALING))
    return [
        BandMetadata(
            file=array.path,
            index=number,
            alone=False,
            description="",
            colour="undefined",
            wavelength=float(centre),
            wavelength_from="wavelength coordinate",
            fwhm=float(width),
            dtype=array.dtype.name,
            nodata=array.fill,
            scale=scale,
            offset=offset,
            masked=False,
        )
        for number, (centre, width) in enumerate(zip(grid.centres, grid.fwhm, strict=True), start=1)
    ]


def _number(value: object, default: float) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else default


def read_json(path: Path, name: str) -> Json:
    """A file of metadata of a store.

    Raises:
        InputRefused: it is missing, or not what it should be.
    """
    try:
        found = json.loads(_take(path / name, _LARGEST))
    except (OSError, ValueError, RecursionError) as err:
        why = err.strerror if isinstance(err, OSError) else "no JSON"
        raise InputRefused(f"has no {name} ({why})", path=path, remedy=_REMEDY) from err
    if not isinstance(found, dict):
        raise InputRefused(f"its {name} is no JSON object", path=path, remedy=_REMEDY)
    return found


def _take(path: Path, most: int) -> bytes:
    """A regular file of at most so many bytes."""
    if not path.is_file():  # a FIFO would never end
        raise FileNotFoundError(2, "no such file")
    with path.open("rb") as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise ValueError(f"more than {most} bytes")
    return raw


def _overlap(wanted: slice, index: int, size: int) -> tuple[slice, slice]:
    """Where a chunk lies in what is wanted, and that part of the chunk, along one axis."""
    start = max(wanted.start, index * size)
    stop = min(wanted.stop, (index + 1) * size)
    return (
        slice(start - wanted.start, stop - wanted.start),
        slice(start - index * size, stop - index * size),
    )
