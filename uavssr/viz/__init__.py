"""Figures and quicklooks of cubes and STFs.

Nothing here computes cubes or STFs.
"""

from uavssr.viz.figures import draw_quicklook, draw_stf
from uavssr.viz.map_figure import MapPanel, draw_maps, value_range
from uavssr.viz.pair_figure import PairPanel, draw_pairs
from uavssr.viz.plot_figure import PlotOutline, PlotPanel, draw_plots

__all__ = [
    "MapPanel",
    "PairPanel",
    "PlotOutline",
    "PlotPanel",
    "draw_maps",
    "draw_pairs",
    "draw_plots",
    "draw_quicklook",
    "draw_stf",
    "value_range",
]
