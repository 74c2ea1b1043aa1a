"""Coordinates and the ground: metres along a unit of a CRS, and coordinates that cannot be its."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform

from uavssr.errors import InputRefused
from uavssr.io.checks import GDAL_ERRORS
from uavssr.sensors import FloatArray

WGS84: Final = str(CRS.from_epsg(4326).to_wkt())
"""CRS of longitude and latitude in degrees, as WKT."""
_AXIS: Final = 6_378_137.0
"""Equatorial radius of the ellipsoid WGS 84, metres."""
_ECCENTRICITY2: Final = 0.00669437999014
"""Square of its first eccentricity."""
_STEP_M: Final = 10.0
"""Metres, about, between the places from which the scale of a projection is measured."""
_SMALLEST_PIXEL_M: Final = 0.0005
"""Metres; pixels that are smaller on a map are degrees: 0.0005 degrees are 55 m."""


def crs_name(crs: CRS) -> str:
    """Its EPSG code, else its name."""
    code = crs.to_epsg()
    if code is not None:
        return f"EPSG:{code}"
    name = re.search(r'^\w+\["([^"]*)"', crs.to_wkt())
    return name[1] if name else "unnamed"


def is_local(crs_wkt: str) -> bool:
    """Whether a CRS is local: it says nothing of where on the Earth its coordinates are."""
    return not any(word in crs_wkt for word in ("GEOG", "GEOD", "PROJC", "GEOC"))


def metres_per_unit(crs_wkt: str, *, x: float, y: float) -> tuple[float, float]:
    """Metres on the ground along one unit of x and one unit of y of a CRS, at a place.

    They are measured on the ellipsoid WGS 84, as a projection has its own scale at each place:
    1 / cos(latitude) in Web Mercator. Of a local CRS only the unit is known.
    """
    crs = CRS.from_wkt(crs_wkt)
    if is_local(crs_wkt):
        return (_linear_unit(crs),) * 2
    unit = math.degrees(1) / _AXIS if crs.is_geographic else 1 / _linear_unit(crs)
    step = _STEP_M * unit
    lon, lat = np.radians(_lon_lat(crs, [x, x + step, x], [y, y, y + step]))
    curvature = 1 - _ECCENTRICITY2 * math.sin(lat[0]) ** 2
    # radii of curvature: N = a / sqrt(w) eastward, M = a (1 - e^2) / w^1.5 northward
    east = _AXIS / math.sqrt(curvature) * math.cos(lat[0])
    north = _AXIS * (1 - _ECCENTRICITY2) / curvature**1.5
    turns = np.remainder(lon[1:] - lon[0] + np.pi, 2 * np.pi) - np.pi
    lengths = np.hypot(turns * east, (lat[1:] - lat[0]) * north) / step
    return float(lengths[0]), float(lengths[1])


def unit_metres(crs_wkt: str) -> float | None:
    """Metres of the unit of a map projection; None for degrees and for no CRS."""
    crs = CRS.from_wkt(crs_wkt)
    return None if crs.is_geographic or not crs.is_projected else _linear_unit(crs)


def check_coordinates(crs: CRS, corners: FloatArray, *, pixel: float, path: Path) -> None:
    """Refuse degrees in a projected CRS, metres in a geographic one, and places that are none.

    Args:
        crs: the CRS that the file states.
        corners: (n, 2) x and y of the raster's corners.
        pixel: side of a pixel, in units of the CRS.
        path: the file.

    Raises:
        InputRefused: naming the coordinates.
    """
    largest, (x, y) = np.abs(corners).max(0), corners.mean(0)
    file, name, code = shlex.quote(str(path)), crs_name(crs), "EPSG:CODE"
    if crs.is_geographic:
        turn = 2 * math.pi / float(crs.units_factor[1])
        wrong = largest[0] > 1.01 * turn or largest[1] > 1.01 * turn / 4
        fact = "are no longitude and latitude"
    elif crs.is_projected:
        small = pixel * _linear_unit(crs) < _SMALLEST_PIXEL_M
        degrees = small and largest[0] <= 360 and largest[1] <= 90
        wrong = degrees or not np.isfinite(_lon_lat(crs, [x], [y])).all()
        code = "EPSG:4326" if degrees else code
        fact = f"with pixels of {pixel:.3g} are degrees" if degrees else "lie outside its range"
    else:
        return
    if wrong:
        raise InputRefused(
            f"its CRS is {name}, but its coordinates about x {x:.10g}, y {y:.10g} {fact}",
            path=path,
            remedy=f"write the true CRS into the file: rio edit-info --crs {code} {file}",
        )


def _linear_unit(crs: CRS) -> float:
    """Metres of its unit of length."""
    return float(crs.units_factor[1])


def _lon_lat(crs: CRS, x: Sequence[float], y: Sequence[float]) -> FloatArray:
    """Longitudes and latitudes (2, n) in degrees of places; infinite where there are none."""
    try:
        return np.array(transform(crs, CRS.from_wkt(WGS84), x, y)[:2])
    except (*GDAL_ERRORS, CRSError):
        return np.full((2, len(x)), np.inf)
