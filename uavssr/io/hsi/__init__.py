"""Hyperspectral cubes in: GeoTIFF, ENVI, Zarr and coefficient files, also on another grid.

Nothing here writes.
"""

from uavssr.io.hsi.coefficient_file import CoefficientSource, open_coefficients, tells_coefficients
from uavssr.io.hsi.cube import TILE, CubeSource, open_cube
from uavssr.io.hsi.cube_view import CubeView, view_cube
from uavssr.io.hsi.spectral_basis import CoefficientMetadata, CubeBasis
from uavssr.io.hsi.warp import FINER, TargetGrid, WarpedCube, applied, matrix, reprojected

__all__ = [
    "FINER",
    "TILE",
    "CoefficientMetadata",
    "CoefficientSource",
    "CubeBasis",
    "CubeSource",
    "CubeView",
    "TargetGrid",
    "WarpedCube",
    "applied",
    "matrix",
    "open_coefficients",
    "open_cube",
    "reprojected",
    "tells_coefficients",
    "view_cube",
]
