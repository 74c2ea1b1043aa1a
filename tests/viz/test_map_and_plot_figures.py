"""The figures of maps and plots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from uavssr.viz import MapPanel, PlotOutline, PlotPanel, draw_maps, draw_plots
from uavssr.viz.plot_figure import MOST_NAMED

SQUARE = np.array([[0.0, 0.0], [8.0, 0.0], [8.0, 5.0], [0.0, 5.0]])


def panel(count: int) -> PlotPanel:
    mean = np.linspace(0.2, 0.8, count)
    mean[-1] = np.nan
    return PlotPanel("NDVI $x", mean, np.full(count, 0.05), np.full(count, np.nan))


@pytest.mark.parametrize("count", [1, 5, MOST_NAMED + 1])
def test_plots_are_drawn_named_or_many(tmp_path: Path, count: int) -> None:
    outlines = [PlotOutline(f"a_$b {i}", [SQUARE + np.array([10 * i, 0])]) for i in range(count)]
    png = draw_plots(
        outlines, [panel(count), panel(count)], tmp_path / "p.png", title="p", metres=0.1
    )
    pixels = imread(png)
    assert pixels.shape[1] > 1500
    colours = np.unique(pixels[..., :3].reshape(-1, 3), axis=0)
    assert len(colours) > 50


@pytest.mark.parametrize(("values", "errors", "rows"), [(1, 1, 2), (3, 3, 2), (5, 0, 2), (5, 5, 4)])
def test_errors_are_drawn_below_their_values(
    tmp_path: Path, values: int, errors: int, rows: int
) -> None:
    field = np.random.default_rng(0).random((30, 30), np.float32)
    panels = []
    for i in range(values):
        panels.append(MapPanel(f"v{i}", field, False))
        if i < errors:
            panels.append(MapPanel(f"e{i}", field, True))
    pixels = imread(draw_maps(panels, tmp_path / "m.png", title="m", metres=1.0))
    columns = min(values, 4)
    ratio = (3.4 * columns + 0.4) / (rows * 3.7 + 0.4)
    assert pixels.shape[1] / pixels.shape[0] == pytest.approx(ratio, rel=0.01)
