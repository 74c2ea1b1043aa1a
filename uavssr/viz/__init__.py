"""Figures and quicklooks of cubes and STFs.

Nothing here computes cubes or STFs.
"""

from uavssr.viz.figures import draw_quicklook, draw_stf
from uavssr.viz.map_figure import MapPanel, draw_maps, value_range
from uavssr.viz.pair_figure import PairPanel, draw_pairs

__all__ = [
    "MapPanel",
    "PairPanel",
    "draw_maps",
    "draw_pairs",
    "draw_quicklook",
    "draw_stf",
    "value_range",
]
