"""The STF (spectral transformation function) as a labelled dataset, and its files.

Nothing here estimates an STF.
"""

from uavssr.io.stf.dataset import (
    QUANTITIES,
    ReferencePixels,
    StfEstimate,
    estimate_of,
    reference_pixels_of,
    scene_estimate,
    stf_dataset,
    with_reference_pixels,
)
from uavssr.io.stf.files import read_stf, stf_path, tiles_path, write_stf, write_tiles

__all__ = [
    "QUANTITIES",
    "ReferencePixels",
    "StfEstimate",
    "estimate_of",
    "read_stf",
    "reference_pixels_of",
    "scene_estimate",
    "stf_dataset",
    "stf_path",
    "tiles_path",
    "with_reference_pixels",
    "write_stf",
    "write_tiles",
]
