"""The files of an STF: netCDF-4, checked when it is read, and a map of the tiles."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from uavssr.errors import InputRefused
from uavssr.io.bounded import IrregularFileError, open_regular, why_unread
from uavssr.io.checks import MAX_BLOCK_BYTES, PathLike, size_text
from uavssr.io.stf.dataset import (
    MAX_REFERENCES,
    MAY_BE_INFINITE,
    NOMINAL,
    QUANTITIES,
    REFERENCES,
    TILE_WINDOW,
    StfArrays,
    tile_outlines,
)
from uavssr.io.stf.geopackage import write_outlines
from uavssr.io.stf.netcdf import write_arrays
from uavssr.io.writers import Replaceable, replacing, write_failed
from uavssr.sensors import NumberArray, Sensor, WavelengthGrid

if TYPE_CHECKING:
    import xarray as xr

_MAX_TILES: Final = 1_000_000
_MAX_BYTES: Final = 2**30
"""Largest sum of all variables; a tile of 5 bands and 270 wavelengths takes 11 kB."""
_TOLERANCE_NM: Final = 0.05
"""Difference in nm up to which two wavelengths are the same."""


def stf_path(out: PathLike) -> Path:
    """Where the STF of the cube `out` goes: `<out stem>.stf.nc`."""
    return Path(out).with_suffix(".stf.nc")


def tiles_path(out: PathLike) -> Path:
    """Where the tile map of the cube `out` goes: `<out stem>.tiles.gpkg`."""
    return Path(out).with_suffix(".tiles.gpkg")


def write_stf(
    stf: StfArrays | xr.Dataset,
    path: PathLike,
    *,
    further: Iterable[StfArrays] = (),
    overwrite: Replaceable = False,
    inputs: Sequence[Path] = (),
) -> Path:
    """Write an STF product as netCDF-4 and read it back before it gets its name.

    Args:
        stf: the scene and its tiles, or the first of them.
        path: the final name.
        further: more tiles of the same scene, which need not be in memory together.
        overwrite: whether a file at `path` may be replaced.
        inputs: files that must never be replaced.

    Raises:
        OutputError: something stands in the way, or the disk is full.
    """
    first = _as_arrays(stf)
    needed = 2**20 + sum(array.values.nbytes for array in first.variables.values())
    with replacing(path, overwrite=overwrite, inputs=inputs, needed_bytes=needed) as part:
        try:
            same = write_arrays(part, chain([first], further))
        except (OSError, RuntimeError) as err:
            raise write_failed(path, err, needed_bytes=needed) from err
        if not same:
            raise write_failed(path, "not as written when read back", needed_bytes=needed)
    return Path(path)


def _as_arrays(stf: StfArrays | xr.Dataset) -> StfArrays:
    return stf if isinstance(stf, StfArrays) else StfArrays.of(stf)


def write_tiles(
    stf: StfArrays | xr.Dataset,
    path: PathLike,
    *,
    further: Iterable[StfArrays] = (),
    overwrite: Replaceable = False,
    inputs: Sequence[Path] = (),
) -> Path:
    """Write the tiles' outlines with their scalars as a GeoPackage, for a map.

    Columns: `tile`, `condition`, `valid_fraction`, and per band `<name>_<role>`, such as
    `centre_red`, `centre_se_red`, `prior_driven_red`. For the arguments see `write_stf`.

    Raises:
        OutputError: something stands in the way, or the disk is full.
        ValueError: the dataset has no tile dimension.
    """
    first = _as_arrays(stf)
    if "tile_window" not in first.variables:
        raise ValueError("an STF of the scene alone has no tiles to map")
    parts, place = [first, *further], first.coordinates["spatial_ref"].attrs
    windows = np.concatenate([part.variables["tile_window"].values for part in parts])
    outlines, columns = tile_outlines(windows, place["GeoTransform"]), _columns(parts)
    needed = 2**20 + len(outlines) * (256 + 16 * len(columns))
    with replacing(path, overwrite=overwrite, inputs=inputs, needed_bytes=needed) as part:
        try:
            crs_wkt = place.get("crs_wkt", "")
            same = write_outlines(part, "tiles", outlines, columns, crs_wkt=crs_wkt)
        except (OSError, sqlite3.Error) as err:
            raise write_failed(path, err, needed_bytes=needed) from err
        if not same:
            raise write_failed(path, "not as written when read back", needed_bytes=needed)
    return Path(path)


def _columns(parts: Sequence[StfArrays]) -> dict[str, NumberArray]:
    """Columns (n,) of the scalars by name: first those of a whole tile, then band by band."""
    flat = {name: q.dims for name, q in QUANTITIES.items() if "wavelength" not in q.dims}
    values = {
        name: np.concatenate([part.variables[name].values for part in parts]) for name in flat
    }
    columns: dict[str, NumberArray] = {"tile": np.arange(len(values["condition"]))}
    columns |= {name: values[name] for name, dims in flat.items() if not dims}
    for index, role in enumerate(parts[0].coordinates["band"].values.tolist()):
        columns |= {f"{n}_{role}": values[n][:, index] for n, dims in flat.items() if dims}
    return columns


def read_stf(path: PathLike, *, sensor: Sensor | None, grid: WavelengthGrid) -> xr.Dataset:
    """Read an STF dataset for a camera and a grid; rows come in the sensor's order.

    Without a sensor any camera's is read, with its rows as they are.

    Raises:
        InputRefused: not such a file, of another camera or grid, or with impossible values.
    """
    import xarray as xr

    file = Path(path)
    try:
        with open_regular(file):  # a FIFO would block
            _check_storage(file)
        with xr.open_dataset(file.absolute(), engine="h5netcdf", decode_times=False) as opened:
            completed = _with_common_factor(opened)
            _check_layout(completed, file, sensor, grid)
            ds = completed.load()
        if sensor is not None:
            ds = ds.sel(band=list(sensor.roles))
    except (FileNotFoundError, PermissionError, IrregularFileError) as err:
        raise _refused(file, why_unread(err, file)) from err
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as err:
        reason = f"{type(err).__name__}: {str(err)[:200]}"
        raise _refused(file, f"not a readable STF file ({reason})") from err
    _check_values(ds, file)
    return ds


def stf_has_grid(path: PathLike, grid: WavelengthGrid) -> bool:
    """Whether an STF file is of the wavelengths of a grid; nothing else of it is checked.

    Raises:
        InputRefused: no readable STF file.
    """
    import h5py

    file = Path(path)
    try:
        with open_regular(file):  # a FIFO would block
            _check_storage(file)
        with h5py.File(file, "r") as opened:
            centres = opened["wavelength"]
            if centres.shape != (len(grid),):
                return False
            return bool(np.all(np.abs(centres[:] - grid.centres) <= _TOLERANCE_NM))
    except (FileNotFoundError, PermissionError, IrregularFileError) as err:
        raise _refused(file, why_unread(err, file)) from err
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as err:
        reason = f"{type(err).__name__}: {str(err)[:200]}"
        raise _refused(file, f"not a readable STF file ({reason})") from err


def _with_common_factor(ds: xr.Dataset) -> xr.Dataset:
    """The dataset with zeros for the error of a common factor, which 0.1.0 did not write."""
    if "scene_common_gain_se" in ds:
        return ds
    ds = ds.assign(scene_common_gain_se=np.float64(0))
    if "tile" not in ds.sizes:
        return ds
    return ds.assign(common_gain_se=("tile", np.zeros(ds.sizes["tile"], np.float32)))


def _refused(file: Path, fact: str) -> InputRefused:
    remedy = "give a .stf.nc file that uavssr wrote for this sensor and wavelength grid"
    return InputRefused(fact, path=file, remedy=remedy)


def _check_storage(file: Path) -> None:
    """Refuse what HDF5 allows: links, variables in other files, and a small file of gigabytes."""
    import h5py

    with h5py.File(file, "r") as opened:
        claimed = 0
        for name in opened:
            if not isinstance(opened.get(name, getlink=True), h5py.HardLink):
                raise _refused(file, f"variable {name} is a link")
            item = opened[name]
            if not isinstance(item, h5py.Dataset) or item.external or item.is_virtual:
                raise _refused(file, f"variable {name} is not inside")
            claimed += item.nbytes
            chunk = math.prod(item.chunks or ()) * item.dtype.itemsize
            if claimed > _MAX_BYTES or chunk > MAX_BLOCK_BYTES:
                size = size_text(max(claimed, chunk))
                raise _refused(file, f"claims {size} with variable {name} {item.shape}")


def _check_bands(ds: xr.Dataset, file: Path, sensor: Sensor | None) -> int:
    """The number of bands, which must be the sensor's; without a sensor any distinct ones do."""
    roles = [str(role) for role in ds["band"].to_numpy().tolist()] if "band" in ds else []
    expected = sorted(set(roles)) if sensor is None else sorted(sensor.roles)
    if sorted(roles) != expected or not roles:
        wanted = "each is needed once"
        if sensor is not None:
            wanted = f"{sensor.name} has {', '.join(sensor.roles)}"
        raise _refused(file, f"variable band holds {', '.join(roles) or 'nothing'}, and {wanted}")
    taken_by = ds.attrs.get("sensor")
    if sensor is not None and taken_by not in (None, sensor.name):
        raise _refused(file, f"is of {taken_by}, not of {sensor.name}")
    return len(roles)


