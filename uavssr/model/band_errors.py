"""Joint standard errors of a few bands of a cube, for quantities that are made of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from uavssr.model.basis import SpectralBasis
from uavssr.model.correction import Correction
from uavssr.model.error_propagation import ErrorPropagation
from uavssr.model.mixture import SpectralMixture
from uavssr.model.state import ObservationModel, Stf


class Direction(NamedTuple):
    """Weights of t of the m combinations, at N pixels."""

    rows: list[int]
    """(t,) their numbers."""
    weight: Tensor
    """g (t, N)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandErrors:
    """The errors of x = L X, m linear combinations of the C bands of one scene's cube (S = 1).

    The errors of bands are correlated, so that the error of an index does not follow from
    `CubeUncertainty`. A pixel's error has two parts: its own, and what all pixels share, which no
    mean over pixels makes smaller:

        cov(x)  = own + shared shared^T
        own     = sum_k p_k D_k + sum_k p_k (x_k - sum_j p_j x_j) (x_k - sum_j p_j x_j)^T
        D_k     = L' E P_k E^T L'^T + diag((|L'| residual)^2)
        shared  = [L' E N (theta_se_bp (Q a)_bp)  for each parameter p of each band b,
                   common_se x]

    P_k, N, Q, p_k and a are those of `CubeUncertainty`, x_k is L' E m_k, and L' = L diag(s) with
    the factor s that makes 90 % intervals of bands hold 90 %.
    """

    mixture: SpectralMixture
    """The spectral prior, K components."""
    seen: ObservationModel
    """The observation model of the scene's STF, with its uncertainty."""
    own_covariance: Tensor
    """D_k (K, m, m)."""
    component_gain: Tensor
    """L' E [K_k, mu_k - K_k (B mu_k + b)] (K, m, c+1): [Y; 1] to x_k."""
    from_stf: Tensor
    """L' E N diag(theta_se) (m, c, 3)."""
    common: Tensor
    """common_se L' [E, mean] (m, r+1)."""
    correction: Correction | None = None
    """The correction of the cube with reference spectra."""

    @classmethod
    def of(
        cls,
        combinations: Tensor,
        stf: Stf,
        seen: ObservationModel,
        sensor_noise: Tensor,
        basis: SpectralBasis,
        mixture: SpectralMixture,
        *,
        correction: Correction | None = None,
    ) -> BandErrors:
        """The errors with a scene's STF (S = 1); symbols as above.

        Args:
            combinations: L' (m, C).
            stf: of the scene.
            seen: its observation model, with its uncertainty.
            sensor_noise: diag(S_k) (1, K, c), without the uncertainty of the STF.
            basis: E.
            mixture: the spectral prior.
            correction: of the cube.
        """
        steps = ErrorPropagation.of(seen, basis, mixture)
        # L' E M, L' E N_k
        missed, passed = combinations @ steps.missed, combinations @ steps.passed
        own = missed @ mixture.covariance @ missed.mT
        own = own + (passed * sensor_noise[0, :, None]) @ passed.mT
        outside = (combinations.abs() @ basis.residual).square()
        average = torch.einsum("k,kmb->mb", mixture.weight, passed)
        of_component = torch.cat([steps.gain, steps.constant[..., None]], -1)
        return cls(
            mixture=mixture,
            seen=seen,
            own_covariance=own + torch.diag(outside),
            component_gain=combinations @ basis.components @ of_component,
            from_stf=average[..., None] * stf.theta_se[0],
            common=stf.common_se[0] * (combinations @ basis.extended),
            correction=correction,
        )

    def own(self, msi: Tensor) -> Tensor:
        """(B, m, m, N) covariance of each pixel's own error, of an image Y (B, c, N)."""
        seen, parts = self.seen, []
        first, second = torch.triu_indices(*self.own_covariance.shape[1:])
        for part in self.mixture.parts(msi):
            share = self.mixture.component_posterior(
                part, seen.mixing, seen.offset, seen.component_noise
            )
            # x_k less its mean over k, which changes no covariance and keeps digits
            gain = self.component_gain - self.component_gain.mean(0)
            x = torch.einsum("kmb,zbn->zkmn", gain[..., :-1], part) + gain[..., -1:]
            mean = torch.einsum("zkn,zkmn->zmn", share, x)
            square = torch.einsum("zkn,zkpn->zpn", share, x[:, :, first] * x[:, :, second])
            within = torch.einsum("zkn,kp->zpn", share, self.own_covariance[:, first, second])
            parts.append(within + square - mean[:, first] * mean[:, second])
        upper = torch.cat(parts, -1)
        count = self.own_covariance.shape[1]
        full = upper.new_empty(len(upper), count, count, upper.shape[-1])
        full[:, first, second] = full[:, second, first] = upper
        return full * self._factor(msi)[:, None, None]

    def own_variance(self, msi: Tensor) -> Tensor:
        """(B, m, N) the diagonal of `own`, in a tenth of the time: by products of matrices."""
        seen, parts = self.seen, []
        gain = self.component_gain - self.component_gain.mean(0)
        count, size = gain.shape[1:]
        first, second = torch.triu_indices(size, size)
        twice = torch.where(first == second, 1.0, 2.0).to(gain)
        # x_k^2 = sum_f (g g^T)_f ([Y; 1] [Y; 1]^T)_f, over the F pairs f of the upper triangle
        square = gain[..., first] * gain[..., second] * twice
        within = self.own_covariance.diagonal(dim1=1, dim2=2)
        rows = torch.cat([square.flatten(1), gain.flatten(1), within], 1).mT
        sizes = [count * len(first), count * size, count]
        for part in self.mixture.parts(msi):
            share = self.mixture.component_posterior(
                part, seen.mixing, seen.offset, seen.component_noise
            )
            extended = torch.cat([part, torch.ones_like(part[:, :1])], 1)
            squares, means, variance = (rows @ share).split(sizes, 1)
            pairs = extended[:, first] * extended[:, second]
            total = (squares.unflatten(1, (count, -1)) * pairs[:, None]).sum(2)
            mean = (means.unflatten(1, (count, -1)) * extended[:, None]).sum(2)
            parts.append(variance + total - mean.square())
        return torch.cat(parts, -1) * self._factor(msi)[:, None]

    def variances_along(self, msi: Tensor, directions: Sequence[Direction]) -> Tensor:
        """(I, N) variances g^T own g of sums of x with weights g, of an image Y (1, c, N).

        No covariance of x is made, so this takes a tenth of the time of `own`.
        """
        seen, gain = self.seen, self.component_gain - self.component_gain.mean(0)
        fixed = [
            (gain[:, rows].flatten(1), self.own_covariance[:, rows][:, :, rows].flatten(1))
            for rows, _ in directions
        ]
        parts = self.mixture.parts(msi)
        sizes = [part.shape[-1] for part in parts]
        weights = zip(*(weight.split(sizes, -1) for _, weight in directions), strict=True)
        variances = []
        for part, of_part in zip(parts, weights, strict=True):
            share = self.mixture.component_posterior(
                part, seen.mixing, seen.offset, seen.component_noise
            )[0]
            extended, rows = torch.cat([part[0], torch.ones_like(part[0, :1])]), []
            for (gain_of, within), g in zip(fixed, of_part, strict=True):
                # s_k = g^T x_k
                change = gain_of @ (g[:, None] * extended).flatten(0, 1)
                # sum_k p_k (g^T D_k g + s_k^2) - (sum_k p_k s_k)^2
                square = (within @ (g[:, None] * g).flatten(0, 1)).addcmul_(change, change)
                rows.append((share * square).sum(0) - (share * change).sum(0).square())
            variances.append(torch.stack(rows))
        return torch.cat(variances, -1) * self._factor(msi)

    def shared(self, msi: Tensor, coefficients: Tensor) -> Tensor:
        """(B, m, 3 c + 1, N) change of x by one standard error of each quantity that pixels share.

        Args:
            msi: Y (B, c, N).
            coefficients: A (B, r, N); those after the first r, of a wider basis, do not count.
        """
        return self.shared_of(self.extended(msi, coefficients))

    def extended(self, msi: Tensor, coefficients: Tensor) -> Tensor:
        """sqrt(f) [A; 1] (B, r+1, N), f the correction's factor on variances.

        `shared_of` is linear in it: the mean of the shared changes of pixels is that of their mean.
        """
        a = coefficients[:, : self.common.shape[-1] - 1]
        return torch.cat([a, torch.ones_like(a[:, :1])], 1) * self._factor(msi).sqrt()[:, None]

    def shared_of(self, extended: Tensor) -> Tensor:
        """(B, m, 3 c + 1, N) the shared changes of (weighted sums of) `extended` (B, r+1, N)."""
        tangent, a, one = self.seen.tangent[0], extended[:, :-1], extended[:, -1:]
        # (Q a)_bp
        change = torch.einsum("bpr,zrn->zbpn", tangent[..., :-1], a)
        change = change + tangent[..., -1:] * one[:, None]
        of_bands = (self.from_stf[..., None] * change[:, None]).flatten(2, 3)
        common = (self.common[:, :-1] @ a + self.common[:, -1:] * one)[:, :, None]
        return torch.cat([of_bands, common], 2)

    def _factor(self, msi: Tensor) -> Tensor:
        """(B, N) factor on variances: small near reference spectra."""
        if self.correction is None:
            return msi.new_ones(len(msi), msi.shape[-1])
        return self.correction.variance_factor(msi[..., None])[..., 0]
