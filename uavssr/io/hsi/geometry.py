"""Coordinates of points: from pixels to a CRS and back, and from one CRS to another.

Points are arrays (n, 2): (column, row) counted from the outer corner of the first pixel, or (x, y).
"""

from __future__ import annotations

import numpy as np
import rasterio.warp
from rasterio.crs import CRS
from rasterio.errors import CRSError

from uavssr.errors import InputRefused
from uavssr.io.checks import GDAL_ERRORS
from uavssr.io.raster import Transform
from uavssr.sensors import FloatArray


def pixel_to_map(transform: Transform, points: FloatArray) -> FloatArray:
    """Map coordinates (n, 2) of points (n, 2) given as (column, row)."""
    return _apply(_matrix(transform), points)


def map_to_pixel(transform: Transform, points: FloatArray) -> FloatArray:
    """(column, row) of points (n, 2) given in map coordinates."""
    return _apply(np.asarray(np.linalg.inv(_matrix(transform)), float), points)


def reproject_points(points: FloatArray, source_wkt: str, target_wkt: str) -> FloatArray:
    """Points (n, 2) of one CRS in another; infinite where they have no coordinates there.

    Raises:
        InputRefused: PROJ knows no transformation between the two.
    """
    if source_wkt == target_wkt:
        return points
    try:
        source, target = CRS.from_wkt(source_wkt), CRS.from_wkt(target_wkt)
        x, y = rasterio.warp.transform(source, target, *points.T.tolist())[:2]
    except (*GDAL_ERRORS, CRSError) as err:
        raise InputRefused(
            f"no way from one CRS to the other: {err}",
            remedy="check the coordinates: are longitude and latitude swapped?",
        ) from err
    return np.stack([x, y], axis=1)


def _matrix(transform: Transform) -> FloatArray:
    """A geotransform as a matrix (3, 3) from (column, row, 1) to (x, y, 1)."""
    return np.array([transform[:3], transform[3:], (0.0, 0.0, 1.0)])


def _apply(matrix: FloatArray, points: FloatArray) -> FloatArray:
    # (x, y) = A (column, row) + b
    return points @ matrix[:2, :2].T + matrix[:2, 2]
