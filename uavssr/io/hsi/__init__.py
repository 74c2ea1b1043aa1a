"""Hyperspectral cubes in: GeoTIFF, ENVI, Zarr and coefficient files, also on another grid.

Nothing here writes.
"""

from uavssr.io.hsi.array_cube import cube_of_array
from uavssr.io.hsi.coefficient_file import (
    CoefficientSource,
    is_coefficient_file,
    open_coefficients,
)
from uavssr.io.hsi.cube import (
    QUANTITY_TAG,
    READ_TILE,
    STANDARD_ERROR,
    CubeSource,
    open_cube_source,
    open_product,
    product_tags,
)
from uavssr.io.hsi.cube_basis import CoefficientMetadata, CubeBasis
from uavssr.io.hsi.map_file import MapFile, MapPlace
from uavssr.io.hsi.warp import (
    AVERAGING_RATIO,
    TargetGrid,
    WarpedCube,
    map_to_pixel,
    pixel_to_map,
    reproject_points,
    window_around,
    window_outline,
)

__all__ = [
    "AVERAGING_RATIO",
    "QUANTITY_TAG",
    "READ_TILE",
    "STANDARD_ERROR",
    "CoefficientMetadata",
    "CoefficientSource",
    "CubeBasis",
    "CubeSource",
    "MapFile",
    "MapPlace",
    "TargetGrid",
    "WarpedCube",
    "cube_of_array",
    "is_coefficient_file",
    "map_to_pixel",
    "open_coefficients",
    "open_cube_source",
    "open_product",
    "pixel_to_map",
    "product_tags",
    "reproject_points",
    "window_around",
    "window_outline",
]
