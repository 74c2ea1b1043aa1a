"""What the materials of a scene say of a camera: the R-step under the mixture prior of spectra.

Each material's spectrum is unknown, but not any spectrum: given the mixture, its reflectance in one
band tells what to expect in the others. Where a camera's bands disagree with each other for many
materials in the same way, the camera is not what its data sheet says.
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
    """The fit of an STF to S scenes' materials, and the normal equations of the R-step."""

    curvature: Tensor
    """(S, 3c, 3c) Fisher information of the parameters, per material."""
    gradient: Tensor
    """(S, 3c) of the log likelihood with respect to them, per material."""
    coefficients: Tensor
    """(S, J, r) posterior mean of each material's spectrum."""
    surprise: Tensor
    """(S, J, c) reflectance of a band beyond what the other bands lead to expect."""
    expected: Tensor
    """(S, J, c) standard deviation of that, under the prior."""

    @classmethod
    def of(
        cls, materials: Materials, mixture: SpectralMixture, seen: ObservationModel
    ) -> StfLikelihood:
        """StfLikelihood of materials at the STF whose observation (of coefficients) is `seen`.

        Component k sees a material as N(B mu_k + b, B C_k B^T + noise_k). With L the inverse of
        that covariance and d the misfit, L d / diag(L) is the misfit of each band given the others
        and 1 / diag(L) its variance; the posterior mean of the spectrum is mu_k + C_k B^T L d.
        The gradient is that of the mixture's likelihood with the determinants held, which draw
        every band towards its neighbours in scenes less diverse than the prior; the curvature is
        that of |d|_L^2 / 2 for spectra held at their mean (Gauss-Newton).
        """
        observed = torch.einsum("scr,kr->skc", seen.mixing, mixture.mean) + seen.offset[:, None]
        carried = mixture.covariance @ seen.mixing[:, None].mT  # (S, K, r, c)
        system = seen.mixing[:, None] @ carried + torch.diag_embed(seen.component_noise)
        precision = torch.cholesky_inverse(torch.linalg.cholesky(system))
        misfit = materials.values[:, None] - observed[:, :, None]  # (S, K, J, c)
        pulled = misfit @ precision
        level = mixture.weight.log() + 0.5 * torch.logdet(precision)
        score = level[..., None] - 0.5 * (misfit * pulled).sum(-1)
        share = torch.softmax(score, 1)  # (S, K, J)
        spectra = mixture.mean[:, None] + pulled @ carried.mT  # (S, K, J, r)
        extended = torch.cat([spectra, torch.ones_like(spectra[..., :1])], -1)
        weighted = (share * materials.weight[:, None])[..., None] * extended
        second = weighted.mT @ extended  # (S, K, r+1, r+1)
        cross = torch.einsum("skjc,skji->sci", pulled, weighted)
        tangent = seen.tangent.flatten(1, 2)  # (S, 3c, r+1)
        bands = seen.tangent.shape[1]
        both = tangent[:, None] @ second @ tangent[:, None].mT
        spread = precision.repeat_interleave(3, -1).repeat_interleave(3, -2)
        diagonal = precision.diagonal(dim1=-2, dim2=-1)
        return cls(
            curvature=(both * spread).sum(1),
            gradient=(seen.tangent @ cross[..., None]).reshape(-1, 3 * bands),
            coefficients=torch.einsum("skj,skjr->sjr", share, spectra),
            surprise=torch.einsum("skj,skjc->sjc", share, pulled / diagonal[:, :, None]),
            expected=torch.einsum("skj,skc->sjc", share, 1 / diagonal).sqrt(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseStep:
    """Result of the R-step within a response family."""

    theta: Tensor
    """(S, c, 3) parameters."""
    share: Tensor
    """(S, c, 3) share of each parameter's prior variance that the scene removes, 0..1."""


def r_step_mixture(
    theta: Tensor, prior: Tensor, spread: Tensor, evidence: StfLikelihood, samples: Tensor
) -> ResponseStep:
    """The R-step in a response family: one Gauss-Newton step with a Gaussian prior.

    argmin_t  samples (t - theta)^T H (t - theta) / 2 - samples g^T (t - theta)
              + |(t - prior) / spread|^2 / 2

    Args:
        theta: (S, c, 3) at which the evidence (H, g) was taken.
        prior: (S, c, 3) mean of the prior, `spread` its standard deviations.
        spread: (S, c, 3); a zero fixes the parameter.
        evidence: of the scenes.
        samples: (S,) how many independent materials a scene is worth.
    """
    scale = spread.flatten(1)
    curvature = evidence.curvature * samples[:, None, None]
    pull = (curvature @ (theta - prior).flatten(1)[..., None]).squeeze(-1)
    right = scale * (evidence.gradient * samples[:, None] + pull)
    identity = torch.eye(scale.shape[-1], dtype=scale.dtype, device=scale.device)
    system = identity + scale[..., :, None] * curvature * scale[..., None, :]
    covariance = torch.cholesky_inverse(torch.linalg.cholesky(system))
    change = (covariance @ right[..., None]).squeeze(-1)
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    return ResponseStep(
        theta=prior + (scale * change).reshape(theta.shape),
        share=(1 - variance).clamp(0, 1).reshape(theta.shape),
    )
