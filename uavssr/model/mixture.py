"""A Gaussian mixture prior of spectra and the Wiener estimate it gives: where the network starts.

Given the camera, each component's posterior mean is a Wiener filter with a closed form; what is
not known of the camera enters as noise, component by component.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

_CACHED_ELEMENTS: Final = 2**17
"""Numbers of one array between two steps on a CPU: more would go to the memory and back."""
_MIN_LOG_RATIO: Final = -60.0
"""Logarithm of the least share of a component in a pixel, against the largest one's.

Nothing in float64; but what lies below 1e-38 takes a CPU many times as long to multiply.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectralMixture:
    """sum_k weight_k N(mean_k, covariance_k) over the r coefficients of a SpectralBasis."""

    weight: Tensor
    """(K,) summing to one."""
    mean: Tensor
    """(K, r)."""
    covariance: Tensor
    """(K, r, r)."""

    def second_moments(self) -> Tensor:
        """(K, r+1, r+1) E[a a^T] of a = [A; 1] under each component."""
        one = torch.ones_like(self.mean[:, :1])
        extended = torch.cat([self.mean, one], dim=1)
        moments = extended[:, :, None] * extended[:, None, :]
        moments[:, :-1, :-1] += self.covariance
        return moments

    def posterior(
        self, msi: Tensor, mixing: Tensor, offset: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Posterior mean and variance of the coefficients given an image, both (B, r, N).

        The variance is the mean of the components' own; the spread between them is left out.

        Args:
            msi: Y (B, c, N).
            mixing: B = R E (S, c, r), S = B or 1.
            offset: R mean (S, c).
            noise: (S, K, c) variance of a band's misfit under each component.
        """
        observed, carried, factor = self._observed(mixing, offset, noise)
        gain = torch.cholesky_solve(carried, factor).mT  # (S, K, r, c)
        constant = self.mean - (gain @ observed[..., None]).squeeze(-1)
        variance = self.covariance.diagonal(dim1=-2, dim2=-1) - (gain * carried.mT).sum(-1)
        variance = variance.clamp_min(0)
        whitening = _whitening(observed, factor)
        means, variances = [], []
        for part in self._parts(msi):
            share = self._responsibility(_distance(part, *whitening), factor)
            mean = constant.mT @ share
            for band in range(msi.shape[1]):
                mean = mean + gain[..., band].mT @ (share * part[:, band, None])
            means.append(mean)
            variances.append(variance.mT @ share)
        return torch.cat(means, -1), torch.cat(variances, -1)

    def _parts(self, msi: Tensor) -> Iterator[Tensor]:
        """Pixels (B, c, .) that are computed at a time."""
        if msi.device.type != "cpu":
            return iter([msi])
        return iter(msi.split(max(256, _CACHED_ELEMENTS // (len(msi) * len(self.weight))), -1))

    def component_posterior(
        self, msi: Tensor, mixing: Tensor, offset: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Each component's posterior probability at each pixel, and the pixel's distance from it.

        Returns:
            Probability and squared Mahalanobis distance, both (B, K, N); arguments as in
            `posterior`.
        """
        observed, _, factor = self._observed(mixing, offset, noise)
        distance = _distance(msi, *_whitening(observed, factor))
        return self._responsibility(distance.clone(), factor), distance

    def _observed(
        self, mixing: Tensor, offset: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Of each component in the camera's bands: mean (S, K, c), B C (S, K, c, r), Cholesky."""
        observed = torch.einsum("scr,kr->skc", mixing, self.mean) + offset[:, None]
        carried = mixing[:, None] @ self.covariance
        system = carried @ mixing[:, None].mT + torch.diag_embed(noise)
        return observed, carried, torch.linalg.cholesky(system)

    def _responsibility(self, distance: Tensor, factor: Tensor) -> Tensor:
        """(B, K, N) posterior probability of each component; overwrites `distance`."""
        level = self.weight.log() - factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)  # (S, K)
        joint = distance.mul_(-0.5).add_(level[..., None])
        joint -= joint.amax(1, keepdim=True)
        return torch.softmax(joint.clamp_min_(_MIN_LOG_RATIO), dim=1)


def _whitening(observed: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """W (S, K, c, c) and t (S, K, c) with which W y - t has the unit matrix for covariance."""
    identity = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
    whiten = torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False)
    return whiten, (whiten @ observed[..., None]).squeeze(-1)


def _distance(msi: Tensor, whiten: Tensor, shift: Tensor) -> Tensor:
    """(B, K, N) squared Mahalanobis distance of pixels (B, c, N) from each component."""
    total: Tensor | None = None
    for row in range(msi.shape[1]):  # one (B, K, N) array at a time, not c of them
        part = whiten[:, :, row] @ msi
        part -= shift[:, :, row, None]
        total = part.square_() if total is None else torch.addcmul(total, part, part)
    if total is None:
        raise ValueError("an image without bands")
    return total


def fit_mixture(
    coefficients: Tensor,
    *,
    components: int,
    iterations: int = 60,
    floor: float = 1e-3,
    seed: int = 0,
) -> SpectralMixture:
    """Expectation maximisation on coefficients (n, r), started from a k-means++ like draw.

    Args:
        coefficients: samples of the prior.
        components: number of Gaussians.
        iterations: EM steps.
        floor: added to the covariances' diagonal, in units of the coefficients' unit variance.
        seed: of the starting draw.
    """
    generator = torch.Generator().manual_seed(seed)
    data = coefficients.double()
    mean = _spread_draw(data, components, generator)
    covariance = torch.eye(data.shape[1], dtype=data.dtype).repeat(components, 1, 1)
    weight = torch.full((components,), 1 / components, dtype=data.dtype)
    for _ in range(iterations):
        share = _log_joint(data, weight, mean, covariance).softmax(1)
        mass = share.sum(0).clamp_min(1e-6)
        weight = mass / mass.sum()
        mean = share.T @ data / mass[:, None]
        for k in range(components):
            centred = data - mean[k]
            covariance[k] = (share[:, k, None] * centred).T @ centred / mass[k]
            covariance[k].diagonal().add_(floor)
    return SpectralMixture(weight=weight.float(), mean=mean.float(), covariance=covariance.float())


def _spread_draw(data: Tensor, count: int, generator: torch.Generator) -> Tensor:
    chosen = [data[torch.randint(len(data), (1,), generator=generator)]]
    distance = torch.full((len(data),), math.inf, dtype=data.dtype)
    for _ in range(count - 1):
        distance = torch.minimum(distance, (data - chosen[-1]).square().sum(1))
        chosen.append(data[torch.multinomial(distance, 1, generator=generator)])
    return torch.cat(chosen)


def _log_joint(data: Tensor, weight: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    factor = torch.linalg.cholesky(covariance)
    columns = []
    for k in range(len(weight)):
        whitened = torch.linalg.solve_triangular(factor[k], (data - mean[k]).T, upper=False)
        columns.append(-0.5 * whitened.square().sum(0) - factor[k].diagonal().log().sum())
    return torch.stack(columns, 1) + weight.log()
