"""What an opened raster says of itself, whatever it shows: place, tags, scale, nodata.

Nothing here knows cameras (`msi`) or wavelengths (`hsi`).
"""

from uavssr.io.raster.band_metadata import BandMetadata, nanometres, read_band_metadata, read_tags
from uavssr.io.raster.georeference import WGS84, Transform, coordinates, metres_per_unit
from uavssr.io.raster.nodata import ValidityRule
from uavssr.io.raster.place import (
    SAME_GRID,
    Place,
    check_aligned,
    check_same_grid,
    make_place,
    read_place,
)
from uavssr.io.raster.reader import BandReader, FileBands
from uavssr.io.raster.request import Request
from uavssr.io.raster.scale import Quantiles, Scale, parse_scale, resolve_cube_scale, resolve_scale

__all__ = [
    "SAME_GRID",
    "WGS84",
    "BandMetadata",
    "BandReader",
    "FileBands",
    "Place",
    "Quantiles",
    "Request",
    "Scale",
    "Transform",
    "ValidityRule",
    "check_aligned",
    "check_same_grid",
    "coordinates",
    "make_place",
    "metres_per_unit",
    "nanometres",
    "parse_scale",
    "read_band_metadata",
    "read_place",
    "read_tags",
    "resolve_cube_scale",
    "resolve_scale",
]
