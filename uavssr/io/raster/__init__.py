"""What an opened raster says of itself, whatever it shows: place, tags, scale, nodata.

Nothing here knows cameras (`msi`) or wavelengths (`hsi`).
"""

from uavssr.io.raster.band_facts import BandFacts, nanometres, read_band_facts, read_tags
from uavssr.io.raster.georeference import WGS84, Transform, coordinates, metres_per_unit
from uavssr.io.raster.nodata import ValidityRule
from uavssr.io.raster.place import (
    SAME_GRID,
    Affine6,
    Place,
    check_aligned,
    check_same_grid,
    make_place,
    read_place,
)
from uavssr.io.raster.reader import BandReader, FileBands
from uavssr.io.raster.request import Request
from uavssr.io.raster.scale import Scale, Spread, parse_scale, resolve_cube_scale, resolve_scale

__all__ = [
    "SAME_GRID",
    "WGS84",
    "Affine6",
    "BandFacts",
    "BandReader",
    "FileBands",
    "Place",
    "Request",
    "Scale",
    "Spread",
    "Transform",
    "ValidityRule",
    "check_aligned",
    "check_same_grid",
    "coordinates",
    "make_place",
    "metres_per_unit",
    "nanometres",
    "parse_scale",
    "read_band_facts",
    "read_place",
    "read_tags",
    "resolve_cube_scale",
    "resolve_scale",
]
