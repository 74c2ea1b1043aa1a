"""Figures and quicklooks of cubes and STFs.

Nothing here computes cubes or STFs.
"""

from uavssr.viz.figures import draw_quicklook, draw_stf
from uavssr.viz.pair_figure import PairPanel, draw_pairs

__all__ = ["PairPanel", "draw_pairs", "draw_quicklook", "draw_stf"]
