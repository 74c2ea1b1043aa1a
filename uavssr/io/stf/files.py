"""The only writer and reader of STF products: `.stf.nc` (netCDF) and `.tiles.gpkg` (GeoPackage).

What they hold is laid out in `stf_dataset`, whose names are also found here.
"""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from uavssr.errors import InputRefused
from uavssr.io.stf.dataset import (
    MAY_BE_INFINITE,
    MOST_REFERENCES,
    QUANTITIES,
    REFERENCES,
    StfEstimate,
    affine,
    corners,
    scene_estimate,
    stf_dataset,
    tile_estimates,
)
from uavssr.io.writers import PathLike, replacing, write_failed
from uavssr.sensors import Sensor, WavelengthGrid

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "StfEstimate",
    "read_stf",
    "scene_estimate",
    "stf_dataset",
    "stf_path",
    "tile_estimates",
    "tiles_path",
    "write_stf",
    "write_tiles",
]

_HDF5_MAGIC: Final = b"\x89HDF\r\n\x1a\n"
_MOST_TILES: Final = 1_000_000
_NO_CRS: Final = 'LOCAL_CS["unknown",UNIT["metre",1]]'
_REMEDY: Final = "give a .stf.nc file that uavssr wrote for this sensor and wavelength grid"


def stf_path(out: PathLike) -> Path:
    """Where the STF of the cube `out` goes: `<out stem>.stf.nc`."""
    return Path(out).with_suffix(".stf.nc")


def tiles_path(out: PathLike) -> Path:
    """Where the tile map of the cube `out` goes: `<out stem>.tiles.gpkg`."""
    return Path(out).with_suffix(".tiles.gpkg")


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
            growing = ["tile"] if second else []  # a dimension that may grow is slow to look at
            ds.to_netcdf(part, engine="h5netcdf", encoding=packed, unlimited_dims=growing)
            written = _append(part, chain(second, slabs)) if second else []
            with xr.open_dataset(part, engine="h5netcdf") as back:
                first = back.isel(tile=slice(count)) if second else back
                same = first.load().identical(ds) and _as_written(back, count, written)
        except (OSError, RuntimeError) as err:
            raise write_failed(path, err, needed_bytes=needed) from err
        if not same:
            raise write_failed(path, "not as written when read back", needed_bytes=needed)
    return Path(path)


def _append(part: Path, further: Iterable[xr.Dataset]) -> list[tuple[int, int]]:
    """Put more tiles behind those in the file; how many each dataset had, and their checksum."""
    import h5netcdf

    written = []
    with h5netcdf.File(part, "a") as file:
        for ds in further:
            start, count = file.dimensions["tile"].size, ds.sizes["tile"]
            file.resize_dimension("tile", start + count)
            for name in _of_tiles(ds):
                file[name][start:] = ds[name].to_numpy().astype(file[name].dtype)
            written.append((count, _checksum(ds)))
    return written


def _as_written(back: xr.Dataset, start: int, written: list[tuple[int, int]]) -> bool:
    for count, checksum in written:
        if _checksum(back.isel(tile=slice(start, start + count))) != checksum:
            return False
        start += count
    return back.sizes.get("tile", 0) == start


def _checksum(ds: xr.Dataset) -> int:
    checksum = 0
    for name in _of_tiles(ds):
        checksum = zlib.crc32(np.ascontiguousarray(ds[name].to_numpy()).data, checksum)
    return checksum


def _of_tiles(ds: xr.Dataset) -> list[str]:
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
    """A local, regular file that begins as HDF5 does: a FIFO would hang whoever opens it."""
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):  # noqa: PTH116 - also says no to a NUL
            raise InputRefused("is not a regular file", path=file, remedy=_REMEDY)
        with file.open("rb") as opened:
            start = opened.read(len(_HDF5_MAGIC))
    except (OSError, ValueError) as err:
        reason = err.strerror if isinstance(err, OSError) else err
        raise InputRefused(f"cannot be read ({reason})", path=file, remedy=_REMEDY) from err
    if start != _HDF5_MAGIC:
        raise InputRefused("is not a netCDF-4 file", path=file, remedy=_REMEDY)


def _check_self_contained(file: Path) -> None:
    """HDF5 can point into other files, so every link and every variable must be its own."""
    import h5py

    with h5py.File(file, "r") as opened:
        for name in opened:
            if not isinstance(opened.get(name, getlink=True), h5py.HardLink):
                raise InputRefused(f"variable {name} is a link", path=file, remedy=_REMEDY)
            item = opened[name]
            if not isinstance(item, h5py.Dataset) or item.external or item.is_virtual:
                raise InputRefused(f"variable {name} is not inside", path=file, remedy=_REMEDY)


