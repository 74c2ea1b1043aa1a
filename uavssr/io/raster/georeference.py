"""Coordinates of raster cells for xarray, after the CF conventions."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import xarray as xr
from rasterio.crs import CRS

Transform = tuple[float, float, float, float, float, float]
"""Affine (a, b, c, d, e, f) from pixels to map: x = a col + b row + c, y = d col + e row + f."""

WGS84: Final = str(CRS.from_epsg(4326).to_wkt())
"""CRS of longitude and latitude in degrees, as WKT."""
_METRES_PER_DEGREE: Final = 111_320.0
"""Metres along one degree of the equator of the WGS 84 ellipsoid."""


def metres_per_unit(crs_wkt: str, *, y: float) -> tuple[float, float]:
    """Metres along one unit of x and one unit of y of a CRS.

    Args:
        crs_wkt: the CRS.
        y: coordinate in units of the CRS; a degree of longitude is shorter at higher latitudes.
    """
    crs = CRS.from_wkt(crs_wkt)
    if crs.is_geographic:
        return _METRES_PER_DEGREE * math.cos(math.radians(y)), _METRES_PER_DEGREE
    factor = float(crs.linear_units_factor[1])
    return factor, factor


def coordinates(
    crs_wkt: str, transform: Transform, *, height: int, width: int
) -> dict[str, xr.DataArray]:
    """Coordinates `spatial_ref` and, unless the raster is rotated, `y` and `x` of the cell centres.

    Args:
        crs_wkt: the CRS.
        transform: from pixels to map coordinates.
        height: rows.
        width: columns.
    """
    a, b, c, d, e, f = transform
    geotransform = " ".join(repr(float(v)) for v in (c, a, b, f, d, e))
    attributes = {"crs_wkt": crs_wkt, "spatial_ref": crs_wkt, "GeoTransform": geotransform}
    variables = {"spatial_ref": xr.DataArray(0, attrs=attributes)}
    if b == 0 and d == 0:
        x = c + a * (np.arange(width) + 0.5)
        y = f + e * (np.arange(height) + 0.5)
        variables["y"] = xr.DataArray(y, dims="y", attrs={"axis": "Y"})
        variables["x"] = xr.DataArray(x, dims="x", attrs={"axis": "X"})
    return variables
