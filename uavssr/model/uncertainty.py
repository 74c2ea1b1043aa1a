"""The standard error of a cube: what the camera's bands leave open, and what its doubt adds.

Under component k of the mixture the spectrum of a pixel has a covariance P_k that the image does
not change, so the variance of every band of every pixel is a product of a few maps (made of which
component it is and how bright it is in each camera band) and a matrix fixed for a scene. Nothing
here knows of tiles or files.
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
"""Maps that are kept of a pixel's variance: it is smooth over the spectrum."""
OUTLIER_QUANTILE: Final = 3.7
"""Standard normal quantile beyond which a pixel counts as unlike all training spectra (1e-4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CubeUncertainty:
    """What turns pixels into standard errors, for one scene (S = 1)."""

    mixture: SpectralMixture
    """The prior."""
    seen: ObservationModel
    """How the scene's STF acts."""
    doubt: Tensor
    """(c, 3) standard errors of the STF's parameters."""
    reduction: Tensor
    """(q, K + c) from the probability of each component and the change of each band to maps."""
    expansion: Tensor
    """(C, q) from maps to the variance of each band."""
    floor: Tensor
    """(C,) the least variance, which the subspace leaves: rounding stays above it."""
    correction: Correction | None = None
    """What known spectra say of the pixels like them."""

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
        """For a scene's STF and its observation.

        With G_k = C_k B^T (B C_k B^T + S)^-1 the posterior covariance is P_k = C_k - G_k B C_k, and
        a band's variance diag(E P_k E^T) + residual^2. A doubt of the STF moves the cube by
        E W (dR / d theta X): W is the gain of the last X-step.

        Args:
            stf: of the scene (S = 1).
            seen: its observation, without its doubt.
            basis: of the coefficients.
            mixture: the prior.
            scale: (C,) factor on the standard errors that makes their intervals honest.
            correction: of the cube, by known spectra.
        """
        if correction is not None:
            scale = scale * correction.sigma_scale
        carried = mixture.covariance @ seen.mixing[0].mT  # (K, r, c)
        system = seen.mixing[0] @ carried + torch.diag_embed(seen.component_noise[0])
        left = mixture.covariance - carried @ torch.linalg.solve(system, carried.mT)
        own = torch.einsum("cr,krs,cs->ck", basis.components, left, basis.components)
        own = own.clamp_min(0) + basis.residual.square()[:, None]
        moved = (basis.components @ wiener_gain(seen.mixing, seen.final)[0]).square()
        variance = torch.cat([own, moved], 1) * scale.square()[:, None]
        # Bands and maps weigh alike, however large they are.
        band = variance.mean(1, keepdim=True).clamp_min(1e-12).double()
        part = (variance / band).mean(0).clamp_min(1e-12).double()
        level = variance.double() / band / part
        left_side, singular, right_side = torch.linalg.svd(level, full_matrices=False)
        kept = min(VARIANCE_MAPS, len(singular))
        return cls(
            mixture=mixture,
            seen=seen,
            doubt=stf.theta_se[0],
            reduction=(singular[:kept, None] * right_side[:kept] * part).to(variance),
            expansion=(left_side[:, :kept] * band).to(variance),
            floor=(basis.residual * scale).square(),
            correction=correction,
        )

    def maps(self, msi: Tensor, coefficients: Tensor) -> Tensor:
        """(B, q, H, W) of an image (B, c, H, W) and its coefficients (B, r, H, W).

        Coefficients behind the first r, of a wider basis, do not count.
        """
        shape = msi.shape[-2:]
        share, _ = self._component_posterior(msi)
        tangent = self.seen.tangent[0]  # (c, 3, r+1)
        flat = coefficients.flatten(2)[:, : tangent.shape[-1] - 1]
        change = torch.einsum("cpr,brn->bcpn", tangent[..., :-1], flat) + tangent[..., -1:]
        moved = (change * self.doubt[..., None]).square().sum(2)
        maps = (self.reduction @ torch.cat([share, moved], 1)).unflatten(-1, shape)
        return maps if self.correction is None else maps * self.correction.doubt(msi)[:, None]

    def expand(self, maps: Tensor) -> Tensor:
        """Standard errors (..., C, H, W), reflectance, of maps (..., q, H, W)."""
        flat = torch.einsum("cm,...mn->...cn", self.expansion, maps.flatten(-2))
        return torch.maximum(flat, self.floor[:, None]).sqrt().unflatten(-1, maps.shape[-2:])

    def outliers(self, msi: Tensor) -> Tensor:
        """(B, H, W) whether a pixel is unlike every component of the prior.

        Its squared Mahalanobis distance to the nearest exceeds the 1 - 1e-4 quantile of chi-squared
        with c degrees of freedom (Wilson and Hilferty 1931).
        """
        _, distance = self._component_posterior(msi)
        count = msi.shape[1]
        spread = 2 / (9 * count)
        limit = count * (1 - spread + OUTLIER_QUANTILE * math.sqrt(spread)) ** 3
        return (distance.amin(1) > limit).unflatten(-1, msi.shape[-2:])

    def _component_posterior(self, msi: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.seen
        return self.mixture.component_posterior(
            msi.flatten(2), seen.mixing, seen.offset, seen.component_noise
        )
