"""The robust fit of an instrument to what it saw of known spectra: maximum a posteriori, float64.

    min_zu  sum_i w_i (y_ib - R_b(z) x_i - g_ib u)^2 / v_ib  +  |z|^2 + |u|^2    for each band b

g are the patterns that errors of registration leave, and u how much of them there is. By
Gauss-Newton with halved steps; the variances v and the pixels' weights w follow the residuals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from uavssr.calibration.instrument import Instrument

NOISE: Final = (0.003, 0.02)
"""Noise expected before anything is seen, absolute and relative to reflectance."""
EXPECTED: Final = 4.0
"""How many values this expectation counts for."""
POOLED: Final = 4.0
"""How many values the noise of all bands counts for in that of one band."""
QUIETEST: Final = 1e-3
"""Least variance in units of what is expected: the model itself is not more exact than that."""
INDEPENDENT: Final = 500.0
"""Most pixels that count as independent: neighbours share errors of registration and of light."""
MISPLACED: Final = 0.5
"""Prior deviation of u, in pixels: what is left after registration."""
OFFSET: Final = 0.03
"""Prior deviation of an additive offset, in reflectance, where one is looked for."""
_ITERATIONS: Final = 50
_HALVINGS: Final = 8
_CONVERGED: Final = 1e-3
"""Largest change of a parameter, in deviations of its prior, at which the fit ends."""
_FAR: Final = 25.0
"""Level at the start: far from exact, so that the step is cautious and no pixel stands out."""
_MEDIAN, _RARE = 0.0, 2.326
"""Normal quantiles of 50 and 99 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Where a fit ended."""

    z: Tensor
    """(c, P) parameters of the instrument."""
    covariance: Tensor
    """(c, P, P) posterior covariance of z, joint with u."""
    weight: Tensor
    """(k,) 1, or less for a pixel whose misfit is unlike that of the others."""
    offset: Tensor
    """(c,) the additive offset that the misfit asks for, in reflectance; it is not applied."""
    offset_se: Tensor
    """(c,) standard error of the offset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitting:
    """What an instrument is fitted to."""

    instrument: Instrument
    """The camera."""
    spectra: Tensor
    """X (k, C) known spectra, reflectance."""
    msi: Tensor
    """Y (k, c) what was seen of them."""
    patterns: Tensor
    """g (k, c, m) reflectance per pixel of misregistration; m may be 0."""
    used: Tensor
    """(c,) bands that are fitted; the others stay as the prior has them."""

    def run(self) -> Fit:
        """Fit until nothing changes any more, or 50 steps were made."""
        count, bands = self.msi.shape
        state = self.msi.new_zeros((bands, self.instrument.count + self.patterns.shape[-1]))
        level, weight = self.msi.new_full((bands,), _FAR), self.msi.new_ones(count)
        for _ in range(_ITERATIONS):
            precision = self._precision(level, weight)
            step = self._step(state, precision)
            state = state + step
            level, weight = self._noise(state, _information(self._design(state), precision), weight)
            if float(step.abs().max()) < _CONVERGED:
                break
        return self._summary(state, self._precision(level, weight), weight)

    def _misfit(self, state: Tensor) -> Tensor:
        """Y - R X - g u (k, c) at a state (c, P + m), which is z and u."""
        z, u = state[:, : self.instrument.count], state[:, self.instrument.count :]
        explained = self.spectra @ self.instrument.rows(z).T
        return self.msi - explained - MISPLACED * (self.patterns * u).sum(-1)

    def _design(self, state: Tensor) -> Tensor:
        """(c, k, P + m) change of each value with each parameter."""
        tangent = self.instrument.tangent(state[:, : self.instrument.count])
        errors = MISPLACED * self.patterns.transpose(0, 1)
        return torch.cat([self.spectra @ tangent.mT, errors], dim=-1)

    def _expected(self) -> Tensor:
        """(k, c) variance expected of a misfit, for half by the pixel's own brightness."""
        absolute, relative = NOISE
        square = self.msi.square()
        return absolute**2 + relative**2 * (square + square.mean(0)) / 2

    def _precision(self, level: Tensor, weight: Tensor) -> Tensor:
        """(k, c) what each value counts for; zero in bands that are not fitted."""
        tempered = weight * min(1.0, INDEPENDENT / len(weight))
        return tempered[:, None] / (self._expected() * level) * self.used

    def _step(self, state: Tensor, precision: Tensor) -> Tensor:
        """A Gauss-Newton step (c, P + m), halved in each band until it improves the objective."""
        design = self._design(state)
        slope = _slope(design, precision * self._misfit(state)) - state
        step = torch.linalg.solve(_information(design, precision), slope)
        start = self._objective(state, precision)
        for _ in range(_HALVINGS):
            worse = self._objective(state + step, precision) > start
            step = torch.where(worse[:, None], step / 2, step)
        worse = self._objective(state + step, precision) > start
        return torch.where(worse[:, None], 0.0, step)

    def _objective(self, state: Tensor, precision: Tensor) -> Tensor:
        """(c,) what the fit minimises."""
        return (precision * self._misfit(state).square()).sum(0) + state.square().sum(1)

    def _noise(self, state: Tensor, information: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Level (c,) of the noise and weights (k,) from the residuals at a state.

        The level is the weighted mean square over the degrees of freedom that the fit has left
        (MacKay 1992), drawn to that of all bands, and that to what is expected. Weights are
        Cauchy's beyond the 99 % quantile of the distances, whose scale is set by their median: a
        mixed pixel is off in all bands at once, and up to half of the pixels may be.
        """
        relative = self._misfit(state).square() / self._expected()
        spent = information.shape[-1] - _diagonal(torch.linalg.inv(information)).sum(-1)
        square, left = (weight[:, None] * relative).sum(0), (weight.sum() - spent).clamp_min(1.0)
        pooled = (EXPECTED + square[self.used].sum()) / (EXPECTED + left[self.used].sum())
        level = ((POOLED * pooled + square) / (POOLED + left)).clamp_min(QUIETEST)
        distance = (relative / level)[:, self.used].sum(1)
        bands = int(self.used.sum())
        scale = max(float(distance.median()) / _chi_square(bands, _MEDIAN), 1e-9)
        limit = scale * _chi_square(bands, _RARE)
        return level, limit / distance.clamp_min(limit)

    def _summary(self, state: Tensor, precision: Tensor, weight: Tensor) -> Fit:
        """The fit with its joint covariance, and an offset tried beside the parameters."""
        count, design = self.instrument.count, self._design(state)
        wider = torch.cat([design, torch.full_like(design[..., :1], OFFSET)], -1)
        start = torch.nn.functional.pad(state, (0, 1))
        slope = _slope(wider, precision * self._misfit(state)) - start
        covariance = torch.linalg.inv(_information(wider, precision))
        return Fit(
            z=state[:, :count],
            covariance=torch.linalg.inv(_information(design, precision))[:, :count, :count],
            weight=weight,
            offset=OFFSET * (covariance[:, -1] * slope).sum(-1),
            offset_se=OFFSET * covariance[:, -1, -1].sqrt(),
        )


def _slope(design: Tensor, weighted: Tensor) -> Tensor:
    """(c, P) sums over pixels of a design (c, k, P) times weighted misfits (k, c)."""
    return (design.mT @ weighted.T[..., None]).squeeze(-1)


def _information(design: Tensor, precision: Tensor) -> Tensor:
    """(c, P, P) joint information of the data and of the prior N(0, I)."""
    identity = torch.eye(design.shape[-1], dtype=design.dtype)
    return design.mT @ (precision.T[..., None] * design) + identity


def _diagonal(matrices: Tensor) -> Tensor:
    return matrices.diagonal(dim1=-2, dim2=-1)


def _chi_square(freedom: int, quantile: float) -> float:
    """Quantile of the chi-square distribution (Wilson and Hilferty 1931)."""
    spread = 2 / (9 * freedom)
    return freedom * (1 - spread + quantile * math.sqrt(spread)) ** 3
