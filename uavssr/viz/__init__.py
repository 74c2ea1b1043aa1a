"""Figures and quicklooks of cubes and STFs.

Nothing here computes cubes or STFs.
"""

from uavssr.viz.error_figure import ErrorPanel, draw_errors
from uavssr.viz.figures import draw_quicklook, draw_stf
from uavssr.viz.map_figure import MapPanel, draw_maps, value_range
from uavssr.viz.pair_figure import PairPanel, draw_pairs
from uavssr.viz.plot_figure import PlotOutline, PlotPanel, draw_plots
from uavssr.viz.spectrum_figure import plot_spectrum

__all__ = [
    "ErrorPanel",
    "MapPanel",
    "PairPanel",
    "PlotOutline",
    "PlotPanel",
    "draw_errors",
    "draw_maps",
    "draw_pairs",
    "draw_plots",
    "draw_quicklook",
    "draw_stf",
    "plot_spectrum",
    "value_range",
]
