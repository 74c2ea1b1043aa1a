"""Properties of an open raster of any kind: place, metadata, scale, valid pixels, stored numbers.

Nothing here knows cameras (`msi`) or wavelength grids (`hsi`).
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
from uavssr.io.raster.scale import Quantiles, Scale, parse_scale
from uavssr.io.raster.scale_evidence import MIN_BRIGHTEST, ScaleEvidence, resolve_cube_scale

__all__ = [
    "MIN_BRIGHTEST",
    "SAME_GRID",
    "WGS84",
    "BandMetadata",
    "BandReader",
    "FileBands",
    "Place",
    "Quantiles",
    "Request",
    "Scale",
    "ScaleEvidence",
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
]
