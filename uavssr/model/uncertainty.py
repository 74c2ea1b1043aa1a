"""The standard error of a cube: what the camera's bands leave open, and the STF's uncertainty.

A component's posterior covariance is the same at all pixels. So the variance of all bands is the
product of a few maps and a matrix that is fixed for a scene.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from uavssr.model.basis import SpectralBasis
from uavssr.model.correction import Correction
from uavssr.model.mixture import SpectralMixture
from uavssr.model.solvers import wiener_gain
from uavssr.model.state import ObservationModel, Stf

VARIANCE_MAPS: Final = 16
"""Most maps of a pixel's variance, q: it is smooth over the spectrum."""
OUTLIER_QUANTILE: Final = 3.7
"""Standard normal quantile of probability 1 - 1e-4, beyond which a pixel is an outlier."""
UNUSUAL_QUANTILE: Final = 1.28
"""Standard normal quantile of probability 0.9, beyond which a pixel is unusual."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CubeUncertainty:
    """The standard errors of the cube of one scene (S = 1) with C bands.

        variance = s^2 (sum_k p_k (diag(E P_k E^T) + residual^2) + sum_b (E w_b)^2 u_b)
        P_k      = C_k - C_k B^T (B C_k B^T + diag(noise_k))^-1 B C_k
        u_b      = sum_p (theta_se_bp (Q a)_bp)^2

    p_k is a component's probability at the pixel, w_b column b of the last X-step's gain, u_b the
    variance of band b that the STF's uncertainty leaves, a = [A; 1], and s the factor that makes
    90 % intervals hold 90 %. The sums over k and b are reduced to q maps by a truncated SVD.
    """

    mixture: SpectralMixture
    """The spectral prior, K components."""
    seen: ObservationModel
    """The observation model of the scene's STF, without its uncertainty."""
    theta_se: Tensor
    """(c, 3) standard errors of the STF's parameters."""
    reduction: Tensor
    """(q, K + c) from p and u to maps."""
    expansion: Tensor
    """(C, q) from maps to the variance of each band, reflectance squared."""
    floor: Tensor
    """(C,) least variance, (s residual)^2; rounding of the SVD may not go below."""
    correction: Correction | None = None
    """The correction of the cube with reference spectra."""

    @classmethod
    def of(
        cls,
        stf: Stf,
        seen: ObservationModel,
        basis: SpectralBasis,
        mixture: SpectralMixture,
        scale: Tensor,
        *,
        correction: Correction | None = None,
    ) -> CubeUncertainty:
        """The uncertainty with a scene's STF (S = 1); `scale` is s (C,), symbols as above."""
        if correction is not None:
            scale = scale * correction.sigma_scale
        # P_k = C_k - C_k B^T (B C_k B^T + diag(noise_k))^-1 B C_k
        carried = mixture.covariance @ seen.mixing[0].mT  # (K, r, c)
        system = seen.mixing[0] @ carried + torch.diag_embed(seen.component_noise[0])
        posterior = mixture.covariance - carried @ torch.linalg.solve(system, carried.mT)
        # diag(E P_k E^T) + residual^2,  (E W)^2
        own = torch.einsum("cr,krs,cs->ck", basis.components, posterior, basis.components)
        own = own.clamp_min(0) + basis.residual.square()[:, None]
        from_stf = (basis.components @ wiener_gain(seen.mixing, seen.final)[0]).square()
        variance = torch.cat([own, from_stf], 1) * scale.square()[:, None]  # (C, K + c)
        reduction, expansion = _factorise(variance)
        return cls(
            mixture=mixture,
            seen=seen,
            theta_se=stf.theta_se[0],
            reduction=reduction,
            expansion=expansion,
            floor=(basis.residual * scale).square(),
            correction=correction,
        )

    def maps(self, msi: Tensor, coefficients: Tensor) -> Tensor:
        """Variance maps (B, q, H, W) of an image Y (B, c, H, W) and its coefficients (B, r, H, W).

        Coefficients after the first r, of a wider basis, do not count.
        """
        shape = msi.shape[-2:]
        share = self.mixture.component_posterior(msi.flatten(2), *self._observation)
        tangent = self.seen.tangent[0]  # Q (c, 3, r+1)
        flat = coefficients.flatten(2)[:, : tangent.shape[-1] - 1]
        # u_b = sum_p (theta_se_bp (Q a)_bp)^2
        change = torch.einsum("cpr,brn->bcpn", tangent[..., :-1], flat) + tangent[..., -1:]
        band_variance = (change * self.theta_se[..., None]).square().sum(2)
        maps = (self.reduction @ torch.cat([share, band_variance], 1)).unflatten(-1, shape)
        if self.correction is None:
            return maps
        return maps * self.correction.variance_factor(msi)[:, None]

    def expand(self, maps: Tensor) -> Tensor:
        """Standard errors (..., C, H, W), reflectance, of maps (..., q, H, W)."""
        # sqrt(max(expansion maps, floor))
        flat = torch.einsum("cm,...mn->...cn", self.expansion, maps.flatten(-2))
        return torch.maximum(flat, self.floor[:, None]).sqrt().unflatten(-1, maps.shape[-2:])

    def distance(self, msi: Tensor) -> Tensor:
        """(B, H, W) squared Mahalanobis distance of pixels of Y (B, c, H, W) to the prior.

        It is that to the nearest component; to its own, a pixel's is distributed as chi-square.
        """
        nearest = self.mixture.nearest_distance(msi.flatten(2), *self._observation)
        return nearest.unflatten(-1, msi.shape[-2:])

    @property
    def _observation(self) -> tuple[Tensor, Tensor, Tensor]:
        """B = R E, b = R mean and the noise, as the mixture takes them."""
        return self.seen.mixing, self.seen.offset, self.seen.component_noise


def chi_square_quantile(freedom: int, quantile: float) -> float:
    """Quantile f (1 - v + z sqrt(v))^3, v = 2 / (9 f), of chi-square (Wilson and Hilferty 1931).

    Args:
        freedom: f degrees of freedom.
        quantile: z of the standard normal distribution.
    """
    spread = 2 / (9 * freedom)
    return freedom * (1 - spread + quantile * math.sqrt(spread)) ** 3


def _factorise(variance: Tensor) -> tuple[Tensor, Tensor]:
    """Factors (q, m) and (C, q) whose product is about `variance` (C, m).

    A truncated SVD of relative variances, so that small bands and columns count like large ones.
    """
    band = variance.mean(1, keepdim=True).clamp_min(1e-12).double()
    column = (variance / band).mean(0).clamp_min(1e-12).double()
    # variance / (band column) = U S V^T
    relative = variance.double() / band / column
    left, singular, right = torch.linalg.svd(relative, full_matrices=False)
    count = min(VARIANCE_MAPS, len(singular))
    reduction = singular[:count, None] * right[:count] * column
    return reduction.to(variance), (left[:, :count] * band).to(variance)
