"""The correction of a cube with reference spectra of the same scene, by simple kriging.

A Gaussian process of mean zero over log reflectance: pixels unlike every reference keep the
network's result (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, 2 and 5).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from uavssr.errors import IncompleteRun
from uavssr.model.basis import SpectralBasis
from uavssr.model.materials import REFLECTANCE_FLOOR

LENGTH_SCALES: Final = (2.0, 1.0)
"""Length scales of the covariance that are tried, in standard deviations of the references."""
MIN_LOG_SPREAD: Final = 0.1
"""Least standard deviation of the references' log reflectance in a band."""
NOISE_RATIOS: Final = (0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
"""Ratios of noise to signal variance that are tried; the last one corrects next to nothing."""
MAX_ERROR_RATIO: Final = 0.98
"""Factor on the mean square error that a later pair of length scale and noise must stay below."""
CORRECTION_DIRECTIONS: Final = 4
"""Directions added to the basis, q, for what the references show and it cannot represent."""
PRIOR_COUNT: Final = 5
"""Number of references that the network's own standard errors count for."""
_MAX_ELEMENTS: Final = 2**22
"""Numbers of one array: references times pixels."""
_MAX_SQUARED_DISTANCE: Final = 120.0
"""exp(-120 / 2) is nothing, and a CPU multiplies numbers below 1e-38 far more slowly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """A Gaussian process of the residuals of k reference spectra.

        change(y) = brightness(y) k(y)^T (K + noise I)^-1 residuals / brightness
        k(y, y') = exp(-|log y - log y'|^2 / (2 length^2)),  K = k at the references

    Residuals are relative to a pixel's brightness, as light and atmosphere multiply.
    """

    points: Tensor
    """(k, c) log reflectance of the references over `length`."""
    length: Tensor
    """(c,) length scale in log reflectance: at this distance k is 0.61."""
    noise: float
    """Variance of the noise over that of the process."""
    weight: Tensor
    """(K + noise I)^-1 residuals (k, r + q), over brightness."""
    basis: SpectralBasis
    """The basis of corrected coefficients: the network's r components and q more."""
    inverse: Tensor
    """(K + noise I)^-1 (k, k)."""
    sigma_scale: Tensor
    """(C,) factor on the cube's standard errors where `variance_factor` is 1."""
    max_factor: float
    """Largest `variance_factor`, that of pixels unlike all references."""

    @classmethod
    def fit(
        cls,
        msi: Tensor,
        spectra: Tensor,
        estimate: Tensor,
        *,
        basis: SpectralBasis,
        variance: Tensor,
    ) -> Correction:
        """The correction whose length scale and noise predict left-out references best.

        Args:
            msi: Y (k, c) of the references, reflectance.
            spectra: X (k, C) of the references, reflectance.
            estimate: (k, r) the network's coefficients for them.
            basis: the network's.
            variance: (k, C) of the network's estimates, reflectance squared.

        Raises:
            IncompleteRun: an estimate is not finite.
        """
        truth = basis.project(spectra.mT).mT
        brightness = _brightness(msi)[:, None]
        outside = (spectra - basis.mean - truth @ basis.components.mT) / brightness
        # outside = U S V^T = (U sqrt(k)) (S V^T / sqrt(k)), cut after q singular values
        left, singular, right = torch.linalg.svd(outside, full_matrices=False)
        root, most = len(msi) ** 0.5, CORRECTION_DIRECTIONS
        further, directions = left[:, :most] * root, right[:most].mT * singular[:most] / root
        wider = replace(basis, components=torch.cat([basis.components, directions], 1))
        references = _References(
            log_msi=msi.clamp_min(REFLECTANCE_FLOOR).log(),
            brightness=brightness,
            residual=torch.cat([(truth - estimate) / brightness, further], -1),
            outside=outside - further @ wider.components[:, basis.rank :].mT,
            variance=variance,
            basis=wider,
        )
        best, least = None, math.inf
        for length, noise in itertools.product(LENGTH_SCALES, NOISE_RATIOS):
            candidate, error = references.correction(length, noise)
            if error < least * MAX_ERROR_RATIO:
                best, least = candidate, error
        if best is None:
            raise IncompleteRun(
                "the network gave NaN or infinity at the reference spectra",
                remedy="check them, or leave them out with --stf-only",
            )
        return best

    def __call__(self, msi: Tensor) -> Tensor:
        """Change (B, r + q, H, W) of the coefficients of an image Y (B, c, H, W)."""
        flat = msi.flatten(2)
        # brightness(y) k(y)^T (K + noise I)^-1 residuals
        parts = [self.weight.mT @ covariance for covariance in self._covariances(flat)]
        return (torch.cat(parts, -1) * _brightness(flat.mT)[:, None]).unflatten(-1, msi.shape[-2:])

    def variance_factor(self, msi: Tensor) -> Tensor:
        """(B, H, W) factor on the variance of pixels of Y (B, c, H, W): small near references."""
        parts = []
        for covariance in self._covariances(msi.flatten(2)):
            # 1 + noise - k^T (K + noise I)^-1 k
            known = (covariance * (self.inverse @ covariance)).sum(1)
            parts.append((1 - known).clamp_min(0) + self.noise)
        return torch.cat(parts, -1).clamp_max(self.max_factor).unflatten(-1, msi.shape[-2:])

    def _covariances(self, flat: Tensor) -> Iterator[Tensor]:
        """k(y) (B, k, n) of pixels (B, c, N) with the references, n at a time."""
        step = max(1, _MAX_ELEMENTS // (len(self.points) * len(flat)))
        for part in flat.split(step, -1):
            yield _covariance(self.points, part.clamp_min(REFLECTANCE_FLOOR).log().mT / self.length)


@dataclass(frozen=True, slots=True, kw_only=True)
class _References:
    """The residuals at k references, relative to brightness."""

    log_msi: Tensor
    """(k, c) log reflectance."""
    brightness: Tensor
    """(k, 1) mean reflectance over the camera's bands."""
    residual: Tensor
    """(k, r + q) truth minus estimate in the wider basis."""
    outside: Tensor
    """(k, C) the part of the spectra outside the wider basis."""
    variance: Tensor
    """(k, C) of the network's estimates."""
    basis: SpectralBasis
    """The wider basis."""

    def correction(self, length: float, noise: float) -> tuple[Correction, float]:
        """The correction with a length scale and noise, and its leave-one-out mean square error.

        Left-out residuals in one step: e_i = [K^-1 y]_i / [K^-1]_ii with the variance 1 / [K^-1]_ii
        (Rasmussen and Williams, 5.4.2). Their ratio to the network's own variance scales the
        standard errors.
        """
        spread = self.log_msi.std(0, correction=0).clamp_min(MIN_LOG_SPREAD)
        points, count = self.log_msi / (spread * length), len(self.log_msi)
        # (K + noise I)^-1 = (L L^T)^-1
        system = _covariance(points, points)
        system.diagonal().add_(noise)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(system))
        weight = inverse @ self.residual
        variance = 1 / inverse.diagonal()[:, None]
        # e_i = [K^-1 y]_i / [K^-1]_ii, as spectra
        error = ((weight * variance) @ self.basis.components.mT + self.outside) * self.brightness
        ratio = error.square().mean(0) / (self.variance * variance).mean(0)
        far = 1 / (1 + noise)  # far from all references, the network's own standard error
        scale = (count * ratio + PRIOR_COUNT * far) / (count + PRIOR_COUNT)
        correction = Correction(
            points=points,
            length=spread * length,
            noise=noise,
            weight=weight,
            basis=self.basis,
            inverse=inverse,
            sigma_scale=scale.sqrt(),
            max_factor=max(float(1 / scale.mean()), float(variance.mean())),
        )
        return correction, float(error.square().mean())


def _covariance(points: Tensor, others: Tensor) -> Tensor:
    """(..., k, n) covariance of points (k, c) with others (..., n, c): 1, falling to 0."""
    # exp(-|p - o|^2 / 2),  |p - o|^2 = |p|^2 + |o|^2 - 2 p^T o
    product = points @ others.mT
    size, length = points.square().sum(-1), others.square().sum(-1)
    squared = size[:, None] + length[..., None, :] - 2 * product
    return torch.exp(-squared.clamp(0, _MAX_SQUARED_DISTANCE) / 2)


def _brightness(msi: Tensor) -> Tensor:
    """(...,) mean reflectance over the bands of pixels (..., c)."""
    return msi.mean(-1).clamp_min(REFLECTANCE_FLOOR)
