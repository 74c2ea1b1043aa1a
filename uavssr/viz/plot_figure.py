"""A figure of plots: a map coloured by the first index, and all indices with error bars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from uavssr.io.checks import PathLike
from uavssr.sensors import FloatArray
from uavssr.viz.figures import NINETY, draw_scale_bar, dress_axes, png_figure
from uavssr.viz.map_figure import VALUE_COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize

MOST_NAMED: Final = 60
"""Most plots that are drawn with their names; more are sorted by the first index."""
_VALUE_COLOUR, _COMPARE_COLOUR = "#9fb8d8", "#1f4fd8"


class PlotPanel(NamedTuple):
    """An index over n plots."""

    title: str
    """Its name."""
    mean: FloatArray
    """(n,), NaN where it is undefined."""
    value_se: FloatArray
    """(n,) standard errors of the values, NaN where not known."""
    compare_se: FloatArray
    """(n,) standard errors for comparing the plots."""


class PlotOutline(NamedTuple):
    """A plot on the map."""

    name: str
    """Its identifier."""
    rings: Sequence[FloatArray]
    """Outer rings (k, 2) of its polygons, columns and rows of the image."""


def draw_plots(
    outlines: Sequence[PlotOutline],
    panels: Sequence[PlotPanel],
    png_path: PathLike,
    *,
    title: str,
    metres: float,
    overwrite: bool = False,
    inputs: Sequence[Path] = (),
) -> Path:
    """Draw plots as a map, and their indices with 90 % intervals.

    Args:
        outlines: the n plots.
        panels: the indices; the first colours the map.
        png_path: the figure.
        title: above all.
        metres: per pixel of the image.
        overwrite: replace a figure that exists.
        inputs: files that the figure may not replace.

    Raises:
        OutputError: something stands in the way of the figure.
    """
    named = len(outlines) <= MOST_NAMED
    order = np.arange(len(outlines)) if named else np.argsort(panels[0].mean)
    height = min(max(0.19 * len(outlines) + 1.4, 4.0), 0.19 * MOST_NAMED + 1.4)
    with png_figure(
        png_path, (5.2 + 2.5 * len(panels), height), overwrite=overwrite, inputs=inputs
    ) as figure:
        axes = figure.subplots(
            1, 1 + len(panels), squeeze=False, width_ratios=(2, *[1] * len(panels))
        )[0]
        _draw_map(axes[0], outlines, panels[0], metres, named=named)
        for number, (axis, panel) in enumerate(zip(axes[1:], panels, strict=True)):
            _draw_intervals(axis, panel, order)
            names = [outlines[i].name for i in order] if named and not number else []
            axis.set_yticks(np.arange(len(names)), names, fontsize=7.5, parse_math=False)
        handles, labels = axes[1].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower right", fontsize=8, frameon=False, ncols=3
        )
        figure.suptitle(title, x=0.008, ha="left", fontsize=11, parse_math=False)
    return Path(png_path)


def _draw_map(
    axes: Axes, outlines: Sequence[PlotOutline], panel: PlotPanel, metres: float, *, named: bool
) -> None:
    """The plots in the colours of an index; those where it is undefined are grey."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    finite = panel.mean[np.isfinite(panel.mean)]
    norm = Normalize(*((finite.min(), finite.max()) if len(finite) else (0.0, 1.0)))
    colours = colormaps[VALUE_COLOURS]
    for outline, mean in zip(outlines, panel.mean, strict=True):
        colour = _colour(colours, norm, mean)
        for ring in outline.rings:
            axes.fill(*ring.T, facecolor=colour, edgecolor="#404040", lw=0.5)
        if named:
            _write_name(axes, outline, colour)
    dress_axes(axes, panel.title)
    axes.set(aspect="equal", xticks=[], yticks=[])
    axes.invert_yaxis()
    axes.grid(visible=False)
    left, right = axes.get_xlim()
    draw_scale_bar(axes, metres, int(right - left))
    bar = axes.figure.colorbar(ScalarMappable(norm, colours), ax=axes, shrink=0.7, pad=0.02)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)


def _colour(colours: Colormap, norm: Normalize, value: float) -> tuple[float, ...]:
    return colours(norm(value)) if np.isfinite(value) else (0.8, 0.8, 0.8, 1.0)


def _write_name(axes: Axes, outline: PlotOutline, colour: tuple[float, ...]) -> None:
    """The name in the middle of a plot, dark on light colours and light on dark ones."""
    ring = max(outline.rings, key=lambda points: float(np.ptp(points, 0).prod()))
    x, y = (ring.min(0) + ring.max(0)) / 2
    ink = "black" if np.dot(colour[:3], (0.3, 0.6, 0.1)) > 0.5 else "white"
    axes.text(x, y, outline.name, ha="center", va="center", fontsize=6, color=ink, parse_math=False)


def _draw_intervals(axes: Axes, panel: PlotPanel, order: npt.NDArray[np.int64]) -> None:
    places = np.arange(len(order))
    mean, value_se, compare_se = (part[order] for part in panel[1:])
    bars = (
        (value_se, _VALUE_COLOUR, 5.0, "90 % interval of the value"),
        (compare_se, _COMPARE_COLOUR, 1.6, "90 % interval for comparing plots"),
    )
    for error, colour, width, label in bars:
        if np.isfinite(error).any():
            axes.errorbar(
                mean, places, xerr=NINETY * error, fmt="none", ecolor=colour, lw=width, label=label
            )
    axes.plot(mean, places, "o", ms=3.5, color="black", label="mean of the plot")
    dress_axes(axes, panel.title)
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.set_yticks([])
