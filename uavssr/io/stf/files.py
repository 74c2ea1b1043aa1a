"""STF datasets as files: netCDF-4, written and read back, and checked before they are used."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from uavssr.errors import InputRefused
from uavssr.io.checks import PathLike
from uavssr.io.stf.dataset import (
    MAX_REFERENCES,
    MAY_BE_INFINITE,
    QUANTITIES,
    REFERENCES,
)
from uavssr.io.writers import replacing, write_failed
from uavssr.sensors import Sensor, WavelengthGrid

if TYPE_CHECKING:
    import xarray as xr

_HDF5_MAGIC: Final = b"\x89HDF\r\n\x1a\n"
_MAX_TILES: Final = 1_000_000
_TOLERANCE_NM: Final = 0.05
"""Difference in nm up to which two wavelengths are the same."""
_REMEDY: Final = "give a .stf.nc file that uavssr wrote for this sensor and wavelength grid"


def stf_path(out: PathLike) -> Path:
    """Where the STF of the cube `out` goes: `<out stem>.stf.nc`."""
    return Path(out).with_suffix(".stf.nc")


def write_stf(
    ds: xr.Dataset,
    path: PathLike,
    *,
    further: Iterable[xr.Dataset] = (),
    overwrite: bool = False,
    inputs: Sequence[Path] = (),
) -> Path:
    """Write an STF dataset as netCDF-4 and read it back before it gets its name.

    Args:
        ds: the scene and its tiles, or the first of them.
        path: the final name.
        further: more tiles of the same scene, which need not be in memory together.
        overwrite: whether a file at `path` may be replaced.
        inputs: files that must never be replaced.

    Raises:
        OutputError: something stands in the way, or the disk is full.
    """
    import xarray as xr

    needed = int(ds.nbytes) + 2**20
    packed = {name: {"zlib": True, "complevel": 1} for name in ds.data_vars if ds[name].ndim > 1}
    with replacing(path, overwrite=overwrite, inputs=inputs, needed_bytes=needed) as part:
        try:
            slabs, count = iter(further), ds.sizes.get("tile", 0)
            second = list(islice(slabs, 1))
            unlimited = ["tile"] if second else []  # reading along such a dimension is slow
            ds.to_netcdf(part, engine="h5netcdf", encoding=packed, unlimited_dims=unlimited)
            appended = _append(part, chain(second, slabs)) if second else []
            with xr.open_dataset(part, engine="h5netcdf") as back:
                first = back.isel(tile=slice(count)) if second else back
                same = first.load().identical(ds) and _as_written(back, count, appended)
        except (OSError, RuntimeError) as err:
            raise write_failed(path, err, needed_bytes=needed) from err
        if not same:
            raise write_failed(path, "not as written when read back", needed_bytes=needed)
    return Path(path)


def _append(part: Path, further: Iterable[xr.Dataset]) -> list[tuple[int, int]]:
    """Append tiles to those in the file; the count and the checksum of each dataset's tiles."""
    import h5netcdf

    written = []
    with h5netcdf.File(part, "a") as file:
        for ds in further:
            start, count = file.dimensions["tile"].size, ds.sizes["tile"]
            file.resize_dimension("tile", start + count)
            for name in _tile_variables(ds):
                file[name][start:] = ds[name].to_numpy().astype(file[name].dtype)
            written.append((count, _checksum(ds)))
    return written


def _as_written(back: xr.Dataset, start: int, appended: list[tuple[int, int]]) -> bool:
    """Whether a file holds the appended tiles from the tile `start` on, and no others."""
    for count, checksum in appended:
        if _checksum(back.isel(tile=slice(start, start + count))) != checksum:
            return False
        start += count
    return back.sizes.get("tile", 0) == start


def _checksum(ds: xr.Dataset) -> int:
    """CRC-32 of the variables of tiles."""
    checksum = 0
    for name in _tile_variables(ds):
        checksum = zlib.crc32(np.ascontiguousarray(ds[name].to_numpy()).data, checksum)
    return checksum


def _tile_variables(ds: xr.Dataset) -> list[str]:
    return sorted(str(name) for name in ds.data_vars if "tile" in ds[name].dims)


def read_stf(path: PathLike, *, sensor: Sensor | None, grid: WavelengthGrid) -> xr.Dataset:
    """Read an STF dataset for a camera and a grid; rows come in the sensor's order.

    Without a sensor any camera's is read, with its rows as they are.

    Raises:
        InputRefused: not such a file, of another camera or grid, or with impossible values.
    """
    import xarray as xr

    file = Path(path)
    _check_hdf5(file)
    try:
        _check_self_contained(file)
        with xr.open_dataset(file, engine="h5netcdf", decode_times=False) as opened:
            _check_layout(opened, file, sensor, grid)
            ds = opened.load()
        if sensor is not None:
            ds = ds.sel(band=list(sensor.roles))
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise InputRefused(
            f"not a readable STF file ({type(err).__name__}: {str(err)[:200]})",
            path=file,
            remedy=_REMEDY,
        ) from err
    _check_values(ds, file)
    return ds


