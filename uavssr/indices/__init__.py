"""Spectral indices: the table, formulas with their gradient, and how far each may be trusted.

No files but indices.yaml and the trust table of a model; cubes are read in `io`.
"""

from uavssr.indices.formula import BROAD_BANDS, FUNCTIONS, Formula, wavelength_of
from uavssr.indices.index import SpectralIndex, find_index, load_indices
from uavssr.indices.terms import (
    MAX_BAND_STEP_NM,
    camera_term_weights,
    formula_variance,
    term_range,
    term_weights,
)
from uavssr.indices.trust import (
    CARRIED_RANK,
    PARTLY_RANK,
    TRUST_COLUMNS,
    TRUST_FILE,
    TRUST_FORMAT,
    Ground,
    Knowledge,
    Trust,
    TrustTable,
    ground_of,
    load_trust,
)

__all__ = [
    "BROAD_BANDS",
    "CARRIED_RANK",
    "FUNCTIONS",
    "MAX_BAND_STEP_NM",
    "PARTLY_RANK",
    "TRUST_COLUMNS",
    "TRUST_FILE",
    "TRUST_FORMAT",
    "Formula",
    "Ground",
    "Knowledge",
    "SpectralIndex",
    "Trust",
    "TrustTable",
    "camera_term_weights",
    "find_index",
    "formula_variance",
    "ground_of",
    "load_indices",
    "load_trust",
    "term_range",
    "term_weights",
    "wavelength_of",
]
