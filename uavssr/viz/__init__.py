"""Figures and quicklooks of cubes and STFs.

Nothing here computes cubes or STFs.
"""

from uavssr.viz.figures import draw_quicklook, draw_stf

__all__ = ["draw_quicklook", "draw_stf"]
