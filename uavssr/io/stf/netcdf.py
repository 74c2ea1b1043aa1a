"""STF products in netCDF-4 files: written as xarray would, and compared with what was given."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING, Final

import numpy as np

from uavssr.io.stf.dataset import LabelledArray, StfArrays
from uavssr.sensors import NumberArray

if TYPE_CHECKING:
    import h5netcdf

_PACKED: Final = {"compression": "gzip", "compression_opts": 1}

_Stored = tuple[str, "slice | EllipsisType", int]
"""A variable, the tiles that were stored in it (or all of it), and the checksum of the values."""


def write_arrays(path: Path, parts: Iterable[StfArrays]) -> bool:
    """Write the STFs of a scene, given some tiles at a time; whether they read back the same.

    The parts need not be in memory together.
    """
    import h5netcdf

    remaining = iter(parts)
    first, second = next(remaining), list(islice(remaining, 1))
    tiles = first.sizes.get("tile", 0)
    with h5netcdf.File(path, "w") as file:
        _create(file, first, growing=bool(second))
        stored = list(_store(file, first.arrays, slice(tiles)))
        for part in chain(second, remaining):
            added = slice(tiles, tiles := tiles + part.sizes["tile"])
            file.resize_dimension("tile", tiles)
            arrays = {name: a for name, a in part.variables.items() if "tile" in a.dims}
            stored += _store(file, arrays, added)
    with h5netcdf.File(path, "r", decode_vlen_strings=True) as file:
        same_tiles = "tile" not in first.sizes or file.dimensions["tile"].size == tiles
        return same_tiles and _has_attributes(file, first) and _holds(file, stored)


def _create(file: h5netcdf.File, stf: StfArrays, *, growing: bool) -> None:
    """Create dimensions, attributes and variables without values.

    Reading along a dimension that can grow is slow, so `tile` grows only where it must.
    """
    import h5py

    file.attrs.update(stf.attrs)
    file.dimensions = {d: None if growing and d == "tile" else n for d, n in stf.sizes.items()}
    if growing:
        file.resize_dimension("tile", stf.sizes["tile"])
    for name, array in stf.arrays.items():
        values = _encoded(array.values)
        variable = file.create_variable(
            name,
            array.dims,
            h5py.string_dtype() if values.dtype.kind == "O" else values.dtype,
            fillvalue=np.nan if values.dtype.kind == "f" else None,
            **(_PACKED if len(array.dims) > 1 else {}),
        )
        variable.attrs.update(array.attrs)
        if array.values.dtype.kind == "b":
            variable.attrs["dtype"] = "bool"
        if name in stf.variables:
            variable.attrs["coordinates"] = "spatial_ref"


def _store(
    file: h5netcdf.File, arrays: Mapping[str, LabelledArray], tiles: slice
) -> Iterator[_Stored]:
    for name, array in arrays.items():
        place, values = tiles if "tile" in array.dims else ..., _encoded(array.values)
        file[name][place] = values
        yield name, place, _checksum(values)


def _encoded(values: NumberArray) -> NumberArray:
    """Values of a type that netCDF has."""
    return values.astype({"b": np.int8, "U": object}.get(values.dtype.kind, values.dtype))


def _holds(file: h5netcdf.File, stored: Iterable[_Stored]) -> bool:
    return all(_checksum(np.asarray(file[name][place])) == crc for name, place, crc in stored)


def _has_attributes(file: h5netcdf.File, stf: StfArrays) -> bool:
    """Whether a file has all attributes of a product and of its arrays."""
    expected = {name: array.attrs for name, array in stf.arrays.items()}
    return dict(file.attrs) == stf.attrs and all(
        attrs.items() <= dict(file[name].attrs).items() for name, attrs in expected.items()
    )


def _checksum(values: NumberArray) -> int:
    """CRC-32 of numbers or texts."""
    if values.dtype.kind == "O":
        return zlib.crc32("\0".join(values.tolist()).encode())
    return zlib.crc32(np.ascontiguousarray(values).data)


def read_tile_scalars(path: Path) -> StfArrays:
    """The product in a file, without the arrays over wavelengths."""
    import h5netcdf

    with h5netcdf.File(path, "r", decode_vlen_strings=True) as file:
        arrays = {
            name: LabelledArray(variable.dimensions, _decoded(variable), dict(variable.attrs))
            for name, variable in file.variables.items()
            if "wavelength" not in variable.dimensions
        }
    coordinates = {name: arrays.pop(name) for name in ("band", "spatial_ref")}
    return StfArrays(variables=arrays, coordinates=coordinates, attrs={})


def _decoded(variable: h5netcdf.Variable) -> NumberArray:
    values = np.asarray(variable[...])
    return values.astype(bool) if variable.attrs.get("dtype") == "bool" else values
