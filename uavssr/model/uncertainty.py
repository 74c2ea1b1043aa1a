"""The standard error of a cube: what the camera's bands leave open, and the STF's uncertainty.

A component's posterior covariance is the same at all pixels. So the variance of all bands is the
product of a few maps and a matrix that is fixed for a scene.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor

from uavssr.model.basis import SpectralBasis
from uavssr.model.correction import Correction
from uavssr.model.error_propagation import ErrorPropagation
from uavssr.model.mixture import SpectralMixture
from uavssr.model.state import ObservationModel, Stf

ANCHOR_NM: Final = 40.0
"""Distance in nm of the wavelengths at which the variance between components is taken."""
_INTERPOLATION_WEIGHT: Final = 0.01
"""Weight of linear interpolation between them, in squares over their mean."""
VARIANCE_MAPS: Final = 24
"""Most maps of a pixel's variance, q: it is smooth over the spectrum."""
OUTLIER_QUANTILE: Final = 3.7
"""Standard normal quantile of probability 1 - 1e-4, beyond which a pixel is an outlier."""
UNUSUAL_QUANTILE: Final = 1.28
"""Standard normal quantile of probability 0.9, beyond which a pixel is unusual."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CubeUncertainty:
    """The standard errors of the cube of one scene (S = 1) with C bands.

    Under component k the error of the coefficients has the covariance (`ErrorPropagation`)

        P_k = M C_k M^T + N_k S_k N_k^T

    with the sensor's noise S_k. The gains are those that the cube is made with. So

        variance = s^2 (sum_k p_k (diag(E P_k E^T) + residual^2) + sum_b (E N)_b^2 u_b
                        + sum_k p_k (E (m_k - sum_j p_j m_j))^2 + (common_se X)^2)
        u_b      = sum_p (theta_se_bp (Q a)_bp)^2,   N = sum_k weight_k N_k

    p_k is a component's probability at the pixel, m_k its posterior mean there, u_b the variance of
    band b that the STF's uncertainty leaves, a = [A; 1], and s the factor that makes 90 % intervals
    hold 90 %. The third and fourth terms are taken at J wavelengths, see `_anchors`.
    All sums are reduced to q maps by a truncated SVD.
    """

    mixture: SpectralMixture
    """The spectral prior, K components."""
    seen: ObservationModel
    """The observation model of the scene's STF, with its uncertainty."""
    sensor_noise: Tensor
    """(1, K, c) its component noise without that uncertainty."""
    theta_se: Tensor
    """(c, 3) standard errors of the STF's parameters."""
    common_se: Tensor
    """() standard error of the logarithm of a factor that all bands share."""
    at: Tensor
    """D (J, r+1), [E, mean] at the J wavelengths."""
    component_gain: Tensor
    """(K, J, c+1) [E K_k, E (mu_k - K_k (B mu_k + b))] at the J wavelengths: [Y; 1] to E m_k."""
    reduction: Tensor
    """(q, K + c + J) from p, u and the variances at the J wavelengths to maps."""
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
        sensor_noise: Tensor,
        basis: SpectralBasis,
        mixture: SpectralMixture,
        scale: Tensor,
        *,
        correction: Correction | None = None,
    ) -> CubeUncertainty:
        """The uncertainty with a scene's STF (S = 1); symbols as above.

        Args:
            stf: of the scene.
            seen: its observation model, which the network uses.
            sensor_noise: diag(S_k) (1, K, c), the same without the uncertainty of the STF.
            basis: E.
            mixture: the spectral prior.
            scale: s (C,).
            correction: of the cube.
        """
        if correction is not None:
            scale = scale * correction.sigma_scale
        steps = ErrorPropagation.of(seen, basis, mixture)
        # diag(E P_k E^T) + residual^2
        missed, passed = steps.missed, steps.passed
        own = torch.einsum("kcr,krs,kcs->ck", missed, mixture.covariance, missed).clamp_min(0)
        own = own + torch.einsum("kcb,kb->ck", passed.square(), sensor_noise[0])
        own = own + basis.residual.square()[:, None]
        from_stf = torch.einsum("k,kcb->cb", mixture.weight, passed).square()
        bands, between = _anchors(basis, mixture)
        at = basis.extended[bands]
        of_component = at[:, :-1] @ torch.cat([steps.gain, steps.constant[..., None]], -1)
        variance = torch.cat([own, from_stf, between.to(own)], 1) * scale.square()[:, None]
        # what p_k, u_b and the variances at the J wavelengths usually are
        stf_variance = (seen.component_noise - sensor_noise)[0].clamp_min(1e-9)
        typical = [torch.ones_like(own[0]), mixture.weight @ stf_variance]
        level = own[bands] @ mixture.weight + (stf.common_se[0] * basis.mean[bands]).square()
        reduction, expansion = _factorise(variance, torch.cat([*typical, level.clamp_min(1e-9)]))
        return cls(
            mixture=mixture,
            seen=seen,
            sensor_noise=sensor_noise,
            theta_se=stf.theta_se[0],
            common_se=stf.common_se[0],
            at=at,
            component_gain=of_component,
            reduction=reduction,
            expansion=expansion,
            floor=(basis.residual * scale).square(),
            correction=correction,
        )

    def own(self) -> CubeUncertainty:
        """The same of each pixel's own error alone, without what all pixels share: the STF."""
        theta_se, common_se = torch.zeros_like(self.theta_se), torch.zeros_like(self.common_se)
        return replace(self, theta_se=theta_se, common_se=common_se)

    def maps(self, msi: Tensor, coefficients: Tensor) -> Tensor:
        """Variance maps (B, q, H, W) of an image Y (B, c, H, W) and its coefficients (B, r, H, W).

        Coefficients after the first r, of a wider basis, do not count.
        """
        seen, image = self.seen, msi.flatten(2)
        tangent = seen.tangent[0]  # Q (c, 3, r+1)
        flat = coefficients.flatten(2)[:, : tangent.shape[-1] - 1]
        parts = self.mixture.parts(image)  # K maps of a whole tile would take too much memory
        sizes, maps_of_parts = [part.shape[-1] for part in parts], []
        for part, a in zip(parts, flat.split(sizes, -1), strict=True):
            share = self.mixture.component_posterior(
                part, seen.mixing, seen.offset, seen.component_noise
            )
            # u_b = sum_p (theta_se_bp (Q a)_bp)^2
            change = torch.einsum("cpr,brn->bcpn", tangent[..., :-1], a) + tangent[..., -1:]
            band_variance = (change * self.theta_se[..., None]).square().sum(2)
            common = self.common_se * (self.at[:, :-1] @ a + self.at[:, -1:])
            terms = [share, band_variance, self._between(part, share) + common.square()]
            maps_of_parts.append(self.reduction @ torch.cat(terms, 1))
        maps = torch.cat(maps_of_parts, -1).unflatten(-1, msi.shape[-2:])
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
        seen = self.seen
        nearest = self.mixture.nearest_distance(
            msi.flatten(2), seen.mixing, seen.offset, self.sensor_noise
        )
        return nearest.unflatten(-1, msi.shape[-2:])

    def _between(self, image: Tensor, share: Tensor) -> Tensor:
        """(B, J, N) variance of the components' posterior means, of pixels (B, c, N)."""
        # sum_k p_k x_k^2 - (sum_k p_k x_k)^2,  x_k = E m_k at one wavelength, less its mean over k
        variances = []
        centred = self.component_gain - self.component_gain.mean(0)
        for gain in centred.unbind(1):  # (K, c+1)
            mean = gain[:, :-1] @ image + gain[:, -1:]
            square = (share * mean.square()).sum(1)
            variances.append((square - (share * mean).sum(1).square()).clamp_min(0))
        return torch.stack(variances, 1)


