"""QGIS styles of a run's files: true colour of the cube, names and colours of the quality flags."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from uavssr.io.hsi import open_product
from uavssr.io.writers import (
    Quality,
    Replaceable,
    true_colour,
    write_category_style,
    write_colour_style,
)
from uavssr.reconstruction.options import OutputOptions

_LONGEST_SIDE: Final = 1000
"""Most pixels of the longest side of the image by which the colours are stretched."""
_SHOWN: Final = (2.0, 98.0)
"""Percentiles of a band that are shown dark and bright."""


def write_styles(
    output: OutputOptions, *, overwrite: Replaceable, inputs: Sequence[Path] = ()
) -> None:
    """Write the styles that go with a finished cube and its flags.

    A cube without bands near red, green and blue, or without a valid pixel, gets none.

    Raises:
        OutputError: something stands in the way of a file.
        InputRefused: the cube cannot be read.
    """
    if output.quality_style is not None:
        categories = Quality.categories()
        write_category_style(output.quality_style, categories, overwrite=overwrite, inputs=inputs)
    if output.cube_style is None:
        return
    cube = open_product(output.cube)
    shown = true_colour(cube.grid)
    if shown is None:
        return
    factor = max(1, max(cube.height, cube.width) / _LONGEST_SIDE)
    size = max(1, round(cube.height / factor)), max(1, round(cube.width / factor))
    colours = cube.decimated(shown, size).reshape(3, -1)
    colours = colours[:, np.isfinite(colours).all(0)]
    if not colours.size:
        return
    # QGIS multiplies stored numbers by the scale in the file: it shows reflectance
    ends = np.percentile(colours, _SHOWN, axis=1).T
    red, green, blue = (band + 1 for band in shown)
    write_colour_style(
        output.cube_style,
        (red, green, blue),
        [(low, high) for low, high in ends.tolist()],
        overwrite=overwrite,
        inputs=inputs,
    )
