"""Errors of one prediction: of the cube, and of the STF where the method estimates one."""

from __future__ import annotations

from typing import Final

import numpy as np

from uavssr.benchmark.case import HeldOutImage
from uavssr.benchmark.records import ScoredImage
from uavssr.evaluation import INTERVAL_90, CubeScorer, rmse, sam, stf_error
from uavssr.evaluation.baselines import Prediction
from uavssr.sensors import Float32Array, FloatArray, WavelengthGrid
from uavssr.tiling import Window

STF_ERRORS: Final = ("stf_relative", "stf_shape", "stf_centre_nm")
"""Names of the STF's errors."""


def score(
    name: str, held_out: HeldOutImage, prediction: Prediction, grid: WavelengthGrid
) -> ScoredImage:
    """The errors of a prediction of an image of the set `name`.

    `mrae_no_epsilon` leaves out numbers whose reference is zero, and guards nothing else.
    """
    inner = slice(held_out.crop, -held_out.crop or None)
    estimate, truth = (cube[:, inner, inner] for cube in (prediction.cube, held_out.cube))
    scorer = CubeScorer(len(truth))
    whole = Window(0, 0, *truth.shape[1:])
    scorer.add(estimate, truth, np.ones(truth.shape[1:], bool), core=whole, read=whole)
    errors = {key: _finite(value) for key, value in scorer.scores().scene.items()}
    lit = truth > 0
    relative = np.abs(estimate[lit].astype(float) - truth[lit]) / truth[lit]
    return ScoredImage(
        set=name,
        scene=held_out.scene,
        camera=held_out.camera,
        rmse=rmse(estimate, truth),
        sam=sam(*(cube.reshape(len(truth), -1) for cube in (estimate, truth))),
        mrae=errors["mrae"],
        mrae_no_epsilon=_finite(float(relative.mean())),
        psnr=errors["psnr"],
        ssim=errors["ssim"],
        ergas=errors["ergas"],
        coverage=_coverage(prediction, held_out.cube),
        **_stf_errors(prediction.rows, held_out.image.rows, grid),
    )


def _finite(value: float) -> float | None:
    """A number, or None for what is not finite, which JSON has no word for."""
    return value if np.isfinite(value) else None


def _coverage(prediction: Prediction, truth: Float32Array) -> float | None:
    if prediction.sigma is None:
        return None
    return float((np.abs(prediction.cube - truth) <= INTERVAL_90 * prediction.sigma).mean())


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
