"""The states that the unrolled stages pass on: the STF, the observation model, the result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from uavssr.model.response import ResponseFamily

PRIOR_DOMINANCE_POWER: Final = 40
"""Power of the remaining variance share in `Stf.prior_dominance`: a sixth removed leaves 0.001.

On the ten development scenes powers of 5 to 40 have the same error, and 40 the best round trip.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stf:
    """An estimate of the spectral transformation functions of S cameras with c bands each."""

    family: ResponseFamily
    """The nominal curves, and the prior of theta."""
    theta: Tensor
    """(S, c, 3) shift (nm), stretch and gain (natural logarithms) of each band."""
    theta_se: Tensor
    """(S, c, 3) standard errors of theta, in the same units."""
    rows: Tensor
    """R (S, c, C), reflectance of a camera band per reflectance of a cube band."""
    common_se: Tensor
    """(S,) standard error of the logarithm of a factor that all bands share.

    No image tells it from brighter ground: it is in standard errors, and not in theta_se.
    """

    @classmethod
    def from_prior(cls, family: ResponseFamily) -> Stf:
        """The STF before any image: the prior mean of theta with the prior's standard deviation."""
        return cls.of(family, family.prior, family.spread, common_se=family.common)

    @classmethod
    def of(
        cls,
        family: ResponseFamily,
        theta: Tensor,
        theta_se: Tensor,
        *,
        rows: Tensor | None = None,
        common_se: Tensor | None = None,
    ) -> Stf:
        """The STF at theta (S, c, 3), by default with the family's rows and no common error."""
        return cls(
            family=family,
            theta=theta,
            theta_se=theta_se,
            rows=family.rows(theta) if rows is None else rows,
            common_se=torch.zeros_like(theta[:, 0, 0]) if common_se is None else common_se,
        )

    def prior_dominance(self) -> Tensor:
        """mean(min(theta_se^2 / spread^2, 1))^40 (S, c) over a band's parameters.

        It is one where a band's STF is the prior alone, and falls steeply to zero with information.
        """
        ratio = self.theta_se.detach() / self.family.spread.clamp_min(1e-9)
        return ratio.square().clamp_max(1).mean(-1) ** PRIOR_DOMINANCE_POWER

    def to(self, device: torch.device, dtype: torch.dtype) -> Stf:
        """The same STF on a device in a number type."""
        names = ("family", "theta", "theta_se", "rows", "common_se")
        return replace(self, **{name: getattr(self, name).to(device, dtype) for name in names})

    def of_camera(self, index: int) -> Stf:
        """The STF of one of the S cameras."""
        names = ("theta", "theta_se", "rows", "common_se")
        own = {name: getattr(self, name)[index : index + 1] for name in names}
        return Stf(family=self.family.of_camera(index), **own)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservationModel:
    """The linear Gaussian model of an image under an STF: Y = B A + b + noise.

    A (B, r, N) are spectral coefficients, X = mean + E A.
    """

    mixing: Tensor
    """B = R E (S, c, r)."""
    offset: Tensor
    """b = R mean (S, c)."""
    tangent: Tensor
    """Q = (dR / d theta) [E, mean] (S, c, 3, r+1)."""
    noise: Tensor
    """(S, c) variance of a band's misfit Y - B A - b, averaged over the spectral prior."""
    component_noise: Tensor
    """(S, K, c) the same under each component of the prior."""
    final: Tensor
    """(S, c) variance of the misfit that the last X-step leaves."""
    final_factor: float | None = None
    """What the last X-step multiplies a pixel's posterior variance by; None: it expects one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """The network's result."""

    coefficients: Tensor
    """A (B, r, H, W); `SpectralBasis.expand` makes the cube."""
    stf: Stf
    """The STF that explains the image with these coefficients."""
    stage_coefficients: tuple[Tensor, ...] = ()
    """(B, r, H, W) the initial estimate and the result of each stage, for supervision."""
    stage_stf: tuple[Stf, ...] = ()
    """The initial STF and the result of each STF stage; one entry where the STF was fixed."""
