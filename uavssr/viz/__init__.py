"""Figures and quicklooks of cubes and STFs.

Nothing here computes cubes or STFs.
"""

from uavssr.viz.benchmark_figure import (
    BandPanel,
    LearningCurve,
    MethodStyle,
    SpectrumPanel,
    draw_compared_spectra,
    draw_compared_stfs,
    draw_learning_curves,
    method_styles,
)
from uavssr.viz.error_figure import ErrorPanel, draw_errors
from uavssr.viz.figures import draw_quicklook, draw_stf, wavelength_colours
from uavssr.viz.map_figure import CHANGE_COLOUR_MAP, MapPanel, draw_maps, value_range
from uavssr.viz.pair_figure import PairPanel, draw_pairs
from uavssr.viz.plot_figure import PlotOutline, PlotPanel, draw_plots
from uavssr.viz.spectrum_figure import plot_spectrum
from uavssr.viz.web_images import MapImage, colour_image, map_image, webp

__all__ = [
    "CHANGE_COLOUR_MAP",
    "BandPanel",
    "ErrorPanel",
    "LearningCurve",
    "MapImage",
    "MapPanel",
    "MethodStyle",
    "PairPanel",
    "PlotOutline",
    "PlotPanel",
    "SpectrumPanel",
    "colour_image",
    "draw_compared_spectra",
    "draw_compared_stfs",
    "draw_errors",
    "draw_learning_curves",
    "draw_maps",
    "draw_pairs",
    "draw_plots",
    "draw_quicklook",
    "draw_stf",
    "map_image",
    "method_styles",
    "plot_spectrum",
    "value_range",
    "wavelength_colours",
    "webp",
]
