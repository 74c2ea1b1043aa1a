"""STF products in netCDF-4 files: written as xarray would, and compared with what was given.

A netCDF-4 file is an HDF5 file whose dimensions are dimension scales. h5py writes it in a fifth of
the time that h5netcdf takes.
"""

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
    import h5py

_PACKED: Final = {"compression": "gzip", "compression_opts": 1}
_NO_VARIABLE: Final = "This is a netCDF dimension but not a netCDF variable.{:10d}"
"""Name of the scale of a dimension without a variable, by the netCDF-4 format specification."""

_Stored = tuple[str, "slice | EllipsisType", int]
"""A variable, the tiles that were stored in it (or all of it), and the checksum of the values."""


def write_arrays(path: Path, parts: Iterable[StfArrays]) -> bool:
    """Write the STFs of a scene, given some tiles at a time; whether they read back the same.

    The parts need not be in memory together.
    """
    import h5py

    remaining = iter(parts)
    first, second = next(remaining), list(islice(remaining, 1))
    tiles = first.sizes.get("tile", 0)
    with h5py.File(path, "w") as file:
        variables = _create(file, first, growing=bool(second))
        stored = list(_store(variables, first.arrays, slice(tiles)))
        for part in chain(second, remaining):
            added = slice(tiles, tiles := tiles + part.sizes["tile"])
            arrays = {name: a for name, a in part.variables.items() if "tile" in a.dims}
            for name in ("tile", *arrays):
                variables[name].resize(tiles, axis=0)
            stored += _store(variables, arrays, added)
    with h5py.File(path, "r") as file:
        variables = {name: file[name] for name in (*first.arrays, *first.sizes)}
        same_tiles = "tile" not in first.sizes or variables["tile"].size == tiles
        attributes = _has_attributes(file, first.attrs) and all(
            _has_attributes(variables[name], array.attrs) for name, array in first.arrays.items()
        )
        return same_tiles and attributes and _holds(variables, stored)


def _create(file: h5py.File, stf: StfArrays, *, growing: bool) -> dict[str, h5py.Dataset]:
    """Create attributes, variables without values, and dimensions; the datasets by name.

    Reading along a dimension that can grow is slow, so `tile` grows only where it must.
    """
    file.attrs.update(stf.attrs)
    largest = stf.sizes | ({"tile": None} if growing else {})
    datasets = {
        name: _create_variable(file, name, array, tuple(largest[dim] for dim in array.dims))
        for name, array in stf.arrays.items()
    }
    for name in stf.variables:
        datasets[name].attrs["coordinates"] = "spatial_ref"
    for number, (dim, size) in enumerate(stf.sizes.items()):
        if dim not in stf.arrays:
            datasets[dim] = file.create_dataset(dim, (size,), ">f4", maxshape=(largest[dim],))
        datasets[dim].make_scale(dim if dim in stf.arrays else _NO_VARIABLE.format(size))
        datasets[dim].attrs["_Netcdf4Dimid"] = np.int32(number)
    for name, array in stf.arrays.items():
        for axis, dim in enumerate(array.dims):
            if name != dim:
                datasets[name].dims[axis].attach_scale(datasets[dim])
    return datasets


def _create_variable(
    file: h5py.File, name: str, array: LabelledArray, largest: tuple[int | None, ...]
) -> h5py.Dataset:
    import h5py

    values = _encoded(array.values)
    dtype = h5py.string_dtype() if values.dtype.kind == "O" else values.dtype
    fill = np.nan if values.dtype.kind == "f" else None
    packed = _PACKED if len(largest) > 1 and values.size else {}
    grows = {"maxshape": largest} if None in largest else {}
    variable = file.create_dataset(name, values.shape, dtype, fillvalue=fill, **packed, **grows)
    variable.attrs.update(array.attrs)
    if fill is not None:
        variable.attrs["_FillValue"] = np.array([fill], dtype)
    if array.values.dtype.kind == "b":
        variable.attrs["dtype"] = "bool"
    return variable


def _store(
    variables: Mapping[str, h5py.Dataset], arrays: Mapping[str, LabelledArray], tiles: slice
) -> Iterator[_Stored]:
    for name, array in arrays.items():
        place, values = tiles if "tile" in array.dims else ..., _encoded(array.values)
        variables[name][place] = values
        yield name, place, _checksum(values)


def _encoded(values: NumberArray) -> NumberArray:
    """Values of a type that netCDF has."""
    return values.astype({"b": np.int8, "U": object}.get(values.dtype.kind, values.dtype))


def _holds(variables: Mapping[str, h5py.Dataset], stored: Iterable[_Stored]) -> bool:
    return all(_checksum(_read(variables[name], place)) == crc for name, place, crc in stored)


def _read(variable: h5py.Dataset, place: slice | EllipsisType) -> NumberArray:
    return np.asarray((variable.asstr() if variable.dtype.kind == "O" else variable)[place])


def _has_attributes(item: h5py.File | h5py.Dataset, attrs: Mapping[str, str]) -> bool:
    return attrs.items() <= dict(item.attrs).items()


def _checksum(values: NumberArray) -> int:
    """CRC-32 of numbers or texts."""
    if values.dtype.kind == "O":
        return zlib.crc32("\0".join(values.tolist()).encode())
    return zlib.crc32(np.ascontiguousarray(values).data)
