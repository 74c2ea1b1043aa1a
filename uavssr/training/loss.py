"""Training losses: errors of the cube, of the STF and of the image that the cube explains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from uavssr.data import Batch, SpectraBagBatch
from uavssr.evaluation.baselines import cube_errors
from uavssr.model import GAIN, PGUNet, Reconstruction, Stf, find_materials

PIXEL_STEP: Final = 5
"""Only every fifth pixel is compared in all bands: neighbouring pixels are much alike."""


def image_loss(
    network: PGUNet, batch: Batch, result: Reconstruction
) -> tuple[Tensor, dict[str, float]]:
    """The loss of a batch of images and its parts: rmse, sam (radians), misfit, nll and stf.

    loss = cube + 0.1 misfit + 0.2 (STF rows + STF likelihood). The terms of the STF are left out
    if the STF was held fixed, and for real cameras, whose true STF is unknown. A free STF has no
    likelihood. Names of parts begin with `blind_` if the STF was estimated, else with `known_`.
    """
    cube, parts = _cube_loss(network, result, batch.hsi.flatten(2)[..., ::PIXEL_STEP])
    parts["misfit"] = _misfit(network, batch, result)
    loss = cube + 0.1 * parts["misfit"]
    blind = len(result.stage_stf) > 1
    if blind and batch.theta is not None and batch.rows is not None:
        parts["nll"] = stf_loss(result.stage_stf, batch.theta)
        parts["stf"] = _rows_error(result.stf, batch.rows)
        parametric = network.config.stf == "parametric"
        loss = loss + 0.2 * parts["stf"] + (0.2 * parts["nll"] if parametric else 0.0)
    prefix = "blind_" if blind else "known_"
    return loss, {prefix + key: float(value.detach()) for key, value in parts.items()}


def _cube_loss(
    network: PGUNet, result: Reconstruction, truth: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """sum_k w_k (L1_k + RMSE_k + angle_k) / 2 over the stages, and RMSE and angle of the last.

    See `cube_errors` for the three; w_k rises from 0.3 / K to 0.3, and is 1 for the result.
    `truth` (B, C, n) holds every fifth pixel.
    """
    stages = result.stage_coefficients[1:]
    weights = [0.3 * (k + 1) / len(stages) for k in range(len(stages))]
    loss, parts = torch.zeros(()), {}
    for weight, coefficients in zip([*weights, 1.0], [*stages, result.coefficients], strict=True):
        sample = coefficients.flatten(2)[..., None, ::PIXEL_STEP]
        estimate = network.basis.expand(sample).squeeze(-2)
        absolute, squared, angle = cube_errors(estimate, truth)
        parts = {"rmse": squared.mean(), "sam": angle.mean()}
        loss = loss + weight * 0.5 * (absolute + squared + angle).mean()
    return loss, parts


def _misfit(network: PGUNet, batch: Batch, result: Reconstruction) -> Tensor:
    """Mean |Y - R (mean + E A)| / mean Y, averaged over the images."""
    mixing = result.stf.rows @ network.basis.extended  # [R E, R mean]
    flat = result.coefficients.flatten(2)
    misfit = batch.msi.flatten(2) - mixing[..., :-1] @ flat - mixing[..., -1:]
    return (misfit.abs().mean((1, 2)) / batch.msi.mean((1, 2, 3))).mean()


def _rows_error(stf: Stf, rows: Tensor) -> Tensor:
    """Sum |R - R_true| / sum R_true per band, averaged over bands and cameras."""
    return ((stf.rows - rows).abs().sum(-1) / rows.sum(-1)).mean()


def stf_loss(stages: Sequence[Stf], theta: Tensor) -> Tensor:
    """Gaussian negative log likelihood of the true parameters, in units of the prior's spread.

    sum_k k / K mean(min(((theta_k - theta) / s_k)^2, 100) / 2 + ln(s_k / spread)) with the standard
    errors s_k of stage k and the true parameters theta (S, c, 3). The first of `stages` is the
    initial STF, which does not count. The limit keeps errors of more than ten standard errors from
    dominating.
    """
    losses = []
    for stf in stages[1:]:
        spread = stf.family.spread.clamp_min(1e-3)
        standard_error = stf.theta_se.clamp_min(1e-4)
        score = ((stf.theta - theta) / standard_error).square().clamp_max(100)
        losses.append((0.5 * score + (standard_error / spread).log()).mean())
    return _sum_over_stages(losses)


def bag_loss(network: PGUNet, bags: SpectraBagBatch) -> tuple[Tensor, dict[str, float]]:
    """The loss of the STF on bags of spectra, and its parts.

    These are bags_nll (the loss) and bags_gain, the RMS error of the gains over that of the data
    sheet's gains.
    """
    materials = find_materials(bags.msi, pooled=False)
    stages = network.estimate_stf(materials, Stf.from_prior(bags.family))
    if network.config.stf == "free":  # without parameters there is no likelihood
        loss = _sum_over_stages([_rows_error(stf, bags.rows) for stf in stages[1:]])
    else:
        loss = stf_loss(stages, bags.theta)
    error = (stages[-1].theta - bags.theta)[..., GAIN].detach().square().mean().sqrt()
    prior = bags.theta[..., GAIN].square().mean().sqrt()
    return loss, {"bags_nll": float(loss.detach()), "bags_gain": float(error / prior)}


def _sum_over_stages(losses: Sequence[Tensor]) -> Tensor:
    """sum_k k / K loss_k: later stages count more."""
    total = torch.zeros(())
    for k, loss in enumerate(losses, 1):
        total = total + loss * k / len(losses)
    return total
