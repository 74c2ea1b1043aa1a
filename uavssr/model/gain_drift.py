"""Drift of the gains within a scene: how the colours of a part deviate from those of the whole.

A cloud or the sun sensor changes the gains of some tiles. The scene itself predicts each band from
the others far better than a library does, as it holds the same materials.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from uavssr.model.materials import REFLECTANCE_FLOOR
from uavssr.model.mixture import fit_mixture
from uavssr.model.uncertainty import UNUSUAL_QUANTILE, chi_square_quantile

RELATIVE_SPREAD: Final = 0.03
"""Prior standard deviation of a part's log gain in a band, beside what all bands share.

Plots of one flight differ by 0.028 to 0.055, errors of their spectra included
(`benchmarks/tile_stf.py`, real development flights).
"""
LEVEL_SPREAD: Final = 0.06
"""The same of a factor that all bands share, from the same plots: 0.042 to 0.078."""
GROUND_SPREAD: Final = 0.5
"""Standard deviation of the log brightness of a part's ground against the scene's."""
PART_SAMPLES: Final = 6.0
"""Independent pixels that a part counts for, far fewer than it has: neighbours are alike.

Chosen on the development scenes (`benchmarks/tile_stf.py`).
"""
HALF_SAMPLES_PIXELS: Final = 64
"""Pixels of a part at which it counts for half of them."""
SCENE_COMPONENTS: Final = 5
"""Gaussians of a scene's colours: more would hold the drift itself."""
COLOUR_VARIANCE_FLOOR: Final = 4e-4
"""Variance added to each band's log reflectance: noise of 2 %."""
FIT_ITERATIONS: Final = 20
_UNINFORMED_VARIANCE: Final = 1e6
"""Variance of log reflectance in a scene without pixels that count: nothing is learned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneColours:
    """A Gaussian mixture of a scene's log reflectance in c bands, in float64 on the CPU."""

    weight: Tensor
    """(K,) summing to one."""
    mean: Tensor
    """(K, c) log reflectance."""
    precision: Tensor
    """(K, c, c) inverse covariances."""
    gradient: Tensor
    """(c,) mean of `_moments` over the scene, which the part's is compared with."""

    @classmethod
    def fit(cls, msi: Tensor) -> SceneColours:
        """The colours of a scene's pixels Y (n, c), reflectance; nothing is random."""
        points, bands = _log(msi), msi.shape[1]
        if len(points) < SCENE_COMPONENTS * bands:
            precision = torch.eye(bands, dtype=torch.float64) / _UNINFORMED_VARIANCE
            zeros = torch.zeros(1, bands, dtype=torch.float64)
            return cls(
                weight=torch.ones(1, dtype=torch.float64),
                mean=zeros,
                precision=precision[None],
                gradient=zeros[0],
            )
        mixture = fit_mixture(
            points,
            components=SCENE_COMPONENTS,
            iterations=FIT_ITERATIONS,
            floor=COLOUR_VARIANCE_FLOOR,
        )
        factor = torch.linalg.cholesky(mixture.covariance.double())
        colours = cls(
            weight=mixture.weight.double(),
            mean=mixture.mean.double(),
            precision=torch.cholesky_inverse(factor),
            gradient=torch.zeros(bands, dtype=torch.float64),
        )
        gradient, _ = colours._moments(points)
        return cls(
            weight=colours.weight,
            mean=colours.mean,
            precision=colours.precision,
            gradient=gradient,
        )

    def drift(self, msi: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (c,) of a part's log gains against the scene's.

            P(d) = N(0, s^2 I + t^2 1 1^T),  g - g_scene ~ N(H d, H / n)
            d = C n (g - g_scene),  C = (n H + P^-1)^-1

        s is `RELATIVE_SPREAD`, n at most `PART_SAMPLES`. A factor of all bands looks like brighter
        ground, hence t (`GROUND_SPREAD`); it is then removed from d and C.

        Args:
            msi: Y (n, c) the part's pixels that count, reflectance.
        """
        bands = self.mean.shape[1]
        identity = torch.eye(bands, dtype=torch.float64)
        common = torch.full((bands, bands), 1 / bands, dtype=torch.float64)
        gradient, curvature = self._moments(_log(msi))
        samples = PART_SAMPLES * len(msi) / (len(msi) + HALF_SAMPLES_PIXELS)
        # C = (n H + (s^2 I + t^2 1 1^T)^-1)^-1
        prior = RELATIVE_SPREAD**2 * identity + GROUND_SPREAD**2 * bands * common
        system = samples * curvature + torch.linalg.inv(prior)
        covariance = torch.linalg.inv(system)
        relative = identity - common
        # d = (I - 1 1^T / c) C n (g - g_scene)
        drift = relative @ covariance @ (samples * (gradient - self.gradient))
        variance = (relative @ covariance @ relative).diagonal()
        return drift, variance.clamp_min(0).sqrt()

    def _moments(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Mean gradient g (c,) and curvature H (c, c) of log reflectance x (n, c); zeros if n = 0.

            g = E[u sum_k p_k P_k (x - mu_k)],  H = E[u sum_k p_k P_k]

        p_k is the probability of component k with precision P_k at a pixel. u lowers the weight of
        pixels beyond the scene's 90 % quantile: they are other ground rather than drift.
        """
        # P_k (x - mu_k),  d_k^2 = (x - mu_k)^T P_k (x - mu_k), both by component first
        centred = points - self.mean[:, None]
        pulled = centred @ self.precision
        distance = (centred * pulled).sum(-1)
        # p_k ~ weight_k |P_k|^1/2 exp(-d_k^2 / 2)
        level = self.weight.log() + 0.5 * torch.logdet(self.precision)
        share = torch.softmax(level[:, None] - 0.5 * distance, 0)
        limit = chi_square_quantile(points.shape[1], UNUSUAL_QUANTILE)
        typical = (share * distance).sum(0).clamp_min(limit)
        weighted = share * (limit / typical) / max(len(points), 1)
        gradient = (weighted[..., None] * pulled).sum((0, 1))
        # H = sum_k P_k sum_i u_i p_ik / n
        curvature = (weighted.sum(1)[:, None, None] * self.precision).sum(0)
        return gradient, curvature


def relative_prior_se(bands: int) -> float:
    """Standard deviation of a log gain before any pixel, without what all bands share."""
    return RELATIVE_SPREAD * (1 - 1 / bands) ** 0.5


def _log(msi: Tensor) -> Tensor:
    return msi.detach().cpu().double().clamp_min(REFLECTANCE_FLOOR).log()
