"""What training minimises: the error of the cube, of the STF, and of what the cube explains.

Must not draw data or move weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from uavssr.data import Batch, SpectraBagBatch
from uavssr.model import GAIN, PGUNet, Reconstruction, Stf, find_materials

SUPERVISED: Final = 5  # every fifth pixel is compared in all bands: neighbours say much the same


def loss_of(
    network: PGUNet, batch: Batch, result: Reconstruction
) -> tuple[Tensor, dict[str, float]]:
    """The training loss and its parts.

    On the cube: relative L1 and RMSE per scene and the spectral angle, every stage, the last most.
    On the STF: Gaussian likelihood of the parameters, so that the standard errors are honest, and
    relative L1 of the rows; left out where the batch is of a real camera. And the misfit of the
    image.
    """
    truth = batch.hsi.flatten(2)[..., ::SUPERVISED]
    level = truth.mean((1, 2))
    parts: dict[str, Tensor] = {}
    stages = result.stage_coefficients[1:]
    weights = [0.3 * (k + 1) / len(stages) for k in range(len(stages))]
    cube = torch.zeros(())
    for weight, coefficients in zip([*weights, 1.0], [*stages, result.coefficients], strict=True):
        sample = coefficients.flatten(2)[..., None, ::SUPERVISED]
        estimate = network.basis.expand(sample).squeeze(-2)
        error = estimate - truth
        absolute = error.abs().mean((1, 2)) / level
        squared = error.square().mean((1, 2)).sqrt() / level
        cosine = torch.cosine_similarity(estimate, truth, dim=1).clamp(-1, 1 - 1e-6)
        angle = torch.acos(cosine).mean(1)
        parts["rmse"], parts["sam"] = squared.mean(), angle.mean()
        cube = cube + weight * (0.5 * absolute + 0.5 * squared + 0.5 * angle).mean()
    flat = result.coefficients.flatten(2)
    seen = result.stf.rows @ network.basis.extended
    misfit = batch.msi.flatten(2) - seen[..., :-1] @ flat - seen[..., -1:]
    parts["misfit"] = (misfit.abs().mean((1, 2)) / batch.msi.mean((1, 2, 3))).mean()
    total = cube + 0.1 * parts["misfit"]
    blind = len(result.stage_stf) > 1
    if blind and batch.theta is not None and batch.rows is not None:
        parts["nll"] = stf_loss(result.stage_stf, batch.theta)
        difference = (result.stf.rows - batch.rows).abs().sum(-1)
        parts["stf"] = (difference / batch.rows.sum(-1)).mean()
        parametric = network.config.stf == "parametric"
        total = total + 0.2 * parts["stf"] + (0.2 * parts["nll"] if parametric else 0.0)
    prefix = "blind_" if blind else "known_"
    return total, {prefix + key: float(value.detach()) for key, value in parts.items()}


def stf_loss(stages: Sequence[Stf], theta: Tensor) -> Tensor:
    """Gaussian negative log likelihood of the true parameters, in units of the prior's spread.

    It makes the estimates good and their standard errors honest. The later a stage, the more it
    counts; what a camera strays from its estimate by more than ten standard errors, counts as ten.

    Args:
        stages: where the STF started, and each stage's.
        theta: (S, c, 3) the truth.
    """
    told = stages[1:]
    total = torch.zeros((), device=theta.device)
    for k, stf in enumerate(told):
        spread = stf.family.spread.clamp_min(1e-3)
        deviation = stf.theta_se.clamp_min(1e-4)
        score = ((stf.theta - theta) / deviation).square().clamp_max(100)
        likelihood = (0.5 * score + (deviation / spread).log()).mean()
        total = total + likelihood * (k + 1) / len(told)
    return total


def bag_loss(network: PGUNet, bags: SpectraBagBatch) -> tuple[Tensor, dict[str, float]]:
    """The loss of the STF on bags of spectra, and the error of its gains over the prior's."""
    materials = find_materials(bags.msi, pooled=False)
    stages = network.estimate_stf(materials, Stf.from_prior(bags.family))
    if network.config.stf == "free":
        loss = _rows_loss(stages, bags.rows)
    else:
        loss = stf_loss(stages, bags.theta)
    error = (stages[-1].theta - bags.theta)[..., GAIN].detach().square().mean().sqrt()
    prior = bags.theta[..., GAIN].square().mean().sqrt()
    return loss, {"bags_nll": float(loss.detach()), "bags_gain": float(error / prior)}


def _rows_loss(stages: Sequence[Stf], rows: Tensor) -> Tensor:
    """Relative L1 of free responses, the later a stage the more; they have no parameters."""
    told = stages[1:]
    total = torch.zeros((), device=rows.device)
    for k, stf in enumerate(told):
        total = total + ((stf.rows - rows).abs().sum(-1) / rows.sum(-1)).mean() * (k + 1) / len(
            told
        )
    return total
