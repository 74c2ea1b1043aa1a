"""The QGIS style of an image of a camera: its red, green and blue as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from rasterio.enums import ColorInterp

from uavssr.io.checks import check_raster
from uavssr.io.raster import opened_metadata
from uavssr.io.writers.ownership import Replaceable
from uavssr.io.writers.qgis_style import write_colour_style

_LONGEST_SIDE: Final = 1000
"""Most pixels of the longest side of the image by which the colours are stretched."""
_SHOWN: Final = (2.0, 98.0)
"""Percentiles of a band that are shown dark and bright."""


def write_image_style(
    style: Path, image: Path, *, overwrite: Replaceable = False, inputs: Sequence[Path] = ()
) -> Path | None:
    """Write a style that shows the bands of an image that are tagged as red, green and blue.

    QGIS 3.22 ignores these tags and shows the first three bands.

    Returns:
        The style, None where a colour is missing or the image holds no valid pixel.

    Raises:
        InputRefused: the image cannot be read.
        OutputError: something stands in the way of the style.
    """
    checked = check_raster(image)
    with opened_metadata(checked) as dataset:
        tagged = list(dataset.colorinterp)
        colours = ColorInterp.red, ColorInterp.green, ColorInterp.blue
        if not set(colours) <= set(tagged):
            return None
        red, green, blue = (tagged.index(colour) + 1 for colour in colours)
        step = max(1, -(-max(dataset.shape) // _LONGEST_SIDE))
        size = -(-dataset.height // step), -(-dataset.width // step)
        numbers = dataset.read((red, green, blue), out_shape=(3, *size), masked=True)
        scaled = [
            band.compressed() * dataset.scales[k - 1] + dataset.offsets[k - 1]
            for band, k in zip(numbers, (red, green, blue), strict=True)
        ]
    if not all(values.size for values in scaled):
        return None
    ends = (np.percentile(values, _SHOWN).tolist() for values in scaled)
    limits = [(low, high) for low, high in ends]
    return write_colour_style(
        style, (red, green, blue), limits, overwrite=overwrite, inputs=[*inputs, image]
    )
