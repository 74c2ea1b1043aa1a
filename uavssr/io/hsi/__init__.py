"""Hyperspectral cubes in: GeoTIFF, ENVI, Zarr and coefficient files, also on another grid.

Nothing here writes.
"""

from uavssr.io.hsi.coefficient_file import CoefficientSource, is_coefficient_file, open_coefficients
from uavssr.io.hsi.cube import TILE, CubeSource, open_cube
from uavssr.io.hsi.cube_view import CubeView, view_cube
from uavssr.io.hsi.geometry import map_to_pixel, pixel_to_map, reproject_points
from uavssr.io.hsi.spectral_basis import CoefficientMetadata, CubeBasis
from uavssr.io.hsi.warp import AVERAGING_RATIO, TargetGrid, WarpedCube

__all__ = [
    "AVERAGING_RATIO",
    "TILE",
    "CoefficientMetadata",
    "CoefficientSource",
    "CubeBasis",
    "CubeSource",
    "CubeView",
    "TargetGrid",
    "WarpedCube",
    "is_coefficient_file",
    "map_to_pixel",
    "open_coefficients",
    "open_cube",
    "pixel_to_map",
    "reproject_points",
    "view_cube",
]
