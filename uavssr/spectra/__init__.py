"""Spectral libraries and tables of field spectra, and their resampling and completion.

No torch, no training: what is made of spectra lives in `data` and `training`.
"""

from uavssr.spectra.completion import SubspaceCompletion, load_cube, read_cube
from uavssr.spectra.field_table import FIELD_REFLECTANCE, FieldTable, read_field_table
from uavssr.spectra.library import (
    MAX_MISSING_NM,
    SpectralLibrary,
    StrArray,
    concatenate,
    load_library,
    resample,
)
from uavssr.spectra.sources import MeasuredSpectra, open_spectra
from uavssr.spectra.synthetic import manmade_spectra, water_spectra

__all__ = [
    "FIELD_REFLECTANCE",
    "MAX_MISSING_NM",
    "FieldTable",
    "MeasuredSpectra",
    "SpectralLibrary",
    "StrArray",
    "SubspaceCompletion",
    "concatenate",
    "load_cube",
    "load_library",
    "manmade_spectra",
    "open_spectra",
    "read_cube",
    "read_field_table",
    "resample",
    "water_spectra",
]
