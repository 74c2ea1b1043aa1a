"""Spectral libraries, tables of field spectra and of plots, resampling and completion of spectra.

Nothing here simulates scenes or trains: see `data` and `training`.
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
from uavssr.spectra.plot_table import PlotTable, holds_plots, read_plot_table
from uavssr.spectra.sources import MeasuredSpectra, open_spectra

__all__ = [
    "FIELD_REFLECTANCE",
    "MAX_MISSING_NM",
    "FieldTable",
    "MeasuredSpectra",
    "PlotTable",
    "SpectralLibrary",
    "StrArray",
    "SubspaceCompletion",
    "concatenate",
    "holds_plots",
    "load_library",
    "open_spectra",
    "read_field_table",
    "read_plot_table",
    "resample",
]
