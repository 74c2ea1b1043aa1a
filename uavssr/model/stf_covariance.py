"""The joint covariance of a blind STF's parameters, of which `Stf` holds the diagonal."""

from __future__ import annotations

import torch
from torch import Tensor

from uavssr.model.likelihood import StfLikelihood
from uavssr.model.materials import Materials
from uavssr.model.pgunet import PGUNet
from uavssr.model.stages import EFFECTIVE_SAMPLES, material_diversity
from uavssr.model.state import Stf


@torch.no_grad()
def stf_covariance(network: PGUNet, materials: Materials, stf: Stf) -> Tensor:
    """Covariance (3c, 3c) of theta given a scene's materials (S = 1), float64.

        diag(theta_se) C diag(theta_se),  C the correlation of (n H + diag(1 / spread^2))^-1

    H is the curvature of the likelihood at the STF. The factor common to all bands is not in it.
    """
    seen = network.observation_model(stf, stf_uncertainty=False)
    likelihood = StfLikelihood.of(materials, network.mixture, seen)
    diversity = material_diversity(likelihood.coefficients, materials.weight)
    information = EFFECTIVE_SAMPLES * float(diversity) * likelihood.curvature[0].double()
    # s (I + s n H s)^-1 s, whose correlation is that of (I + s n H s)^-1
    spread = stf.family.spread[0].double().flatten()
    identity = torch.eye(len(spread), dtype=torch.float64, device=spread.device)
    shrunk = torch.linalg.inv(identity + spread[:, None] * information * spread)
    scale = stf.theta_se[0].double().flatten() / shrunk.diagonal().sqrt()
    return scale[:, None] * shrunk * scale
