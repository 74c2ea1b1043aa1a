"""The R-step under the mixture prior of spectra: the likelihood of an STF given materials.

A material's reflectance in some bands predicts that in the others. Where a camera's bands disagree
with these predictions alike for many materials, its responses differ from the data sheet.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from uavssr.model.materials import Materials
from uavssr.model.mixture import SpectralMixture
from uavssr.model.state import ObservationModel


@dataclass(frozen=True, slots=True, kw_only=True)
class StfLikelihood:
    """The log likelihood of theta given the materials of S scenes, to second order.

    Component k predicts a material y (c,) as N(B mu_k + b, V_k), V_k = B C_k B^T + diag(noise_k).
    With d = y - B mu_k - b and responsibilities p_k = P(k | y), spectra have the posterior mean
    A_k = mu_k + C_k B^T V_k^-1 d; a = [A; 1], and Q = dR / d theta [E, mean]:

        gradient   g = E[p_k (V_k^-1 d) * (Q a_k)]
        curvature  H = E[p_k (Q a_k)(Q a_k)^T * V_k^-1]

    E[.] sums over components k and takes the weighted mean over materials. g leaves out the change
    of det V_k, which pulls bands towards each other in scenes less diverse than the prior. H is
    that of Gauss-Newton, with spectra held at their mean.
    """

    curvature: Tensor
    """H (S, 3c, 3c), per material."""
    gradient: Tensor
    """g (S, 3c), per material."""
    coefficients: Tensor
    """(S, J, r) posterior mean of each material's spectrum."""
    band_residual: Tensor
    """(S, J, c) reflectance of a band minus its prediction from the other bands."""
    band_residual_std: Tensor
    """(S, J, c) standard deviation of that residual under the prior."""

    @classmethod
    def of(
        cls, materials: Materials, mixture: SpectralMixture, seen: ObservationModel
    ) -> StfLikelihood:
        """The likelihood of materials at the STF whose observation model is `seen`."""
        precision, misfit, share, spectra = _posterior(materials, mixture, seen)
        extended = torch.cat([spectra, torch.ones_like(spectra[..., :1])], -1)
        # M_k = E[p_k a a^T],  T = E[p_k (V_k^-1 d) a^T]
        weighted = (share * materials.weight[:, None])[..., None] * extended
        second = weighted.mT @ extended  # (S, K, r+1, r+1)
        cross = torch.einsum("skjc,skji->sci", misfit, weighted)
        # H = sum_k (Q M_k Q^T) * V_k^-1,  g = Q T
        tangent = seen.tangent.flatten(1, 2)  # (S, 3c, r+1)
        both = tangent[:, None] @ second @ tangent[:, None].mT
        spread = precision.repeat_interleave(3, -1).repeat_interleave(3, -2)
        # given the other bands: residual (V^-1 d)_b / (V^-1)_bb, variance 1 / (V^-1)_bb
        diagonal = precision.diagonal(dim1=-2, dim2=-1)
        conditional = misfit / diagonal[:, :, None]
        return cls(
            curvature=(both * spread).sum(1),
            gradient=(seen.tangent @ cross[..., None]).flatten(1),
            coefficients=torch.einsum("skj,skjr->sjr", share, spectra),
            band_residual=torch.einsum("skj,skjc->sjc", share, conditional),
            band_residual_std=torch.einsum("skj,skc->sjc", share, 1 / diagonal).sqrt(),
        )


def gradients_of(values: Tensor, mixture: SpectralMixture, seen: ObservationModel) -> Tensor:
    """The gradients g (n, 3c) of n spectra of their own, values (n, c); see `StfLikelihood`."""
    each = Materials(values=values[None], weight=torch.ones_like(values[None, :, 0]))
    _, misfit, share, spectra = _posterior(each, mixture, seen)
    extended = torch.cat([spectra, torch.ones_like(spectra[..., :1])], -1)[0]
    # T = sum_k p_k (V_k^-1 d) a^T,  g = Q T
    cross = torch.einsum("kj,kjc,kji->jci", share[0], misfit[0], extended)
    return torch.einsum("cpi,jci->jcp", seen.tangent[0], cross).flatten(1)


def _posterior(
    materials: Materials, mixture: SpectralMixture, seen: ObservationModel
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """V_k^-1 (S, K, c, c), V_k^-1 d (S, K, J, c), p_k (S, K, J) and A_k (S, K, J, r)."""
    # V_k^-1,  V_k = B C_k B^T + diag(noise_k)
    carried = mixture.covariance @ seen.mixing[:, None].mT  # C_k B^T (S, K, r, c)
    system = seen.mixing[:, None] @ carried + torch.diag_embed(seen.component_noise)
    precision = torch.cholesky_inverse(torch.linalg.cholesky(system))
    # d = y - B mu_k - b,  V_k^-1 d
    predicted = torch.einsum("scr,kr->skc", seen.mixing, mixture.mean) + seen.offset[:, None]
    misfit = materials.values[:, None] - predicted[:, :, None]
    weighted_misfit = misfit @ precision
    # p_k ~ weight_k |V_k|^-1/2 exp(-d^T V_k^-1 d / 2)
    level = mixture.weight.log() + 0.5 * torch.logdet(precision)
    share = torch.softmax(level[..., None] - 0.5 * (misfit * weighted_misfit).sum(-1), 1)
    # A_k = mu_k + C_k B^T V_k^-1 d
    spectra = mixture.mean[:, None] + weighted_misfit @ carried.mT
    return precision, weighted_misfit, share, spectra


def r_step_mixture(
    theta: Tensor, prior: Tensor, spread: Tensor, likelihood: StfLikelihood, samples: Tensor
) -> tuple[Tensor, Tensor]:
    """The R-step in a response family: one Gauss-Newton step with a Gaussian prior.

        argmin_t  n (t - theta)^T H (t - theta) / 2 - n g^T (t - theta) + |(t - prior) / s|^2 / 2
        t = prior + s (I + s n H s)^-1 s n (g + H (theta - prior))

    Args:
        theta: (S, c, 3) parameters at which the likelihood (H, g) was taken.
        prior: (S, c, 3) prior mean.
        spread: s (S, c, 3) prior standard deviation; a zero fixes the parameter.
        likelihood: of the scenes.
        samples: n (S,) number of independent materials that a scene counts for.

    Returns:
        The parameters t and the share of their prior variance that the scene removes, 0..1, both
        (S, c, 3).
    """
    scale = spread.flatten(1)
    # right = s (n g + n H (theta - prior)),  system = I + s n H s
    curvature = likelihood.curvature * samples[:, None, None]
    pull = (curvature @ (theta - prior).flatten(1)[..., None]).squeeze(-1)
    right = scale * (likelihood.gradient * samples[:, None] + pull)
    identity = torch.eye(scale.shape[-1], dtype=scale.dtype, device=scale.device)
    system = identity + scale[..., :, None] * curvature * scale[..., None, :]
    # system^-1 is the posterior covariance in units of s
    covariance = torch.cholesky_inverse(torch.linalg.cholesky(system))
    change = (covariance @ right[..., None]).squeeze(-1)
    share = (1 - covariance.diagonal(dim1=-2, dim2=-1)).clamp(0, 1)
    return prior + (scale * change).reshape(theta.shape), share.reshape(theta.shape)