def _check_hdf5(file: Path) -> None:
    """Refuse anything but a regular file that begins as HDF5 does; opening a FIFO would hang."""
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):  # noqa: PTH116 - also refuses a NUL
            raise InputRefused("is not a regular file", path=file, remedy=_REMEDY)
        with file.open("rb") as opened:
            start = opened.read(len(_HDF5_MAGIC))
    except (OSError, ValueError) as err:
        reason = err.strerror if isinstance(err, OSError) else err
        raise InputRefused(f"cannot be read ({reason})", path=file, remedy=_REMEDY) from err
    if start != _HDF5_MAGIC:
        raise InputRefused("is not a netCDF-4 file", path=file, remedy=_REMEDY)


def _check_self_contained(file: Path) -> None:
    """Refuse links and variables that lie in other files, as HDF5 allows."""
    import h5py

    with h5py.File(file, "r") as opened:
        for name in opened:
            if not isinstance(opened.get(name, getlink=True), h5py.HardLink):
                raise InputRefused(f"variable {name} is a link", path=file, remedy=_REMEDY)
            item = opened[name]
            if not isinstance(item, h5py.Dataset) or item.external or item.is_virtual:
                raise InputRefused(f"variable {name} is not inside", path=file, remedy=_REMEDY)


def _check_bands(ds: xr.Dataset, file: Path, sensor: Sensor | None) -> int:
    """The number of bands: those of the sensor, or any distinct ones without a sensor.

    Raises:
        InputRefused: other bands, or an STF of another camera.
    """
    roles = [str(role) for role in ds["band"].to_numpy().tolist()] if "band" in ds else []
    expected = sorted(set(roles)) if sensor is None else sorted(sensor.roles)
    if sorted(roles) != expected or not roles:
        wanted = "each is needed once"
        if sensor is not None:
            wanted = f"{sensor.name} has {', '.join(sensor.roles)}"
        raise InputRefused(
            f"variable band holds {', '.join(roles) or 'nothing'}, and {wanted}",
            path=file,
            remedy=_REMEDY,
        )
    taken_by = ds.attrs.get("sensor")
    if sensor is not None and taken_by not in (None, sensor.name):
        raise InputRefused(f"is of {taken_by}, not of {sensor.name}", path=file, remedy=_REMEDY)
    return len(roles)


def _check_layout(ds: xr.Dataset, file: Path, sensor: Sensor | None, grid: WavelengthGrid) -> None:
    """Refuse other names, shapes, bands and wavelengths; only the values of the axes are read."""
    bands = _check_bands(ds, file, sensor)
    sizes = {"band": bands, "wavelength": len(grid)}
    for dim, most in (("tile", _MAX_TILES), ("reference", MAX_REFERENCES)):
        sizes[dim] = ds.sizes.get(dim, 0)
        if sizes[dim] > most:
            raise InputRefused(f"holds {sizes[dim]} {dim}s", path=file, remedy=_REMEDY)
    _check_variables(ds, file, sizes)
    centres = ds["wavelength"].to_numpy()
    if not np.all(np.abs(centres - grid.centres) <= _TOLERANCE_NM):
        raise InputRefused(
            f"variable wavelength holds {centres[0]:g}-{centres[-1]:g} nm, and grid {grid.name} "
            f"{grid.centres[0]:g}-{grid.centres[-1]:g} nm or other steps",
            path=file,
            remedy=_REMEDY,
        )


def _check_variables(ds: xr.Dataset, file: Path, sizes: dict[str, int]) -> None:
    """Refuse missing variables, and other dimensions, sizes or types; other sizes are 4."""
    for name, dims in _expected_dims(ds).items():
        if name not in ds:
            raise InputRefused(f"variable {name} is missing", path=file, remedy=_REMEDY)
        shape, variable = tuple(sizes.get(d, 4) for d in dims), ds[name]
        right = variable.dims == dims and variable.shape == shape
        if not right or variable.dtype.kind not in "fiub":
            raise InputRefused(
                f"variable {name} is {variable.dtype} {variable.shape}, not numbers {shape}",
                path=file,
                remedy=_REMEDY,
            )


def _expected_dims(ds: xr.Dataset) -> dict[str, tuple[str, ...]]:
    """The variables of a file and their dimensions; an estimate of the scene alone has no tiles."""
    scene = {"scene_" + name: quantity.dims for name, quantity in QUANTITIES.items()}
    common: dict[str, tuple[str, ...]] = {
        "wavelength": ("wavelength",),
        "nominal_stf": ("band", "wavelength"),
    }
    if "reference" in ds.sizes:
        common |= {name: quantity.dims for name, quantity in REFERENCES.items()}
    if "tile" not in ds.sizes:
        return common | scene
    window: dict[str, tuple[str, ...]] = {"tile_window": ("tile", "window_edge")}
    tiles = {name: ("tile", *quantity.dims) for name, quantity in QUANTITIES.items()}
    return common | scene | window | tiles


def _check_values(ds: xr.Dataset, file: Path) -> None:
    """Refuse values that are not finite, and negative standard errors."""
    for name in _expected_dims(ds):
        values, plain = ds[name].to_numpy(), name.removeprefix("scene_")
        if plain not in MAY_BE_INFINITE and not np.isfinite(values).all():
            raise InputRefused(f"variable {name} is not finite", path=file, remedy=_REMEDY)
        if plain.endswith("_se") and (values < 0).any():
            raise InputRefused(f"variable {name} is negative", path=file, remedy=_REMEDY)
