"""Errors of cubes and STFs against references: metrics, comparison, protocols, baselines.

Nothing here trains weights of PGU-Net.
"""

from uavssr.evaluation.compare import evaluate
from uavssr.evaluation.coverage import NINETY, fit_sigma_scale
from uavssr.evaluation.metrics import rmse, sam
from uavssr.evaluation.protocol import (
    PAIRED,
    Judged,
    StfFigures,
    draw_image,
    gap_closed,
    judge,
    table,
)
from uavssr.evaluation.ridge import Ridge, fit_ridge, regress
from uavssr.evaluation.validation import (
    Validated,
    ValidationImage,
    figure_of,
    validate,
    validation_images,
)

__all__ = [
    "NINETY",
    "PAIRED",
    "Judged",
    "Ridge",
    "StfFigures",
    "Validated",
    "ValidationImage",
    "draw_image",
    "evaluate",
    "figure_of",
    "fit_ridge",
    "fit_sigma_scale",
    "gap_closed",
    "judge",
    "regress",
    "rmse",
    "sam",
    "table",
    "validate",
    "validation_images",
]
