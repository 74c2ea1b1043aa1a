"""Answers from images and cubes in Python: on paths, opened images, datasets and arrays alike.

Nothing here computes: it opens what it is given and labels the results.
"""

from uavssr.api.accessor import CubeAccessor
from uavssr.api.answers import convert, index, plots
from uavssr.api.inputs import Spectra, SpectraKeywords, spectra_of
from uavssr.io.cube_dataset import open_cube

__all__ = [
    "CubeAccessor",
    "Spectra",
    "SpectraKeywords",
    "convert",
    "index",
    "open_cube",
    "plots",
    "spectra_of",
]
