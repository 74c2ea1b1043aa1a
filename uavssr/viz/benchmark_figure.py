"""Figures of a benchmark: learning curves, spectra, and STFs of methods against the truth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from uavssr.io.checks import PathLike
from uavssr.sensors import Float32Array, FloatArray
from uavssr.viz.figures import dress_axes, png_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS: Final = (
    *("#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8c6d31"),
    *("#7f7f7f", "#b8127e", "#5b2a86", "#3f9b0b", "#9c2a2a", "#00868b"),
)
"""Colours of methods, most of them told apart by the colour-blind (Okabe and Ito)."""
_OWN_COLOUR: Final = "#0072b2"
_TRUE_COLOUR: Final = "#202020"
_DASH: Final = (0, (4, 2))
_COLUMNS: Final = 3


class MethodStyle(NamedTuple):
    """How a method is drawn in all figures."""

    colour: str
    width: float
    """Of its lines, in points."""


class LearningCurve(NamedTuple):
    """The learning curve of a run."""

    method: str
    seconds: FloatArray
    """(n,) processor time of the points."""
    rmse: FloatArray
    """(n,) of the validation patches."""
    flat_from: int | None
    """The point from which on the curve is flat; None: it is still falling at its end."""


class SpectrumPanel(NamedTuple):
    """A pixel's true spectrum and those of methods."""

    title: str
    truth: Float32Array
    """(C,) reflectance."""
    estimates: Mapping[str, Float32Array]
    """(C,) by method."""


class BandPanel(NamedTuple):
    """A band of a camera: its response, true, by the data sheet, and as methods estimate it."""

    title: str
    truth: Float32Array | None
    """(C,) sum 1 for a gain of 1; None where it is unknown."""
    sheet: Float32Array
    estimates: Mapping[str, Float32Array]
    """(C,) by method."""


def method_styles(methods: Sequence[str], ours: str) -> dict[str, MethodStyle]:
    """Styles of methods: ours is wide and blue, the others have colours in their order."""
    others = [name for name in methods if name != ours]
    styles = {name: MethodStyle(_COLOURS[k % len(_COLOURS)], 1.2) for k, name in enumerate(others)}
    styles[ours] = MethodStyle(_OWN_COLOUR, 2.2)
    return {name: styles[name] for name in methods}


def draw_learning_curves(
    panels: Mapping[str, Sequence[LearningCurve]],
    png_path: PathLike,
    *,
    styles: Mapping[str, MethodStyle],
) -> Path:
    """Draw validation RMSE against training time, a panel per title, a line per run.

    A dot is where a curve becomes flat; lines of unconverged methods are dashed.
    """
    size = (6.2 * min(len(panels), 2) + 1.8, 4.2 * math.ceil(len(panels) / 2))
    with png_figure(png_path, size, overwrite=True, inputs=()) as figure:
        grid = figure.subplots(math.ceil(len(panels) / 2), min(len(panels), 2), squeeze=False)
        for axes, (title, curves) in zip(grid.flat, panels.items(), strict=False):
            for curve in curves:
                _draw_curve(axes, curve, styles[curve.method])
            axes.set(xlabel="Training, s of processor time", ylabel="Validation RMSE", yscale="log")
            _log_ticks(axes, curves)
            dress_axes(axes, title)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        drawn = {curve.method for curves in panels.values() for curve in curves}
        _legend(figure, {name: style for name, style in styles.items() if name in drawn})
    return Path(png_path)


def _draw_curve(axes: Axes, curve: LearningCurve, style: MethodStyle) -> None:
    k = curve.flat_from
    line = _DASH if k is None else "-"
    axes.plot(curve.seconds, curve.rmse, color=style.colour, lw=style.width * 0.8, ls=line)
    if k is not None:
        axes.plot(curve.seconds[k], curve.rmse[k], "o", ms=4.5, color=style.colour)


