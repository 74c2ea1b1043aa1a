"""The bands of a cube or an image that are shown as red, green and blue, and their range."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from rasterio.enums import ColorInterp

from uavssr.io.checks import check_raster
from uavssr.io.hsi import open_product
from uavssr.io.raster import opened_metadata
from uavssr.io.writers.metadata import true_colour
from uavssr.sensors import Float32Array

_LONGEST_SIDE: Final = 1000
"""Most pixels of the longest side of the image by which the colours are stretched."""
_SHOWN: Final = (2.0, 98.0)
"""Percentiles of a band that are shown dark and bright."""


class TrueColour(NamedTuple):
    """Three bands as red, green and blue."""

    bands: tuple[int, int, int]
    """Their numbers from 1."""
    limits: tuple[tuple[float, float], ...]
    """For each of them the reflectance that is shown dark and bright."""

    @classmethod
    def of_cube(cls, path: Path) -> TrueColour | None:
        """Those of a cube that uavssr wrote; None without such bands, or without a valid pixel.

        Raises:
            InputRefused: the cube cannot be read.
        """
        cube = open_product(path)
        shown = true_colour(cube.grid)
        if shown is None:
            return None
        red, green, blue = (k + 1 for k in shown)
        return _stretched(
            (red, green, blue), cube.decimated(shown, _reduced(cube.height, cube.width))
        )

    @classmethod
    def of_image(cls, path: Path) -> TrueColour | None:
        """Those that an image is tagged with; None without such bands, or without a valid pixel.

        Raises:
            InputRefused: the image cannot be read.
        """
        with opened_metadata(check_raster(path)) as dataset:
            tagged = list(dataset.colorinterp)
            colours = ColorInterp.red, ColorInterp.green, ColorInterp.blue
            if not set(colours) <= set(tagged):
                return None
            red, green, blue = (tagged.index(colour) + 1 for colour in colours)
            size = _reduced(dataset.height, dataset.width)
            numbers = dataset.read((red, green, blue), out_shape=(3, *size), masked=True)
            scales, offsets = (
                np.array([values[k - 1] for k in (red, green, blue)])[:, None, None]
                for values in (dataset.scales, dataset.offsets)
            )
        return _stretched((red, green, blue), np.ma.filled(numbers * scales + offsets, np.nan))


def _reduced(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of a preview."""
    factor = max(1, max(height, width) / _LONGEST_SIDE)
    return max(1, round(height / factor)), max(1, round(width / factor))


def _stretched(bands: tuple[int, int, int], colours: Float32Array) -> TrueColour | None:
    """The bands with the percentiles of their colours (3, y, x), NaN where there is none."""
    pixels = colours.reshape(3, -1)
    pixels = pixels[:, np.isfinite(pixels).all(0)]
    if not pixels.size:
        return None
    ends = np.percentile(pixels, _SHOWN, axis=1).T
    return TrueColour(bands=bands, limits=tuple((low, high) for low, high in ends.tolist()))