def _check_bands(ds: xr.Dataset, file: Path, sensor: Sensor | None) -> int:
    """The number of bands, once they are known to be the sensor's, or each its own."""
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
    """Names, shapes, bands and wavelengths; no values but those of the axes are read."""
    bands = _check_bands(ds, file, sensor)
    sizes = {"band": bands, "wavelength": len(grid)}
    for dim, most in (("tile", _MOST_TILES), ("reference", MOST_REFERENCES)):
        sizes[dim] = ds.sizes.get(dim, 0)
        if sizes[dim] > most:
            raise InputRefused(f"holds {sizes[dim]} {dim}s", path=file, remedy=_REMEDY)
    for name, dims in _expected_dims(ds).items():
        if name not in ds:
            raise InputRefused(f"variable {name} is missing", path=file, remedy=_REMEDY)
        shape, found = tuple(sizes.get(d, 4) for d in dims), ds[name]
        if found.dims != dims or found.shape != shape or found.dtype.kind not in "fiub":
            raise InputRefused(
                f"variable {name} is {found.dtype} {found.shape}, not numbers {shape}",
                path=file,
                remedy=_REMEDY,
            )
    centres = ds["wavelength"].to_numpy()
    if not np.all(np.abs(centres - grid.centres) <= 0.05):
        raise InputRefused(
            f"variable wavelength holds {centres[0]:g}-{centres[-1]:g} nm, and grid {grid.name} "
            f"{grid.centres[0]:g}-{grid.centres[-1]:g} nm or other steps",
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
    each = {name: ("tile", *quantity.dims) for name, quantity in QUANTITIES.items()}
    return common | scene | window | each


def _check_values(ds: xr.Dataset, file: Path) -> None:
    for name in _expected_dims(ds):
        values, plain = ds[name].to_numpy(), name.removeprefix("scene_")
        if plain not in MAY_BE_INFINITE and not np.isfinite(values).all():
            raise InputRefused(f"variable {name} is not finite", path=file, remedy=_REMEDY)
        if plain.endswith("_se") and (values < 0).any():
            raise InputRefused(f"variable {name} is negative", path=file, remedy=_REMEDY)


def write_tiles(
    ds: xr.Dataset, path: PathLike, *, overwrite: bool = False, inputs: Sequence[Path] = ()
) -> Path:
    """Write the tiles' outlines with their scalars as a GeoPackage, for a map.

    Columns: `tile`, `condition`, `valid_fraction`, and per band `<name>_<role>`, such as
    `centre_red`, `centre_se_red`, `prior_driven_red`.

    Raises:
        OutputError: something stands in the way, or the disk is full.
        ValueError: the dataset has no tile dimension.
    """
    import pyogrio
    import shapely
    from pyogrio.errors import DataLayerError, DataSourceError

    if "tile" not in ds.sizes:
        raise ValueError("an STF of the scene alone has no tiles to map")
    columns = _columns(ds)
    outlines = shapely.polygons(corners(ds["tile_window"].to_numpy(), affine(ds)))
    needed = 2**20 + ds.sizes["tile"] * (256 + 16 * len(columns))
    with replacing(path, overwrite=overwrite, inputs=inputs, needed_bytes=needed) as part:
        try:
            pyogrio.raw.write(
                part,
                geometry=np.asarray(shapely.to_wkb(outlines), object),
                field_data=list(columns.values()),
                fields=np.array(list(columns), object),
                geometry_type="Polygon",
                crs=ds["spatial_ref"].attrs.get("crs_wkt", _NO_CRS),
                driver="GPKG",
                layer="tiles",
            )
            count = pyogrio.read_info(part)["features"]
        except (DataLayerError, DataSourceError, OSError, RuntimeError) as err:
            raise write_failed(path, err, needed_bytes=needed) from err
        if count != ds.sizes["tile"]:
            raise write_failed(path, f"{count} tiles when read back", needed_bytes=needed)
    return Path(path)


def _columns(ds: xr.Dataset) -> dict[str, npt.NDArray[np.generic]]:
    """Flat columns (n,) of the scalars, whole scope first and then band by band."""
    columns: dict[str, npt.NDArray[np.generic]] = {"tile": np.arange(ds.sizes["tile"])}
    flat = {name: q for name, q in QUANTITIES.items() if "wavelength" not in q.dims}
    columns |= {name: ds[name].to_numpy() for name, q in flat.items() if not q.dims}
    for index, role in enumerate(ds["band"].to_numpy().tolist()):
        columns |= {f"{n}_{role}": ds[n].to_numpy()[:, index] for n, q in flat.items() if q.dims}
    return columns
