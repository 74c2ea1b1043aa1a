"""Errors of one prediction: of the cube, and of the STF where the method estimates one."""

from __future__ import annotations

from typing import Final

import numpy as np

from uavssr.benchmark.case import HeldOutImage
from uavssr.evaluation import CubeScorer, stf_error
from uavssr.evaluation.baselines import Prediction
from uavssr.sensors import FloatArray, WavelengthGrid
from uavssr.tiling import Window

STF_ERRORS: Final = ("stf_relative", "stf_shape", "stf_centre_nm")
"""Names of the STF's errors."""


def score(
    held_out: HeldOutImage, prediction: Prediction, grid: WavelengthGrid
) -> dict[str, float | None]:
    """The errors of a prediction, by name; None where the method estimates no STF.

    `mrae` has the epsilon of `MRAE_EPSILON`; `mrae_no_epsilon` leaves out numbers whose reference
    is zero and guards nothing else. `stf_shape` is the relative error after each band's best
    factor, `stf_centre_nm` the mean absolute error of the bands' centroids.
    """
    inner = slice(held_out.crop, -held_out.crop or None)
    estimate, truth = (cube[:, inner, inner] for cube in (prediction.cube, held_out.cube))
    scorer = CubeScorer(len(truth))
    whole = Window(0, 0, *truth.shape[1:])
    scorer.add(estimate, truth, np.ones(truth.shape[1:], bool), core=whole, read=whole)
    lit = truth > 0
    relative = np.abs(estimate[lit].astype(float) - truth[lit]) / truth[lit]
    return {
        **scorer.scores().scene,
        "mrae_no_epsilon": float(relative.mean()),
        **_stf_errors(prediction.rows, held_out.image.rows, grid),
    }


def _stf_errors(
    estimate: np.ndarray | None, truth: np.ndarray | None, grid: WavelengthGrid
) -> dict[str, float | None]:
    if estimate is None or truth is None:
        return dict.fromkeys(STF_ERRORS)
    rows, true = estimate.astype(float), truth.astype(float)
    # the factor f of a band with the least |f r - t|
    factor = (rows * true).sum(1) / (rows * rows).sum(1)
    centres = [_centroids(curves, grid) for curves in (rows, true)]
    errors = (
        stf_error(rows, true),
        stf_error(rows * factor[:, None], true),
        float(np.abs(centres[0] - centres[1]).mean()),
    )
    return dict(zip(STF_ERRORS, errors, strict=True))


def _centroids(rows: FloatArray, grid: WavelengthGrid) -> FloatArray:
    """Centroids (c,) in nm of responses (c, C), whose negative parts do not count."""
    positive = np.maximum(rows, 0)
    return np.asarray(positive @ grid.centres / np.maximum(positive.sum(1), 1e-12))
