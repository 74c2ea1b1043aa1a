"""Place of an array of xarray on the ground: its CRS by rioxarray, its grid by its coordinates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from rasterio.crs import CRS

from uavssr.errors import InputRefused
from uavssr.io.raster.place import SAME_GRID, Place, Transform, make_place
from uavssr.sensors import FloatArray

if TYPE_CHECKING:
    import xarray as xr

_CRS_REMEDY: Final = "state it with array.rio.write_crs, as in array.rio.write_crs(32650)"


def array_place(array: xr.DataArray, path: Path) -> Place:
    """The place of an array with the dimensions y and x.

    Args:
        array: of any further dimensions; without coordinates y and x (a rotated raster) its
            `spatial_ref` must hold a GeoTransform.
        path: a name for messages.

    Raises:
        InputRefused: no CRS, no coordinates, or unevenly spaced ones.
    """
    import rioxarray  # noqa: F401 - the .rio accessor

    crs = array.rio.crs
    return make_place(
        path,
        crs=None if crs is None else CRS.from_wkt(crs.to_wkt()),
        transform=_transform(array, path),
        size=(array.sizes["y"], array.sizes["x"]),
        crs_remedy=_CRS_REMEDY,
    )


def _transform(array: xr.DataArray, path: Path) -> Transform:
    """From coordinates; as `spatial_ref` states it where both agree, which keeps all digits."""
    stated = _stated_transform(array)
    if not {"y", "x"} <= array.coords.keys():
        if stated is None:
            raise InputRefused("has no coordinates y and x", path=path, remedy="assign them")
        return stated
    steps = {}
    for axis in ("x", "y"):
        values = np.asarray(array[axis].to_numpy(), float)
        default = None if stated is None else stated[0 if axis == "x" else 4]
        steps[axis] = values[0], _step(values, axis, default, path)
    (x, a), (y, e) = steps["x"], steps["y"]
    own = (a, 0.0, x - a / 2, 0.0, e, y - e / 2)
    if stated is not None and np.allclose(own, stated, rtol=1e-9, atol=1e-3 * abs(a)):
        return stated
    return own


def _step(values: FloatArray, axis: str, default: float | None, path: Path) -> float:
    """The distance of evenly spaced coordinates; of a single one that of the GeoTransform."""
    if values.size == 1:
        if default is None:
            raise InputRefused(f"has a single {axis}", path=path, remedy="give two or more pixels")
        return default
    step = float(values[-1] - values[0]) / (values.size - 1)
    even = values[0] + step * np.arange(values.size)
    if not np.abs(values - even).max() <= SAME_GRID * abs(step):
        raise InputRefused(
            f"its coordinates {axis} are not evenly spaced", path=path, remedy="regrid it first"
        )
    return step


def _stated_transform(array: xr.DataArray) -> Transform | None:
    """GDAL's six numbers of the grid mapping, None without."""
    name = array.rio.grid_mapping
    text = array.coords[name].attrs.get("GeoTransform") if name in array.coords else None
    if text is None:
        return None
    c, a, b, f, d, e = map(float, str(text).split())
    return a, b, c, d, e, f
