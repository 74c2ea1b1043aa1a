"""A figure of maps: each with its colour bar, one scale bar for all."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from uavssr.io.checks import PathLike
from uavssr.sensors import Float32Array
from uavssr.viz.figures import draw_scale_bar, dress_axes, png_figure

VALUE_COLOURS: Final = "viridis"
"""Colour map of values: even in lightness, and readable by the colour-blind."""
ERROR_COLOURS: Final = "magma_r"
"""Colour map of standard errors: darker is less sure."""
CHANGE_COLOUR_MAP: Final = "BrBG"
"""Colour map of changes: brown is less, readable by the colour-blind."""
MOST_COLUMNS: Final = 4
"""Most maps beside each other."""
SHOWN_PERCENTILES: Final = (2.0, 98.0)
"""Percentiles of the values at the ends of the colours."""


class MapPanel(NamedTuple):
    """A map of a figure."""

    title: str
    """Its title."""
    values: Float32Array
    """(y, x), NaN where there is no value."""
    is_error: bool
    """Whether it is one of standard errors, whose colours begin at zero."""
    limits: tuple[float, float] | None = None
    """Values at the ends of the colours; by default percentiles."""
    colours: str | None = None
    """Colour map; by default that of values or of standard errors."""


def value_range(values: Float32Array, *, is_error: bool) -> tuple[float, float]:
    """The values at the ends of the colours; 0 and 1 where a map has no value."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, SHOWN_PERCENTILES).tolist()
    low = 0.0 if is_error else low
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def draw_maps(
    panels: Sequence[MapPanel],
    png_path: PathLike,
    *,
    title: str,
    metres: float | None = None,
    overwrite: bool = False,
    inputs: Sequence[Path] = (),
) -> Path:
    """Draw maps of one image in rows of up to four, each standard error below its value.

    Args:
        panels: the maps, all of one size.
        png_path: the figure.
        title: above all maps.
        metres: per pixel of the maps, for a scale bar; None: no bar.
        overwrite: replace a figure that exists.
        inputs: files that the figure may not replace.

    Raises:
        OutputError: something stands in the way of the figure.
    """
    height, width = panels[0].values.shape
    layout = _layout(panels)
    rows, columns = len(layout), len(layout[0])
    size = (3.4 * columns + 0.4, rows * min(max(3.0 * height / width + 0.7, 1.6), 6.0) + 0.4)
    with png_figure(png_path, size, overwrite=overwrite, inputs=inputs) as figure:
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, panel in zip(grid.flat, itertools.chain(*layout), strict=True):
            if panel is None:
                axes.set_axis_off()
                continue
            low, high = panel.limits or value_range(panel.values, is_error=panel.is_error)
            colours = panel.colours or (ERROR_COLOURS if panel.is_error else VALUE_COLOURS)
            image = axes.imshow(panel.values, cmap=colours, vmin=low, vmax=high)
            bar = figure.colorbar(image, ax=axes, shrink=0.85, pad=0.02)
            bar.ax.tick_params(labelsize=8)
            bar.outline.set_visible(False)
            dress_axes(axes, panel.title)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.grid(visible=False)
        if metres is not None:
            draw_scale_bar(grid[0, 0], metres, width)
        figure.suptitle(title, x=0.008, ha="left", fontsize=11, parse_math=False)
    return Path(png_path)


def _layout(panels: Sequence[MapPanel]) -> list[list[MapPanel | None]]:
    """The maps in rows of up to four; a row of values is followed by one of their errors."""
    kinds = [[panel for panel in panels if panel.is_error is kind] for kind in (False, True)]
    columns = min(max(len(kind) for kind in kinds), MOST_COLUMNS)
    rows: list[list[MapPanel | None]] = []
    for first in range(0, max(len(kind) for kind in kinds), columns):
        for kind in kinds:
            part: list[MapPanel | None] = [*kind[first : first + columns]]
            if part:
                rows.append(part + [None] * (columns - len(part)))
    return rows
