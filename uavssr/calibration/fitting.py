"""The robust fit of an instrument to reference spectra: maximum a posteriori, in float64.

    min_zu  sum_i w_i (y_ib - R_b(z) x_i - m g_ib u)^2 / v_ib + |z|^2 + |u|^2    for each band b

y is what the camera saw of spectra x, R the response with parameters z, g the misregistration
patterns with amounts u in units of m = 0.5 pixels. Gauss-Newton with halved steps; the variances v
and the pixels' weights w follow the residuals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from uavssr.calibration.instrument import Instrument
from uavssr.model import chi_square_quantile

EXPECTED_NOISE: Final = (0.003, 0.02)
"""Prior standard deviation of the noise: reflectance, and share of the reflectance."""
EXPECTED_NOISE_COUNT: Final = 4.0
"""Number of values that the expected noise counts for in the noise of all bands."""
POOLED_NOISE_COUNT: Final = 4.0
"""Number of values that the noise of all bands counts for in that of one band."""
MIN_NOISE_LEVEL: Final = 1e-3
"""Least noise variance over the expected one: the model itself is not more exact."""
MAX_INDEPENDENT_PIXELS: Final = 500.0
"""Most pixels that count as independent: neighbours share errors of registration and of light."""
REMAINING_SHIFT_PX: Final = 0.5
"""Prior standard deviation in pixels of what registration leaves, m."""
OFFSET_SPREAD: Final = 0.03
"""Prior standard deviation of an additive offset, reflectance, where one is tested."""
MIN_OFFSET_RATIO: Final = 3.0
"""Least ratio of an additive offset to its standard error that is significant."""
MIN_OFFSET: Final = 0.002
"""Least additive offset in reflectance that is significant."""
_MAX_ITERATIONS: Final = 50
_MAX_HALVINGS: Final = 8
_CONVERGED: Final = 1e-3
"""Largest change of a parameter, in prior standard deviations, at which the fit ends."""
_MAX_LAST_STEP: Final = 0.1
"""Last step over the standard error up to which a fit has converged, though weights may swing."""
_INITIAL_LEVEL: Final = 25.0
"""Noise level of the first step: large, so that it is cautious and no pixel is an outlier."""
_FEW_PIXELS: Final = 2
"""Up to so many pixels cannot contradict each other: the first step then takes the expected noise.
From a large one, the fit would explain an unexpected gain as noise, and stay there."""
_NORMAL_Q50, _NORMAL_Q99 = 0.0, 2.326
"""Quantiles of the standard normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The result of a fit of c bands with P parameters to k pixels."""

    z: Tensor
    """(c, P) parameters of the instrument, in prior standard deviations."""
    covariance: Tensor
    """(c, P, P) posterior covariance of z, joint with u."""
    weight: Tensor
    """(k,) 1, less for outliers."""
    offset: Tensor
    """(c,) additive offset that the residuals suggest, reflectance; it is not applied."""
    offset_se: Tensor
    """(c,) standard error of the offset, reflectance."""
    level: Tensor
    """(c,) variance of the noise over the expected one."""
    converged: bool
    """Whether the last step changed each parameter by less than a tenth of its standard error."""

    @property
    def has_offset(self) -> Tensor:
        """(c,) whether a band's offset is significant."""
        size = self.offset.abs()
        return (size > MIN_OFFSET_RATIO * self.offset_se) & (size > MIN_OFFSET)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitting:
    """The data of a fit, see the module's formula."""

    instrument: Instrument
    """The camera's response R(z) and its prior."""
    spectra: Tensor
    """x (k, C) reference spectra, reflectance."""
    msi: Tensor
    """y (k, c) the same in the image, reflectance."""
    patterns: Tensor
    """g (k, c, q) reflectance per pixel of misregistration; q may be 0."""
    used: Tensor
    """(c,) bands that are fitted; the others keep the prior."""

    def run(self) -> Fit:
        """Iterate until no parameter changes by more than 0.001, 50 times at most."""
        count, bands = self.msi.shape
        state = self.msi.new_zeros((bands, self.instrument.count + self.patterns.shape[-1]))
        first = _INITIAL_LEVEL if count > _FEW_PIXELS else 1.0
        level, weight = self.msi.new_full((bands,), first), self.msi.new_ones(count)
        for _ in range(_MAX_ITERATIONS):
            precision = self._precision(level, weight)
            step = self._step(state, precision)
            state = state + step
            level, weight = self._noise(state, _information(self._design(state), precision), weight)
            if float(step.abs().max()) < _CONVERGED:
                break
        return self._summary(state, level, weight, step)

    def score(self, z: Tensor, fit: Fit) -> tuple[Tensor, Tensor]:
        """Gradient (c, P + q) and curvature (c, P + q, P + q) of the log likelihood at z (c, P).

        The amounts u are zero there. Noise and weights are those of `fit`, a fit to the same data.
        """
        # g = J^T W e,  H = J^T W J
        precision = self._precision(fit.level, fit.weight)
        state = torch.nn.functional.pad(z, (0, self.patterns.shape[-1]))
        design = self._design(state)
        curvature = design.mT @ (precision.T[..., None] * design)
        return _slope(design, precision * self._misfit(state)), curvature

    def _misfit(self, state: Tensor) -> Tensor:
        """Misfit e = y - R(z) x - m g u (k, c) at a state (c, P + q), which is z and u."""
        z, u = state[:, : self.instrument.count], state[:, self.instrument.count :]
        predicted = self.spectra @ self.instrument.rows(z).T
        return self.msi - predicted - REMAINING_SHIFT_PX * (self.patterns * u).sum(-1)

    def _design(self, state: Tensor) -> Tensor:
        """Jacobian J = [x^T dR / dz, m g] (c, k, P + q) of the predictions."""
        tangent = self.instrument.tangent(state[:, : self.instrument.count])
        errors = REMAINING_SHIFT_PX * self.patterns.transpose(0, 1)
        return torch.cat([self.spectra @ tangent.mT, errors], dim=-1)

    def _expected(self) -> Tensor:
        """Expected variance (k, c), half by the pixel's own brightness, half by the mean."""
        # n_0^2 + n_1^2 (y^2 + mean(y^2)) / 2
        absolute, relative = EXPECTED_NOISE
        square = self.msi.square()
        return absolute**2 + relative**2 * (square + square.mean(0)) / 2

    def _precision(self, level: Tensor, weight: Tensor) -> Tensor:
        """Weights w_i / v_ib (k, c), at most 500 pixels' worth; zero in bands not fitted."""
        tempered = weight * min(1.0, MAX_INDEPENDENT_PIXELS / len(weight))
        return tempered[:, None] / (self._expected() * level) * self.used

    def _step(self, state: Tensor, precision: Tensor) -> Tensor:
        """A Gauss-Newton step (c, P + q), halved in each band until it improves the objective."""
        # (J^T W J + I) step = J^T W e - state
        design = self._design(state)
        slope = _slope(design, precision * self._misfit(state)) - state
        step = torch.linalg.solve(_information(design, precision), slope)
        start = self._objective(state, precision)
        for halving in range(_MAX_HALVINGS + 1):
            worse = self._objective(state + step, precision) > start
            shorter = step / 2 if halving < _MAX_HALVINGS else torch.zeros_like(step)
            step = torch.where(worse[:, None], shorter, step)
        return step

    def _objective(self, state: Tensor, precision: Tensor) -> Tensor:
        """(c,) the module's formula."""
        return (precision * self._misfit(state).square()).sum(0) + state.square().sum(1)

    def _noise(self, state: Tensor, information: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Noise level (c,), over the expected variance, and weights (k,) from the residuals.

        The level is the weighted mean square over the remaining degrees of freedom (MacKay 1992),
        shrunk towards that of all bands, and that towards one. A pixel's distance is the sum over
        bands of e^2 / v; weights fall as 1 / distance (Cauchy) beyond the 99 % quantile of a
        chi-square scaled to the median distance. So up to half of the pixels may be outliers.
        """
        relative = self._misfit(state).square() / self._expected()
        # effective parameters P - tr(H^-1), H the information
        unused = torch.linalg.inv(information).diagonal(dim1=-2, dim2=-1).sum(-1)
        spent = information.shape[-1] - unused
        square, freedom = (weight[:, None] * relative).sum(0), (weight.sum() - spent).clamp_min(1.0)
        prior, own = EXPECTED_NOISE_COUNT, POOLED_NOISE_COUNT
        pooled = (prior + square[self.used].sum()) / (prior + freedom[self.used].sum())
        level = ((own * pooled + square) / (own + freedom)).clamp_min(MIN_NOISE_LEVEL)
        distance = (relative / level)[:, self.used].sum(1)
        bands = int(self.used.sum())
        scale = max(float(distance.median()) / chi_square_quantile(bands, _NORMAL_Q50), 1e-9)
        limit = scale * chi_square_quantile(bands, _NORMAL_Q99)
        return level, limit / distance.clamp_min(limit)

    def _summary(self, state: Tensor, level: Tensor, weight: Tensor, last_step: Tensor) -> Fit:
        """The fit with its joint covariance, and one step with an offset as further parameter."""
        precision = self._precision(level, weight)
        count, design = self.instrument.count, self._design(state)
        wider = torch.cat([design, torch.full_like(design[..., :1], OFFSET_SPREAD)], -1)
        start = torch.nn.functional.pad(state, (0, 1))
        slope = _slope(wider, precision * self._misfit(state)) - start
        covariance = torch.linalg.inv(_information(wider, precision))
        posterior = torch.linalg.inv(_information(design, precision))
        deviation = posterior.diagonal(dim1=-2, dim2=-1).sqrt()
        return Fit(
            z=state[:, :count],
            covariance=posterior[:, :count, :count],
            weight=weight,
            level=level,
            offset=OFFSET_SPREAD * (covariance[:, -1] * slope).sum(-1),
            offset_se=OFFSET_SPREAD * covariance[:, -1, -1].sqrt(),
            converged=bool((last_step.abs() < _MAX_LAST_STEP * deviation).all()),
        )


def _slope(design: Tensor, weighted: Tensor) -> Tensor:
    """J^T W e (c, P) of a design J (c, k, P) and weighted misfits W e (k, c)."""
    return (design.mT @ weighted.T[..., None]).squeeze(-1)


def _information(design: Tensor, precision: Tensor) -> Tensor:
    """J^T W J + I (c, P, P): information of the data and of the prior N(0, I)."""
    identity = torch.eye(design.shape[-1], dtype=design.dtype)
    return design.mT @ (precision.T[..., None] * design) + identity
