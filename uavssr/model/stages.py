"""The unrolled stages: X-step and Z-Net for the cube, R-step and P-Net for the STF.

The STF's stage reads the materials of a scene, not its image; `freeform` has the paper's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, cast

import torch
from torch import Tensor, nn

from uavssr.errors import IncompleteRun
from uavssr.model.basis import SpectralBasis
from uavssr.model.config import PGUNetConfig
from uavssr.model.likelihood import StfLikelihood, r_step_mixture
from uavssr.model.materials import Materials
from uavssr.model.mixture import SpectralMixture
from uavssr.model.proximal import PNet, ZNet
from uavssr.model.response import GAIN, PARAMETERS
from uavssr.model.solvers import participation, wiener_by_pixel, wiener_gain
from uavssr.model.state import ObservationModel, Stf

EFFECTIVE_SAMPLES: Final = 3.0
"""Most independent materials that a scene counts for: far fewer than it has, as they are not drawn
from the prior (docs/design.md)."""

HALF_DIVERSITY_EXCESS: Final = 0.05
"""Participation ratio of the materials, minus one, at which a scene counts half."""

VARIANCE_FACTOR: Final = 4.0
"""Factor on a pixel's posterior variance in an X-step, before training and in the last step.

Greater than one, because new ground differs from the prior by more than its posterior says.
"""

_COMMON_STEPS: Final = 4
"""Gauss-Newton steps for the common factor; the last changes it by less than 1 %."""
_MAX_DEVIATIONS: Final = 4.0
"""Largest change of a parameter, in prior standard deviations."""


class Stage(nn.Module):
    """One unrolled iteration for the cube: X-step (closed form), then Z-Net."""

    def __init__(self, config: PGUNetConfig) -> None:
        super().__init__()
        self.log_alpha = nn.Parameter(torch.tensor(0.0))
        self.log_factor: nn.Parameter | None = None
        if config.prior_variance == "pixel":
            self.log_factor = nn.Parameter(torch.tensor(VARIANCE_FACTOR).log())
        self.znet = ZNet(config.rank, config.width)

    def forward(
        self, known: Tensor, hsi: Tensor, seen: ObservationModel, *, bfloat16: bool
    ) -> Tensor:
        """The coefficients (B, r, H, W) after the stage; only Z-Net may run in bfloat16.

        Args:
            known: [Y; deviation; 1] (B, c+r+1, N), with the posterior standard deviation of the
                initial estimate.
            hsi: A (B, r, H, W) before it.
            seen: the observation model.
            bfloat16: whether Z-Net does.
        """
        shape, prior = hsi.shape[-2:], hsi.flatten(2)
        # A = x_step(Y, Z),  stem of [A; G (Y - B A - b); deviation]
        if self.log_factor is None:
            flat, stem = (
                (known.mT @ of_known.mT).baddbmm_(prior.mT, of_prior.mT.expand(len(hsi), -1, -1))
                for of_known, of_prior in self._products(seen)
            )
        else:
            flat, stem = self._by_pixel(known, prior, seen, self.log_factor.exp())
        maps = (part.unflatten(1, shape) for part in (flat, stem))
        with torch.autocast(known.device.type, torch.bfloat16, enabled=bfloat16):
            proximal: Tensor = self.znet(*maps)
        return proximal.permute(0, 3, 1, 2)

    def _by_pixel(
        self, known: Tensor, prior: Tensor, seen: ObservationModel, factor: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A (B, N, r) and Z-Net's stem (B, N, w), with each pixel's variance in the X-step."""
        bands, rank = seen.mixing.shape[1:]
        msi, deviation, _ = known.split([bands, rank, 1], 1)
        misfit = msi - seen.mixing @ prior - seen.offset[..., None]
        noise = seen.noise * self.log_alpha.exp()
        explained, left = wiener_by_pixel(misfit, factor * deviation.square(), seen.mixing, noise)
        flat = prior + explained
        return flat.mT, self.znet.stem(torch.cat([flat, left, deviation], 1).mT)

    def _products(self, seen: ObservationModel) -> tuple[tuple[Tensor, Tensor], ...]:
        """Matrices (S, ., c+r+1) and (S, ., r), first of A and then of Z-Net's stem."""
        mixing, rank = seen.mixing, seen.mixing.shape[-1]
        gain = wiener_gain(mixing, seen.noise * self.log_alpha.exp())
        identity = torch.eye(rank, dtype=gain.dtype, device=gain.device)
        # A = (I - G B) Z + G (Y - b),  G (Y - B A - b) = (G - G B G) (Y - b - B Z)
        left = gain - gain @ mixing @ gain
        of_prior = torch.cat([identity - gain @ mixing, -left @ mixing], 1)
        of_image = torch.cat([gain, left], 1)
        constant = -of_image @ seen.offset[..., None]
        stem, bias = self.znet.stem.weight.flatten(1), cast("Tensor", self.znet.stem.bias)
        both, own = stem[:, : 2 * rank], stem[:, 2 * rank :].expand(len(gain), -1, -1)
        of_known = torch.cat([both @ of_image, own, both @ constant + bias[:, None]], -1)
        nothing = torch.zeros_like(gain @ mixing)
        coefficients = torch.cat([gain, nothing, constant[:, :rank]], -1)
        return (coefficients, of_prior[:, :rank]), (of_known, both @ of_prior)


