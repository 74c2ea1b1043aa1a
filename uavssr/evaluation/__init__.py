"""Errors of cubes and STFs against references: metrics, comparison, protocol, ridge baseline.

No weights are trained here.
"""

from uavssr.evaluation.compare import CubeComparison, compare_cubes, evaluate
from uavssr.evaluation.coverage import INTERVAL_90, cube_coverage, fit_sigma_scale
from uavssr.evaluation.error_table import write_error_table
from uavssr.evaluation.metrics import MRAE_EPSILON, CubeScorer, rmse, sam, stf_error
from uavssr.evaluation.plots import (
    PlotErrors,
    PlotReport,
    blind_plot_stf,
    evaluate_plots,
    mean_plot_errors,
    plot_errors,
)
from uavssr.evaluation.protocol import (
    REFERENCE_PIXELS,
    CubeErrors,
    ImageResult,
    StfErrors,
    draw_image,
    gap_closed,
    mean_errors,
    reference_pixels,
    run_protocol,
)
from uavssr.evaluation.ridge import LinearMap, fit_ridge, regress, ridge_maps
from uavssr.evaluation.validation import (
    ImageErrors,
    ValidationImage,
    mean_ratio_to_ridge,
    validate,
    validation_images,
)

__all__ = [
    "INTERVAL_90",
    "MRAE_EPSILON",
    "REFERENCE_PIXELS",
    "CubeComparison",
    "CubeErrors",
    "CubeScorer",
    "ImageErrors",
    "ImageResult",
    "LinearMap",
    "PlotErrors",
    "PlotReport",
    "StfErrors",
    "ValidationImage",
    "blind_plot_stf",
    "compare_cubes",
    "cube_coverage",
    "draw_image",
    "evaluate",
    "evaluate_plots",
    "fit_ridge",
    "fit_sigma_scale",
    "gap_closed",
    "mean_errors",
    "mean_plot_errors",
    "mean_ratio_to_ridge",
    "plot_errors",
    "reference_pixels",
    "regress",
    "ridge_maps",
    "rmse",
    "run_protocol",
    "sam",
    "stf_error",
    "validate",
    "validation_images",
    "write_error_table",
]
