"""Answers from spectra: maps of indices with their standard errors, from an image or a cube.

Formulas are in `indices`; nothing here estimates spectra.
"""

from uavssr.analysis.index_maps import IndexMaps, IndexRequest, write_index_maps
from uavssr.analysis.spectral_source import (
    SpectralSource,
    SpectralTile,
    holds_spectra,
    of_cube,
    of_image,
)

__all__ = [
    "IndexMaps",
    "IndexRequest",
    "SpectralSource",
    "SpectralTile",
    "holds_spectra",
    "of_cube",
    "of_image",
    "write_index_maps",
]
