"""QGIS styles of a run's files: true colour of the cube, names and colours of the quality flags."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from uavssr.io.writers import (
    Quality,
    Replaceable,
    TrueColour,
    write_category_style,
    write_colour_style,
)
from uavssr.reconstruction.options import OutputOptions


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
    colours = TrueColour.of_cube(Path(output.cube))
    if colours is not None:
        write_colour_style(output.cube_style, colours, overwrite=overwrite, inputs=inputs)
