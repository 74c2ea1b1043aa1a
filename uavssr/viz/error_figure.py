"""Errors of predictions against a reference: by wavelength, as a scatter plot, and as a map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from uavssr.io.checks import PathLike
from uavssr.sensors import Float32Array, FloatArray
from uavssr.viz.figures import dress_axes, png_figure, wavelength_colours
from uavssr.viz.map_figure import ERROR_COLOURS, value_range

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_PANELS: Final = 4
"""Most predictions of a figure."""
_OWN, _OTHER = "#0072b2", "#b0b0b0"


class ErrorPanel(NamedTuple):
    """A prediction in the figure."""

    title: str
    """Its name."""
    nm: FloatArray
    """(B,) wavelengths in nm."""
    rmse: FloatArray
    """(B,) RMSE, in reflectance."""
    scatter: Float32Array
    """(2, s, n) predictions and references at s wavelengths."""
    scatter_nm: tuple[float, ...]
    """Those wavelengths in nm."""
    map: Float32Array
    """(y, x) RMSE over all bands; NaN where there is none."""


def draw_errors(
    panels: Sequence[ErrorPanel],
    png_path: PathLike,
    *,
    title: str,
    overwrite: bool = False,
    inputs: Sequence[Path] = (),
) -> Path:
    """Draw a row for each of the first four predictions; their maps share one scale.

    Raises:
        OutputError: something stands in the way of the figure.
    """
    shown = panels[:MAX_PANELS]
    limits = value_range(np.concatenate([panel.map.ravel() for panel in shown]), is_error=True)
    size = (12.0, 3.6 * len(shown) + 0.3)
    with png_figure(png_path, size, overwrite=overwrite, inputs=inputs) as figure:
        grid = figure.subplots(len(shown), 3, squeeze=False)
        for row, panel in zip(grid, shown, strict=True):
            _draw_curves(row[0], panel, shown)
            _draw_scatter(row[1], panel)
            _draw_map(figure, row[2], panel, limits)
        figure.suptitle(title, x=0.008, ha="left", fontsize=11, parse_math=False)
    return Path(png_path)


def _draw_curves(axes: Axes, panel: ErrorPanel, others: Sequence[ErrorPanel]) -> None:
    for other in others:
        axes.plot(other.nm, other.rmse, color=_OTHER, lw=1.0)
    axes.plot(panel.nm, panel.rmse, color=_OWN, lw=1.6)
    axes.set(xlabel="Wavelength (nm)", ylabel="RMSE (reflectance)", ylim=(0, None))
    dress_axes(axes, panel.title)


def _draw_scatter(axes: Axes, panel: ErrorPanel) -> None:
    estimate, reference = panel.scatter
    colours = wavelength_colours(np.array(panel.scatter_nm))
    for p, r, nm, colour in zip(estimate, reference, panel.scatter_nm, colours, strict=True):
        axes.plot(r, p, ".", ms=1.6, color=colour, alpha=0.5, label=f"{nm:.0f} nm", rasterized=True)
    ends = [float(panel.scatter.min()), float(panel.scatter.max())]
    axes.plot(ends, ends, color="k", lw=0.8)
    axes.set(xlabel="Reference", ylabel="Prediction", aspect="equal")
    axes.legend(fontsize=8, markerscale=5, frameon=False, handletextpad=0.2)
    dress_axes(axes, "Reflectance")


def _draw_map(figure: Figure, axes: Axes, panel: ErrorPanel, limits: tuple[float, float]) -> None:
    image = axes.imshow(panel.map, cmap=ERROR_COLOURS, vmin=limits[0], vmax=limits[1])
    bar = figure.colorbar(image, ax=axes, shrink=0.85, pad=0.02)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    dress_axes(axes, "RMSE over all bands")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