def _log_ticks(axes: Axes, curves: Sequence[LearningCurve]) -> None:
    """Plain numbers on the logarithmic axis; the untrained start may lie above it."""
    later = np.concatenate([curve.rmse[1:] for curve in curves])
    low, high = float(later.min()) * 0.93, float(later.max()) * 1.1
    places = [a * 10.0**b for b in range(-5, 2) for a in (1, 1.5, 2, 3, 4, 5, 7)]
    ticks = [tick for tick in places if low <= tick <= high]
    axes.set_yticks(ticks, [f"{tick:.3g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(low, high)


def draw_compared_spectra(
    panels: Sequence[SpectrumPanel],
    nm: FloatArray,
    png_path: PathLike,
    *,
    title: str,
    styles: Mapping[str, MethodStyle],
) -> Path:
    """Draw pixels' true spectra and the methods' estimates over wavelengths (C,) in nm."""
    columns = min(len(panels), 2)
    rows = math.ceil(len(panels) / columns)
    with png_figure(png_path, (10.5, 3.0 * rows + 0.5), overwrite=True, inputs=()) as figure:
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, panel in zip(grid.flat, panels, strict=False):
            _draw_lines(axes, nm, panel.estimates, styles)
            axes.plot(nm, panel.truth, color=_TRUE_COLOUR, lw=1.6, zorder=6)
            axes.set(xlabel="Wavelength (nm)", ylabel="Reflectance", xlim=(nm[0], nm[-1]))
            dress_axes(axes, panel.title)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        _legend(figure, {"truth": MethodStyle(_TRUE_COLOUR, 1.6)} | _drawn(panels, styles))
        figure.suptitle(title, x=0.008, ha="left", fontsize=11, parse_math=False)
    return Path(png_path)


def draw_compared_stfs(
    panels: Sequence[BandPanel],
    nm: FloatArray,
    png_path: PathLike,
    *,
    title: str,
    styles: Mapping[str, MethodStyle],
) -> Path:
    """Draw each band's true response, data sheet and estimates over wavelengths (C,) in nm."""
    columns = min(len(panels), _COLUMNS)
    rows = math.ceil(len(panels) / columns)
    size = (3.6 * columns + 1.8, 2.9 * rows + 0.5)
    with png_figure(png_path, size, overwrite=True, inputs=()) as figure:
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, panel in zip(grid.flat, panels, strict=False):
            _draw_lines(axes, nm, panel.estimates, styles)
            axes.plot(nm, panel.sheet, color="#707070", lw=1.1, ls=_DASH, zorder=5)
            if panel.truth is not None:
                axes.plot(nm, panel.truth, color=_TRUE_COLOUR, lw=1.6, zorder=6)
            axes.set(xlabel="Wavelength (nm)", ylabel="Response", xlim=_near(panel, nm))
            dress_axes(axes, panel.title)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        known = {"truth": MethodStyle(_TRUE_COLOUR, 1.6)}
        known = known if any(panel.truth is not None for panel in panels) else {}
        sheet = {"data sheet": MethodStyle("#707070", 1.1)}
        _legend(figure, known | sheet | _drawn(panels, styles), dashed=("data sheet",))
        figure.suptitle(title, x=0.008, ha="left", fontsize=11, parse_math=False)
    return Path(png_path)


def _near(panel: BandPanel, nm: FloatArray) -> tuple[float, float]:
    """The wavelengths at which anything responds, and 15 nm around them."""
    curves = [panel.sheet, *([] if panel.truth is None else [panel.truth])]
    curves += [*panel.estimates.values()]
    responds = np.any([np.abs(curve) > 0.02 * np.abs(curve).max() for curve in curves], axis=0)
    inside = nm[responds]
    return max(nm[0], inside[0] - 15), min(nm[-1], inside[-1] + 15)


def _draw_lines(
    axes: Axes,
    nm: FloatArray,
    estimates: Mapping[str, Float32Array],
    styles: Mapping[str, MethodStyle],
) -> None:
    for method, values in estimates.items():
        axes.plot(nm, values, color=styles[method].colour, lw=styles[method].width, alpha=0.9)


def _drawn(
    panels: Sequence[SpectrumPanel] | Sequence[BandPanel], styles: Mapping[str, MethodStyle]
) -> dict[str, MethodStyle]:
    methods = {method for panel in panels for method in panel.estimates}
    return {name: style for name, style in styles.items() if name in methods}


def _legend(
    figure: Figure, styles: Mapping[str, MethodStyle], *, dashed: Sequence[str] = ()
) -> None:
    from matplotlib.lines import Line2D

    lines = [
        Line2D([], [], color=colour, lw=width, ls=_DASH if name in dashed else "-", label=name)
        for name, (colour, width) in styles.items()
    ]
    figure.legend(handles=lines, loc="outside right upper", fontsize=8.5, frameon=False)
