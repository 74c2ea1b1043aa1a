"""A figure of training pairs: footprints with the shifts measured in them, and ratios by band."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from uavssr.io.checks import PathLike
from uavssr.sensors import FloatArray
from uavssr.viz.figures import dress_axes, png_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_PANELS: Final = 24
"""Most pairs that are drawn."""
_PANEL_INCHES: Final = 2.7
_IMAGE_COLOUR, _CUBE_COLOUR, _ODD_COLOUR = "#1f4fd8", "#e8710a", "#d62020"
_ARROW_SHARE: Final = 0.15
"""Length of the longest arrow as a share of the image's width."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairPanel:
    """A pair to draw, of c bands."""

    title: str
    """Name and verdict."""
    odd: bool
    """Whether the pair is refused."""
    outlines: tuple[FloatArray, ...]
    """Image and cube (n, 2) in coordinates of the image; empty where they lie nowhere."""
    arrows: FloatArray
    """(w, 4) place x, y and shift x, y of the cube's content, in coordinates of the image."""
    pixels: float
    """Length of the longest shift in pixels of the image."""
    nm: FloatArray
    """(c,) centres of the bands; empty where nothing was compared."""
    ratio: FloatArray
    """(c,) image / integrated cube."""
    correlation: FloatArray
    """(c,) of the two."""


def draw_pairs(
    panels: Sequence[PairPanel],
    png_path: PathLike,
    *,
    limits: tuple[float, float],
    overwrite: bool = False,
    inputs: Sequence[Path] = (),
) -> Path:
    """Draw up to 24 pairs, the odd ones first; ratios outside `limits` are refused.

    Raises:
        OutputError: something stands in the way of the figure.
    """
    drawn = sorted(panels, key=lambda panel: not panel.odd)[:MOST_PANELS]
    size = (10.0, _PANEL_INCHES * max(len(drawn), 1) + 0.4)
    with png_figure(png_path, size, overwrite=overwrite, inputs=inputs) as figure:
        axes = figure.subplots(max(len(drawn), 1), 2, squeeze=False, width_ratios=(1, 1.3))
        for (left, right), panel in zip(axes, drawn, strict=False):
            _draw_footprints(left, panel)
            _draw_ratios(right, panel, limits)
        if len(drawn) < len(panels):
            figure.suptitle(f"{len(drawn)} of {len(panels)} pairs, the odd ones first", fontsize=10)
    return Path(png_path)


def _draw_footprints(axes: Axes, panel: PairPanel) -> None:
    dress_axes(axes, "")
    axes.set_title(
        panel.title,
        loc="left",
        fontsize=9,
        color=_ODD_COLOUR if panel.odd else "black",
        parse_math=False,
    )
    if not panel.outlines:
        axes.axis("off")
        axes.text(0, 0.5, "means over plots, without places", fontsize=8.5)
        return
    styles = ((_IMAGE_COLOUR, "image"), (_CUBE_COLOUR, "cube"))
    for outline, (colour, label) in zip(panel.outlines, styles, strict=True):
        axes.fill(*outline.T, facecolor=colour, alpha=0.15)
        axes.plot(*np.vstack([outline, outline[:1]]).T, color=colour, lw=1.2, label=label)
    if len(panel.arrows):
        x, y, right, up = panel.arrows.T
        width = np.ptp(panel.outlines[0][:, 0])
        longest = max(float(np.hypot(right, up).max()), 1e-12)
        scale = longest / (_ARROW_SHARE * width)
        axes.quiver(x, y, right, up, angles="xy", scale_units="xy", scale=scale, width=0.006)
        axes.set_xlabel(f"longest arrow: {panel.pixels:.2f} pixels of the image")
    axes.set_aspect("equal", adjustable="datalim")
    axes.ticklabel_format(useOffset=False, style="plain")
    axes.tick_params(labelsize=6.5)
    axes.legend(fontsize=7.5, frameon=False, loc="upper right")


def _draw_ratios(axes: Axes, panel: PairPanel, limits: tuple[float, float]) -> None:
    dress_axes(axes, "")
    if not len(panel.nm):
        axes.axis("off")
        return
    low, high = limits
    axes.axhline(1, color="#808080", lw=0.7)
    for limit in limits:
        axes.axhline(limit, color=_ODD_COLOUR, lw=0.9, ls=(0, (4, 2)))
    order = np.argsort(panel.nm)
    axes.plot(panel.nm[order], panel.ratio[order], color=_IMAGE_COLOUR, marker="o", lw=1)
    for nm, ratio, correlation in zip(panel.nm, panel.ratio, panel.correlation, strict=True):
        axes.annotate(
            f"r {correlation:.2f}", (nm, ratio), (0, 6), textcoords="offset points", fontsize=7
        )
    positive = panel.ratio[panel.ratio > 0]
    axes.set(yscale="log", ylabel="Image / integrated cube", xlabel="Wavelength (nm)")
    axes.set_ylim(min([low, *positive]) * 0.8, max([high, *positive]) * 1.3)
    ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10) if low / 2 < tick < high * 2]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