class ResponseStage(nn.Module):
    """One unrolled iteration for the STF: R-step (closed form), then P-Net.

    With s the share of a parameter's prior variance that the R-step removes, and P-Net's outputs
    u (change) and v (shrinkage):

        theta    = prior + (R-step change + s u) spread
        theta_se = spread (1 - s)^sigmoid(-v)

    So without information (s = 0) the prior stays as it is.
    """

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
        """The STF from a scene's materials; IncompleteRun where a number is not finite."""
        family, prior, spread = stf.family, stf.family.prior, stf.family.spread
        with torch.no_grad():
            current = stf.theta.detach()
            likelihood = StfLikelihood.of(materials, mixture, seen)
            _refuse_nan(likelihood.curvature, likelihood.gradient)
            diversity = material_diversity(likelihood.coefficients, materials.weight)
            samples = EFFECTIVE_SAMPLES * diversity
            proposal, share = r_step_mixture(current, prior, spread, likelihood, samples)
            scale = spread.clamp_min(1e-9)
            proposed = _bounded((proposal - prior) / scale)
            now = _bounded((current - prior) / scale)
            place = torch.stack([(family.centre - 700) / 200, (family.fwhm / 30).log()], -1)
            bands = torch.cat([place, proposed, now, 2 * share - 1], -1)
            tokens = _tokens(materials, likelihood)
        coefficients = likelihood.coefficients.clamp(-5, 5)
        change, shrinkage = self.pnet(tokens, coefficients, materials.weight, bands)
        theta = prior + _bounded(proposed + share * change) * spread
        remaining = (1 - share).clamp_min(1e-3) ** (2 * torch.sigmoid(-shrinkage))
        _refuse_nan(theta, remaining)
        return Stf.of(family, theta, spread * remaining.sqrt(), common_se=stf.common_se)


def estimate_common_factor(
    materials: Materials,
    mixture: SpectralMixture,
    stf: Stf,
    seen_with: Callable[[Stf], ObservationModel],
) -> Stf:
    """The STF with the logarithm c of a factor that all bands share moved to its estimate.

        c = argmax  n log P(materials | c) - (c / common_se)^2 / 2

    By Gauss-Newton steps on the mixture's likelihood, with n as in `ResponseStage`. Only spectra of
    the very place tell a factor from brighter ground, so the prior has to hold such.

    Args:
        materials: of S scenes.
        mixture: the spectral prior.
        stf: the initial STFs.
        seen_with: gives the observation model of an STF, with its uncertainty.
    """
    gains = torch.arange(stf.theta.shape[1], device=stf.theta.device) * PARAMETERS + GAIN
    weight = stf.common_se.square().clamp_min(1e-12).reciprocal()
    moved, common, variance = stf, torch.zeros_like(stf.common_se), stf.common_se.square()
    for _ in range(_COMMON_STEPS):
        likelihood = StfLikelihood.of(materials, mixture, seen_with(moved))
        diversity = material_diversity(likelihood.coefficients, materials.weight)
        samples = EFFECTIVE_SAMPLES * diversity
        slope = samples * likelihood.gradient[:, gains].sum(1) - weight * common
        curvature = likelihood.curvature[:, gains][:, :, gains].sum((1, 2))
        variance = 1 / (samples * curvature + weight)
        common = common + variance * slope
        change = torch.zeros_like(stf.theta)
        change[..., GAIN] = common[:, None]
        family = replace(stf.family, prior=stf.family.prior + change)
        moved = Stf.of(family, stf.theta + change, stf.theta_se, common_se=variance.sqrt())
    return moved


def _bounded(deviations: Tensor) -> Tensor:
    return deviations.clamp(-_MAX_DEVIATIONS, _MAX_DEVIATIONS)


def _refuse_nan(*tensors: Tensor) -> None:
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
        raise IncompleteRun(
            "the network gave NaN or infinity for the STF",
            remedy="nothing was written; check the input's values with uavssr inspect",
        )


def material_diversity(coefficients: Tensor, weight: Tensor) -> Tensor:
    """(S,) one for a scene of diverse materials (S, J, r), zero for a constant one.

    e / (e + 0.05), with e + 1 the participation ratio of the second moments of a = [A; 1]. A single
    spectrum determines no response: the prior explains any one.
    """
    # M = sum_j w_j a_j a_j^T
    extended = torch.cat([coefficients, torch.ones_like(coefficients[..., :1])], -1)
    second = (extended * weight[..., None]).mT @ extended
    excess = (participation(second) - 1).clamp_min(0)
    return excess / (excess + HALF_DIVERSITY_EXCESS)


def _tokens(materials: Materials, likelihood: StfLikelihood) -> Tensor:
    """P-Net's tokens (S, J, c, 4): a material in a band against the other bands' prediction."""
    residual, deviation = likelihood.band_residual, likelihood.band_residual_std
    predicted = (materials.values - residual).clamp_min(0.01)
    return torch.stack(
        [
            materials.values.clamp_min(0.003).log() + 2,
            (residual / predicted).clamp(-1.5, 1.5),
            (residual / deviation.clamp_min(1e-6)).clamp(-5, 5) / 2,
            (deviation / predicted).clamp(1e-3, 10).log() / 2,
        ],
        -1,
    )
