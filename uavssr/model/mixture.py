"""A Gaussian mixture prior of spectra and its Wiener estimate, from which the network starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

_CACHED_ELEMENTS: Final = 2**17
"""Numbers of one array between two steps on a CPU: more would not fit its cache."""
_LEAST_DISTANCE: Final = 1e-30
_MIN_LOG_RATIO: Final = -60.0
"""Least logarithm of a component's probability over the largest one's.

Nothing in float64, but a CPU multiplies numbers below 1e-38 far more slowly.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectralMixture:
    """The density sum_k weight_k N(mean_k, C_k) of the r coefficients of a SpectralBasis."""

    weight: Tensor
    """(K,) summing to one."""
    mean: Tensor
    """mu (K, r)."""
    covariance: Tensor
    """C (K, r, r)."""

    def second_moments(self) -> Tensor:
        """(K, r+1, r+1) E[a a^T] of a = [A; 1] under each component."""
        # E[a a^T] = [mu; 1][mu; 1]^T + diag(C, 0)
        extended = torch.cat([self.mean, torch.ones_like(self.mean[:, :1])], dim=1)
        moments = extended[:, :, None] * extended[:, None, :]
        moments[:, :-1, :-1] += self.covariance
        return moments

    def posterior(
        self, msi: Tensor, mixing: Tensor, offset: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Posterior mean and variance of the coefficients given an image, both (B, r, N).

            mean     = sum_k p_k (mu_k + G_k (Y - B mu_k - b)),  G_k = C_k B^T V_k^-1
            variance = sum_k p_k diag(C_k - G_k B C_k),          V_k = B C_k B^T + diag(noise_k)

        p_k is the posterior probability of component k at a pixel. The variance leaves out the
        spread between the components' means.

        Args:
            msi: Y (B, c, N) reflectance.
            mixing: B = R E (S, c, r), S = B or 1.
            offset: b = R mean (S, c).
            noise: (S, K, c) variance of a band's misfit under each component.
        """
        predicted, carried, factor = self._predicted(mixing, offset, noise)
        # G_k^T = V_k^-1 B C_k,  h_k = mu_k - G_k (B mu_k + b)
        gain = torch.cholesky_solve(carried, factor).mT  # (S, K, r, c)
        constant = self.mean - (gain @ predicted[..., None]).squeeze(-1)
        # diag(C_k - G_k B C_k)
        variance = self.covariance.diagonal(dim1=-2, dim2=-1) - (gain * carried.mT).sum(-1)
        # h_k, the columns of G_k, variance_k and one, from above: (S, (c + 2) r + 1, K)
        affine = torch.cat([constant[..., None], gain], -1).permute(0, 3, 2, 1).flatten(1, 2)
        ones = torch.ones_like(affine[:, :1])
        rows = torch.cat([affine, variance.clamp_min(0).mT, ones], 1).to(msi)
        evidence, rank = self._evidence(predicted, factor).to(msi), self.mean.shape[1]
        means, variances = [], []
        for part in self.parts(msi):
            extended = _extended(part)
            # sum_k q_k [h_k, G_k, variance_k, 1],  p_k = q_k / sum_k q_k
            sums = rows @ _relative_probability(evidence @ _products(extended))
            mean, *columns, variance, total = sums.split([rank] * (msi.shape[1] + 2) + [1], 1)
            for band, column in enumerate(columns):
                mean = mean.addcmul_(column, part[:, band, None])
            means.append(mean.div_(total))
            variances.append(variance.div_(total))
        return torch.cat(means, -1), torch.cat(variances, -1)

    def component_posterior(
        self, msi: Tensor, mixing: Tensor, offset: Tensor, noise: Tensor
    ) -> Tensor:
        """Probability p_k (B, K, N) of each component at a pixel, see `posterior`."""
        predicted, _, factor = self._predicted(mixing, offset, noise)
        evidence = self._evidence(predicted, factor).to(msi)
        share = _relative_probability(evidence @ _products(_extended(msi)))
        return share.div_(share.sum(1, keepdim=True))

    def nearest_distance(
        self, msi: Tensor, mixing: Tensor, offset: Tensor, noise: Tensor
    ) -> Tensor:
        """min_k (Y - B mu_k - b)^T V_k^-1 (Y - B mu_k - b), (B, N), see `posterior`."""
        predicted, _, factor = self._predicted(mixing, offset, noise)
        distance = -2 * _log_density(predicted, factor).to(msi)
        nearest = [(distance @ _products(_extended(part))).amin(1) for part in self.parts(msi)]
        return torch.cat(nearest, -1).clamp_min_(0)

    def parts(self, msi: Tensor) -> Sequence[Tensor]:
        """Y (B, c, N) in parts of as many pixels as a CPU's cache holds K numbers of."""
        cached = max(256, _CACHED_ELEMENTS // (len(msi) * len(self.weight)))
        return msi.split(cached, -1) if msi.device.type == "cpu" else [msi]

    def _predicted(
        self, mixing: Tensor, offset: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """B mu_k + b (S, K, c), B C_k (S, K, c, r), and L_k with V_k = L_k L_k^T (S, K, c, c).

        In float64: a V_k may have a condition of 1e5.
        """
        mixing, offset, noise = mixing.double(), offset.double(), noise.double()
        # B mu_k + b
        predicted = torch.einsum("scr,kr->skc", mixing, self.mean.double()) + offset[:, None]
        # V_k = B C_k B^T + diag(noise_k) = L_k L_k^T
        carried = mixing[:, None] @ self.covariance.double()
        system = carried @ mixing[:, None].mT + torch.diag_embed(noise)
        return predicted, carried, torch.linalg.cholesky(system)

    def _evidence(self, predicted: Tensor, factor: Tensor) -> Tensor:
        """(S, K, F) so that its product with `_products` is log(weight_k N(y; B mu_k + b, V_k))."""
        # log weight_k - log |L_k| - |L_k^-1 (y - B mu_k - b)|^2 / 2
        evidence = _log_density(predicted, factor)
        level = self.weight.double().log() - factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        evidence[..., 0] += level
        return evidence


def _extended(msi: Tensor) -> Tensor:
    """The vectors e = [1; y] (B, c+1, N) of pixels y (B, c, N)."""
    return torch.cat([torch.ones_like(msi[:, :1]), msi], 1)


def _products(extended: Tensor) -> Tensor:
    """Products e_i e_j, i <= j, (B, F, N) of e (B, c+1, N), by rows; the first is 1."""
    size = extended.shape[1]
    return torch.cat([extended[:, i, None] * extended[:, i:] for i in range(size)], 1)


def _log_density(predicted: Tensor, factor: Tensor) -> Tensor:
    """(S, K, F) so that its product with `_products` is -|L_k^-1 (y - B mu_k - b)|^2 / 2."""
    # -(y - m)^T P (y - m) / 2 = e^T Q e,  Q = -[[m^T P m, -m^T P], [-P m, P]] / 2,  P = V_k^-1
    precision = torch.cholesky_inverse(factor)
    pulled = precision @ predicted[..., None]
    top = torch.cat([predicted[..., None, :] @ pulled, -pulled.mT], -1)
    form = torch.cat([top, torch.cat([-pulled, precision], -1)], -2)
    i, j = torch.triu_indices(form.shape[-1], form.shape[-1], device=form.device)
    return form[..., i, j] * torch.where(i == j, -0.5, -1.0).to(form)


def _relative_probability(log_joint: Tensor) -> Tensor:
    """Probabilities (B, K, N) over the largest one's, from logarithms, which it overwrites."""
    log_joint -= log_joint.amax(1, keepdim=True)
    return log_joint.clamp_min_(_MIN_LOG_RATIO).exp_()


def fit_mixture(
    coefficients: Tensor,
    *,
    components: int,
    iterations: int = 60,
    floor: float = 1e-3,
    seed: int = 0,
) -> SpectralMixture:
    """Expectation maximisation on coefficients (n, r), started like k-means++.

        weight_k = sum_i p_ik / n,  mean_k = sum_i p_ik a_i / sum_i p_ik
        C_k = sum_i p_ik (a_i - mean_k)(a_i - mean_k)^T / sum_i p_ik + floor I

    Args:
        coefficients: a (n, r) samples of the prior.
        components: number of Gaussians K.
        iterations: EM steps.
        floor: variance added to each coefficient, in units of their unit variance.
        seed: of the first draw.
    """
    generator = torch.Generator().manual_seed(seed)
    data = coefficients.double()
    mean = _initial_means(data, components, generator)
    covariance = torch.eye(data.shape[1], dtype=data.dtype).repeat(components, 1, 1)
    weight = torch.full((components,), 1 / components, dtype=data.dtype)
    for _ in range(iterations):
        share = _log_joint(data, weight, mean, covariance).softmax(1)  # p (n, K)
        mass = share.sum(0).clamp_min(1e-6)
        weight = mass / mass.sum()
        mean = share.T @ data / mass[:, None]
        for k in range(components):
            centred = data - mean[k]
            covariance[k] = (share[:, k, None] * centred).T @ centred / mass[k]
            covariance[k].diagonal().add_(floor)
    return SpectralMixture(weight=weight.float(), mean=mean.float(), covariance=covariance.float())


def _initial_means(data: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """(count, r) samples, each drawn with probability of its squared distance to those before."""
    chosen = [data[torch.randint(len(data), (1,), generator=generator)]]
    distance = torch.full((len(data),), math.inf, dtype=data.dtype)
    for _ in range(count - 1):
        distance = torch.minimum(distance, (data - chosen[-1]).square().sum(1))
        rate = distance.clamp_min(_LEAST_DISTANCE)  # multinomial refuses zeros alone
        chosen.append(data[torch.multinomial(rate, 1, generator=generator)])
    return torch.cat(chosen)


def _log_joint(data: Tensor, weight: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """(n, K) log(weight_k N(a_i; mean_k, C_k)) up to a constant."""
    # log weight_k - |L_k^-1 (a - mean_k)|^2 / 2 - log |L_k|,  C_k = L_k L_k^T
    factor = torch.linalg.cholesky(covariance)
    columns = []
    for k in range(len(weight)):
        whitened = torch.linalg.solve_triangular(factor[k], (data - mean[k]).T, upper=False)
        columns.append(-0.5 * whitened.square().sum(0) - factor[k].diagonal().log().sum())
    return torch.stack(columns, 1) + weight.log()
