"""The STF stage of the unrolled network: R-step in a response family, then P-Net.

Knows nothing of images: it sees the materials of a scene. `freeform` holds the paper's own stage.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from uavssr.errors import IncompleteRun
from uavssr.model.basis import SpectralBasis
from uavssr.model.likelihood import StfLikelihood, r_step_mixture
from uavssr.model.materials import Materials
from uavssr.model.mixture import SpectralMixture
from uavssr.model.proximal import PNet
from uavssr.model.solvers import participation
from uavssr.model.state import ObservationModel, Stf

EFFECTIVE_SAMPLES: Final = 3.0
"""How many independent materials a scene is taken to be worth, at most.

Far fewer than it has: they are not drawn from the prior (docs/design.md).
"""

HALF_DIVERSITY_EXCESS: Final = 0.05
"""Excess of the materials' participation ratio over one at which a scene counts half."""


class ResponseStage(nn.Module):
    """One unrolled iteration for the STF: R-step (closed form), then P-Net."""

    def __init__(self, rank: int, width: int) -> None:
        super().__init__()
        self.pnet = PNet(rank, width)

    def forward(
        self,
        materials: Materials,
        stf: Stf,
        seen: ObservationModel,
        mixture: SpectralMixture,
        _: SpectralBasis,
    ) -> Stf:
        """The STF from a scene's materials, shrunk towards the family's prior.

        The share of information that the closed form ascribes to the scene bounds what P-Net may
        change and how much doubt it may remove: without information the prior stays as it is.
        """
        family, prior, spread = stf.family, stf.family.prior, stf.family.spread
        with torch.no_grad():
            current = stf.theta.detach()
            evidence = StfLikelihood.of(materials, mixture, seen)
            _refuse_nan(evidence.curvature, evidence.gradient)
            samples = EFFECTIVE_SAMPLES * material_diversity(
                evidence.coefficients, materials.weight
            )
            step = r_step_mixture(current, prior, spread, evidence, samples)
            scale = spread.clamp_min(1e-9)
            proposed = ((step.theta - prior) / scale).clamp(-4, 4)
            tokens = _tokens(materials, evidence)
            now = ((current - prior) / scale).clamp(-4, 4)
            place = torch.stack([(family.centre - 700) / 200, (family.fwhm / 30).log()], -1)
            bands = torch.cat([place, proposed, now, 2 * step.share - 1], -1)
        known = evidence.coefficients.clamp(-5, 5)
        change, doubt = self.pnet(tokens, known, materials.weight, bands)
        theta = prior + (proposed + step.share * change).clamp(-4, 4) * spread
        kept = (1 - step.share).clamp_min(1e-3) ** (2 * torch.sigmoid(-doubt))
        _refuse_nan(theta, kept)
        return Stf.of(family, theta, spread * kept.sqrt())


def _refuse_nan(*numbers: Tensor) -> None:
    if not all(bool(torch.isfinite(each).all()) for each in numbers):
        raise IncompleteRun(
            "the network gave NaN or infinity for the STF",
            remedy="nothing was written; check the input's values with uavssr inspect",
        )


def material_diversity(coefficients: Tensor, weight: Tensor) -> Tensor:
    """(S,) one for a scene of diverse materials (S, J, r), zero for a constant one.

    One spectrum determines no response: whatever it is, the prior explains it.
    """
    extended = torch.cat([coefficients, torch.ones_like(coefficients[..., :1])], -1)
    second = (extended * weight[..., None]).mT @ extended
    excess = (participation(second) - 1).clamp_min(0)
    return excess / (excess + HALF_DIVERSITY_EXCESS)


def _tokens(materials: Materials, evidence: StfLikelihood) -> Tensor:
    """P-Net's view (S, J, c, 4) of each material in each band, from what the other bands expect."""
    level = (materials.values - evidence.surprise).clamp_min(0.01)
    return torch.stack(
        [
            materials.values.clamp_min(0.003).log() + 2,
            (evidence.surprise / level).clamp(-1.5, 1.5),
            (evidence.surprise / evidence.expected.clamp_min(1e-6)).clamp(-5, 5) / 2,
            (evidence.expected / level).clamp(1e-3, 10).log() / 2,
        ],
        -1,
    )
