"""Spectral libraries and tables of field spectra, and their resampling and completion.

No torch, no training: what is made of spectra lives in `data` and `training`.
"""

from uavssr.spectra.completion import SubspaceCompletion
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

__all__ = [
    "FIELD_REFLECTANCE",
    "MAX_MISSING_NM",
    "FieldTable",
    "MeasuredSpectra",
    "SpectralLibrary",
    "StrArray",
    "SubspaceCompletion",
    "concatenate",
    "load_library",
    "open_spectra",
    "read_field_table",
    "resample",
]
