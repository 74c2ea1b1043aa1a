"""The tiles of an STF as a map: a GeoPackage of their outlines with their scalars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from uavssr.io.checks import PathLike
from uavssr.io.stf.dataset import QUANTITIES, affine, corners
from uavssr.io.writers import replacing, write_failed

if TYPE_CHECKING:
    import xarray as xr

_NO_CRS: Final = 'LOCAL_CS["unknown",UNIT["metre",1]]'
"""CRS of a map of a scene without one."""


def tiles_path(out: PathLike) -> Path:
    """Where the tile map of the cube `out` goes: `<out stem>.tiles.gpkg`."""
    return Path(out).with_suffix(".tiles.gpkg")


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
    """Columns (n,) of the scalars by name: first those of a whole tile, then band by band."""
    columns: dict[str, npt.NDArray[np.generic]] = {"tile": np.arange(ds.sizes["tile"])}
    flat = {name: q for name, q in QUANTITIES.items() if "wavelength" not in q.dims}
    columns |= {name: ds[name].to_numpy() for name, q in flat.items() if not q.dims}
    for index, role in enumerate(ds["band"].to_numpy().tolist()):
        columns |= {f"{n}_{role}": ds[n].to_numpy()[:, index] for n, q in flat.items() if q.dims}
    return columns