def _anchors(basis: SpectralBasis, mixture: SpectralMixture) -> tuple[Tensor, Tensor]:
    """Indices (J,) of bands about `ANCHOR_NM` apart, and the weights (C, J) of squares there.

    The weights give the squares at all C bands of the prior's mean spectra, and of the differences
    between these, from their squares at the J bands; they stay near linear interpolation.
    """
    centres = basis.grid.centres
    count = min(len(centres), max(2, round((centres[-1] - centres[0]) / ANCHOR_NM) + 1))
    evenly = np.linspace(centres[0], centres[-1], count)
    bands = np.unique([basis.grid.nearest(nm) for nm in evenly.tolist()])
    linear = np.stack([np.interp(centres, centres[bands], hat) for hat in np.eye(len(bands))], 1)
    means = (mixture.mean @ basis.components.mT).double().cpu().numpy()
    first, second = np.triu_indices(len(means), 1)
    spectra = np.concatenate([means + basis.mean.cpu().numpy(), means[first] - means[second]])
    squares = spectra**2
    squares /= squares.mean(1, keepdims=True).clip(1e-12)
    # argmin_L |S - S_J L^T|^2 + n lambda |L - linear|^2
    at = squares[:, bands]
    gram = at.T @ at / len(at) + _INTERPOLATION_WEIGHT * np.eye(len(bands))
    weights = linear.T + np.linalg.solve(gram, at.T @ (squares - at @ linear.T) / len(at))
    return torch.from_numpy(bands), torch.from_numpy(weights.T)


def chi_square_quantile(freedom: int, quantile: float) -> float:
    """Quantile f (1 - v + z sqrt(v))^3, v = 2 / (9 f), of chi-square (Wilson and Hilferty 1931).

    Args:
        freedom: f degrees of freedom.
        quantile: z of the standard normal distribution.
    """
    spread = 2 / (9 * freedom)
    return freedom * (1 - spread + quantile * math.sqrt(spread)) ** 3


def _factorise(variance: Tensor, typical: Tensor) -> tuple[Tensor, Tensor]:
    """Factors (q, m) and (C, q) whose product is about `variance` (C, m).

    A truncated SVD of what each of the m columns adds to a band, relative to all of them, where
    `typical` (m,) is the number that a column is usually multiplied with.
    """
    added = (variance * typical).double()
    band = added.mean(1, keepdim=True).clamp_min(1e-12)
    # variance typical / band = U S V^T
    left, singular, right = torch.linalg.svd(added / band, full_matrices=False)
    count = min(VARIANCE_MAPS, len(singular))
    reduction = singular[:count, None] * right[:count] / typical
    return reduction.to(variance), (left[:, :count] * band).to(variance)
