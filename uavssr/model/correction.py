"""What known spectra of a scene say of the network's error at its other pixels.

Simple kriging of the residuals: a Gaussian process over what the camera sees, with mean zero, so
that pixels unlike every reference stay as the network has them. Must not run the network.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from uavssr.errors import IncompleteRun
from uavssr.model.basis import SpectralBasis

REFLECTANCE_FLOOR: Final = 0.003
"""Reflectance below which pixels do not differ: they are compared by logarithms."""
LENGTH_SCALES: Final = (2.0, 1.0)
"""How far a reference may speak for other pixels, in standard deviations of the references ..."""
MIN_LOG_SPREAD: Final = 0.1
"""... which count as at least so many units of log reflectance in each band."""
NOISE_RATIOS: Final = (0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
"""What the variance that pixels which look alike do not share may be, over that of the residuals.

The last leaves the cube as it is.
"""
MAX_ERROR_RATIO: Final = 0.98
"""Of the squared error that a choice leaves, what one further down the lists must come below."""
CORRECTION_DIRECTIONS: Final = 4
"""Directions that are added to the basis, for what it cannot say of the references."""
PRIOR_COUNT: Final = 5
"""ReferencePixels that the network's own standard errors are worth."""
_MAX_ELEMENTS: Final = 2**22  # numbers at a time: references times pixels
_MAX_SQUARED_DISTANCE: Final = (
    120.0  # exp(-60) is nothing; what lies below 1e-38 takes a CPU far longer
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """Residuals of k known spectra, carried to pixels that look like them.

    Residuals are relative to a pixel's brightness: what is missing in the light is missing in the
    shade. Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), chapters 2 and 5.
    """

    points: Tensor
    """(k, c) log reflectance of the references over `spread`."""
    spread: Tensor
    """(c,) unit of log reflectance in each band: so far away a reference says 61 %."""
    noise: float
    """Variance that pixels which look alike do not share, over that of the residuals."""
    weight: Tensor
    """(k, r + q) what each reference adds to a pixel like it, over brightness."""
    basis: SpectralBasis
    """Of the corrected coefficients: the network's, and q directions for what it cannot say."""
    inverse: Tensor
    """(k, k) inverse of the references' covariance, over the variance of the residuals."""
    sigma_scale: Tensor
    """(C,) factor on the cube's standard errors where `doubt` is 1."""
    most: float
    """Largest `doubt`: that of pixels unlike all references."""

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
        """From what is wrong at the references.

        Each residual is predicted from the others, in one step (Rasmussen and Williams, 5.4.2).
        Reach and noise are those that leave least; where no residual tells of another, next to
        nothing is corrected. What is left, against what the network expected, makes the standard
        errors honest.

        Args:
            msi: Y (k, c) of the references, reflectance.
            spectra: X (k, C) of the references, reflectance.
            estimate: (k, r) coefficients that the network gives for them.
            basis: of the coefficients.
            variance: (k, C) of the estimates as the network has it.

        Raises:
            IncompleteRun: an estimate is not finite.
        """
        truth = basis.project(spectra.mT).mT
        brightness = _brightness(msi)[:, None]
        beyond = (spectra - basis.mean - truth @ basis.components.mT) / brightness
        wider, further = _widened(basis, beyond)
        residual = torch.cat([(truth - estimate) / brightness, further], -1)
        unsaid = beyond - further @ wider.components[:, basis.rank :].mT
        points = msi.clamp_min(REFLECTANCE_FLOOR).log()
        unit = points.std(0, correction=0).clamp_min(MIN_LOG_SPREAD)
        found, least = None, math.inf
        for reach, noise in itertools.product(LENGTH_SCALES, NOISE_RATIOS):
            inverse = _inverse(points / (unit * reach), noise)
            weight = inverse @ residual
            alone = 1 / inverse.diagonal()[:, None]  # variance of a residual, given the others
            left = ((weight * alone) @ wider.components.mT + unsaid) * brightness
            error = float(left.square().mean())
            if not error < least * MAX_ERROR_RATIO:
                continue
            least = error
            told = left.square().mean(0) / (variance * alone).mean(0)
            before = 1 / (1 + noise)  # where no reference speaks, the network's own standard error
            scale = (len(msi) * told + PRIOR_COUNT * before) / (len(msi) + PRIOR_COUNT)
            found = cls(
                points=points / (unit * reach),
                spread=unit * reach,
                noise=noise,
                weight=weight,
                basis=wider,
                inverse=inverse,
                sigma_scale=scale.sqrt(),
                most=max(float(1 / scale.mean()), float(alone.mean())),
            )
        if found is None:
            raise IncompleteRun(
                "the network gave NaN or infinity at the reference spectra",
                remedy="check them, or leave them out with --stf-only",
            )
        return found

    def __call__(self, msi: Tensor) -> Tensor:
        """(B, r + q, H, W) to be added to the coefficients of an image (B, c, H, W)."""
        flat = msi.flatten(2)
        parts = [self.weight.mT @ alike for alike in self._alike(flat)]
        return (torch.cat(parts, -1) * _brightness(flat.mT)[:, None]).unflatten(-1, msi.shape[-2:])

    def doubt(self, msi: Tensor) -> Tensor:
        """(B, H, W) factor on the variance of a pixel: small where references are like it."""
        parts = []
        for alike in self._alike(msi.flatten(2)):
            known = (alike * (self.inverse @ alike)).sum(1)
            parts.append((1 - known).clamp_min(0) + self.noise)
        return torch.cat(parts, -1).clamp_max(self.most).unflatten(-1, msi.shape[-2:])

    def _alike(self, flat: Tensor) -> Iterator[Tensor]:
        """Correlation (B, k, n) of pixels (B, c, N) with the references, some at a time."""
        step = max(1, _MAX_ELEMENTS // (len(self.points) * len(flat)))
        for part in flat.split(step, -1):
            yield _alike(self.points, part.clamp_min(REFLECTANCE_FLOOR).log().mT / self.spread)


def _widened(basis: SpectralBasis, beyond: Tensor) -> tuple[SpectralBasis, Tensor]:
    """The basis with the largest directions of (k, C), of unit variance, and coefficients there."""
    place, size, direction = torch.linalg.svd(beyond, full_matrices=False)
    root = len(beyond) ** 0.5
    wider = basis.widened(
        direction[:CORRECTION_DIRECTIONS].mT * size[:CORRECTION_DIRECTIONS] / root
    )
    return wider, place[:, :CORRECTION_DIRECTIONS] * root


def _inverse(points: Tensor, noise: float) -> Tensor:
    """(k, k) inverse of the covariance of residuals at the references."""
    system = _alike(points, points)
    system.diagonal().add_(noise)
    return torch.cholesky_inverse(torch.linalg.cholesky(system))


def _alike(points: Tensor, others: Tensor) -> Tensor:
    """(..., k, n) how alike points (k, c) and others (..., n, c) are: one, falling to zero."""
    product = points @ others.mT
    size, length = points.square().sum(-1), others.square().sum(-1)
    distance = (size[:, None] + length[..., None, :] - 2 * product).clamp(0, _MAX_SQUARED_DISTANCE)
    return torch.exp(-distance / 2)


def _brightness(msi: Tensor) -> Tensor:
    """(...,) mean reflectance over the bands of pixels (..., c)."""
    return msi.mean(-1).clamp_min(REFLECTANCE_FLOOR)