def _check_layout(ds: xr.Dataset, file: Path, sensor: Sensor | None, grid: WavelengthGrid) -> None:
    """Refuse other names, shapes, bands and wavelengths; only the values of the axes are read."""
    sizes = {"band": _check_bands(ds, file, sensor), "wavelength": len(grid)}
    for dim, most in (("tile", _MAX_TILES), ("reference", MAX_REFERENCES)):
        sizes[dim] = ds.sizes.get(dim, 0)
        if sizes[dim] > most:
            raise _refused(file, f"holds {sizes[dim]} {dim}s")
    _check_variables(ds, file, sizes)
    centres = ds["wavelength"].to_numpy()
    if not np.all(np.abs(centres - grid.centres) <= _TOLERANCE_NM):
        raise _refused(
            file,
            f"variable wavelength holds {centres[0]:g}-{centres[-1]:g} nm, and grid {grid.name} "
            f"{grid.centres[0]:g}-{grid.centres[-1]:g} nm or other steps",
        )


def _check_variables(ds: xr.Dataset, file: Path, sizes: dict[str, int]) -> None:
    """Refuse missing variables, and other dimensions, sizes or types; other sizes are 4."""
    for name, dims in _expected_dims(ds).items():
        if name not in ds:
            raise _refused(file, f"variable {name} is missing")
        shape, variable = tuple(sizes.get(d, 4) for d in dims), ds[name]
        right = variable.dims == dims and variable.shape == shape
        if not right or variable.dtype.kind not in "fiub":
            kind = f"{variable.dtype} {variable.shape}"
            raise _refused(file, f"variable {name} is {kind}, not numbers {shape}")


def _expected_dims(ds: xr.Dataset) -> dict[str, tuple[str, ...]]:
    """The variables of a file and their dimensions; an estimate of the scene alone has no tiles."""
    expected = {"wavelength": ("wavelength",), "nominal_stf": NOMINAL.dims}
    if "reference" in ds.sizes:
        expected |= {name: quantity.dims for name, quantity in REFERENCES.items()}
    expected |= {"scene_" + name: quantity.dims for name, quantity in QUANTITIES.items()}
    if "tile" in ds.sizes:
        expected["tile_window"] = TILE_WINDOW.dims
        expected |= {name: ("tile", *quantity.dims) for name, quantity in QUANTITIES.items()}
    return expected


def _check_values(ds: xr.Dataset, file: Path) -> None:
    """Refuse values that are not finite, and negative standard errors."""
    for name in _expected_dims(ds):
        values, plain = ds[name].to_numpy(), name.removeprefix("scene_")
        if plain not in MAY_BE_INFINITE and not np.isfinite(values).all():
            raise _refused(file, f"variable {name} is not finite")
        if plain.endswith("_se") and (values < 0).any():
            raise _refused(file, f"variable {name} is negative")
