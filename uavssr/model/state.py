"""What passes between the stages: the STF and its doubt, how it acts, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from torch import Tensor

from uavssr.model.response import ResponseFamily

STEEPNESS: Final = 40
"""See `Stf.unsettled`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stf:
    """An estimate of S cameras' spectral transformation functions."""

    family: ResponseFamily
    """The nominal curves and the prior spread about them."""
    theta: Tensor
    """(S, c, 3) shift (nm), stretch and gain (logarithms) of each band."""
    deviation: Tensor
    """(S, c, 3) standard errors of theta."""
    rows: Tensor
    """R (S, c, C)."""

    @classmethod
    def expected(cls, family: ResponseFamily) -> Stf:
        """What is expected before any image: the data sheet, as uncertain as the family says."""
        return cls.of(family, family.prior, family.spread)

    @classmethod
    def of(cls, family: ResponseFamily, theta: Tensor, deviation: Tensor) -> Stf:
        """The STF with parameters theta (S, c, 3) and standard errors of them."""
        return cls(family=family, theta=theta, deviation=deviation, rows=family.rows(theta))

    def unsettled(self) -> Tensor:
        """(S,) how much of what the family leaves open no image has told of: 0 to 1, and steep.

        The mean share of the parameters' prior variance that is left, to the power `STEEPNESS`: one
        for the data sheet with its doubt, a thousandth where an image has told of a sixth of it.
        """
        left = self.deviation.detach() / self.family.spread.clamp_min(1e-9)
        return left.square().clamp_max(1).mean((1, 2)) ** STEEPNESS

    def of_camera(self, index: int) -> Stf:
        """The STF of one of the cameras alone."""
        one = slice(index, index + 1)
        return Stf(
            family=self.family.of_camera(index),
            theta=self.theta[one],
            deviation=self.deviation[one],
            rows=self.rows[one],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """How an STF acts on coefficients, and the noise that what is not known of it amounts to."""

    mixing: Tensor
    """B = R E (S, c, r)."""
    offset: Tensor
    """R mean (S, c)."""
    tangent: Tensor
    """Q = J D (S, c, 3, r+1): change of a band with each parameter of its response."""
    noise: Tensor
    """(S, c) variance of a band's misfit, averaged over the spectral prior."""
    component_noise: Tensor
    """(S, K, c) the same under each component of the prior."""
    final: Tensor
    """(S, c) the variance of the misfit that the last X-step leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """What the network returns."""

    coefficients: Tensor
    """(B, r, H, W); `SpectralBasis.expand` makes the cube."""
    stf: Stf
    """The STF that explains the image with these coefficients."""
    stage_coefficients: tuple[Tensor, ...] = ()
    """(B, r, H, W) the start and each stage's result, for supervision."""
    stage_stf: tuple[Stf, ...] = ()
    """Where the STF started and each stage's; one where it was held fixed."""
