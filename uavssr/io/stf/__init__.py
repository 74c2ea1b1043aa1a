"""The STF (spectral transformation function) as a labelled dataset, and its files.

Nothing here estimates an STF.
"""

from uavssr.io.stf.classes import ClassDifference, ClassStfs, with_class_stfs
from uavssr.io.stf.dataset import (
    QUANTITIES,
    ReferencePixels,
    StfArrays,
    StfEstimate,
    estimate_of,
    reference_pixels_of,
    scene_estimate,
    stf_arrays,
    with_reference_pixels,
)
from uavssr.io.stf.files import read_stf, stf_has_grid, stf_path, tiles_path, write_stf, write_tiles
from uavssr.io.stf.learned import LearnedShares, with_learned_shares

__all__ = [
    "QUANTITIES",
    "ClassDifference",
    "ClassStfs",
    "LearnedShares",
    "ReferencePixels",
    "StfArrays",
    "StfEstimate",
    "estimate_of",
    "read_stf",
    "reference_pixels_of",
    "scene_estimate",
    "stf_arrays",
    "stf_has_grid",
    "stf_path",
    "tiles_path",
    "with_class_stfs",
    "with_learned_shares",
    "with_reference_pixels",
    "write_stf",
    "write_tiles",
]
