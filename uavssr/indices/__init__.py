"""Spectral indices: the table, formulas with their gradient, and how far each may be trusted.

No files but indices.yaml and the trust table of a model; cubes are read in `io`.
"""

from uavssr.indices.formula import BROAD_BANDS, FUNCTIONS, Formula, wavelength_of
from uavssr.indices.index import SpectralIndex, find_index, load_indices
from uavssr.indices.terms import MAX_BAND_STEP_NM, formula_variance, term_range, term_weights

__all__ = [
    "BROAD_BANDS",
    "FUNCTIONS",
    "MAX_BAND_STEP_NM",
    "Formula",
    "SpectralIndex",
    "find_index",
    "formula_variance",
    "load_indices",
    "term_range",
    "term_weights",
    "wavelength_of",
]
