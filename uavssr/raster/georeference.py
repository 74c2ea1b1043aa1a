"""Coordinates of a raster as xarray and CF know them. Reads and writes no files."""

from __future__ import annotations

import numpy as np
import xarray as xr

Transform = tuple[float, float, float, float, float, float]


def coordinates(
    crs_wkt: str, transform: Transform, *, height: int, width: int
) -> dict[str, xr.DataArray]:
    """Coordinates `spatial_ref` and, unless the raster is rotated, `y` and `x` of the cell centres.

    Args:
        crs_wkt: the CRS.
        transform: affine (a, b, c, d, e, f): x = a col + b row + c, y = d col + e row + f.
        height: rows.
        width: columns.
    """
    a, b, c, d, e, f = transform
    geotransform = " ".join(repr(float(v)) for v in (c, a, b, f, d, e))
    attributes = {"crs_wkt": crs_wkt, "spatial_ref": crs_wkt, "GeoTransform": geotransform}
    found = {"spatial_ref": xr.DataArray(0, attrs=attributes)}
    if b == 0 and d == 0:
        x = c + a * (np.arange(width) + 0.5)
        y = f + e * (np.arange(height) + 0.5)
        found["y"] = xr.DataArray(y, dims="y", attrs={"axis": "Y"})
        found["x"] = xr.DataArray(x, dims="x", attrs={"axis": "X"})
    return found
