"""Properties of an open raster of any kind: place, metadata, scale, valid pixels, stored numbers.

Nothing here knows cameras (`msi`) or wavelength grids (`hsi`).
"""

from uavssr.io.raster.array_place import array_place
from uavssr.io.raster.band_facts import BandFacts, band_facts
from uavssr.io.raster.band_metadata import (
    BandMetadata,
    nanometres,
    opened_metadata,
    read_band_metadata,
    read_tags,
    wavelength_unit,
)
from uavssr.io.raster.ground import WGS84, crs_name, is_local, metres_per_unit, unit_metres
from uavssr.io.raster.judged_sample import JudgedSample, judge_sample
from uavssr.io.raster.nodata import ValidityRule
from uavssr.io.raster.option_needed import OptionNeeded
from uavssr.io.raster.pixels import read_pixels
from uavssr.io.raster.place import (
    SAME_GRID,
    Place,
    Transform,
    check_aligned,
    check_same_grid,
    coordinates,
    is_rotated,
    make_place,
    on_same_grid,
    read_place,
)
from uavssr.io.raster.reader import BandReader, FileBands
from uavssr.io.raster.sample import ValueSample, WindowReader, sample_values
from uavssr.io.raster.scale import (
    MIN_BRIGHTEST,
    Scale,
    ScaleEvidence,
    parse_scale,
)
from uavssr.io.raster.scale_candidates import MIXED, raw_counts_hint

__all__ = [
    "MIN_BRIGHTEST",
    "MIXED",
    "SAME_GRID",
    "WGS84",
    "BandFacts",
    "BandMetadata",
    "BandReader",
    "FileBands",
    "JudgedSample",
    "OptionNeeded",
    "Place",
    "Scale",
    "ScaleEvidence",
    "Transform",
    "ValidityRule",
    "ValueSample",
    "WindowReader",
    "array_place",
    "band_facts",
    "check_aligned",
    "check_same_grid",
    "coordinates",
    "crs_name",
    "is_local",
    "is_rotated",
    "judge_sample",
    "make_place",
    "metres_per_unit",
    "nanometres",
    "on_same_grid",
    "opened_metadata",
    "parse_scale",
    "raw_counts_hint",
    "read_band_metadata",
    "read_pixels",
    "read_place",
    "read_tags",
    "sample_values",
    "unit_metres",
    "wavelength_unit",
]
