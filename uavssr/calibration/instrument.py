"""A camera's response with more than three parameters a band, for fits to reference spectra.

    R = exp(gain) ((1 - sum l) h(shift, stretch, steepness) + l) H,    l = sum_j a_j u_j

h is the nominal curve shifted and stretched as in `model.response`, with steeper or softer edges; l
is a smooth background, light that leaks in outside the band; H interpolates to the cube's bands.
Reference spectra tell these apart; images alone do not, so blind estimation must not use them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Final

import numpy as np
import torch
from torch import Tensor

from uavssr.model import GAIN, PARAMETERS, ResponseFamily
from uavssr.sensors import FINE_NM

_VARIANCE_SHARE: Final = 0.99
"""Share of the background's prior variance that its curves u represent."""
_TANGENT_STEP: Final = 0.1
"""Step of the differences in prior standard deviations: half a nanometre, 2 % of width."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """The responses of one camera with c bands; float64.

    Its P parameters z are shift, stretch, gain, steepness and the background's a, in prior standard
    deviations from the data sheet: the prior is N(0, I).
    """

    family: ResponseFamily
    """Nominal curves and their prior (S = 1), `detail` that of steepness and background."""
    depth: Tensor
    """(c, F) -log2(nominal curve / peak): 1 at half maximum."""
    background: Tensor
    """(P - 4, F) curves u, scaled so that each a is N(0, `detail`^2)."""

    @classmethod
    def of(cls, family: ResponseFamily) -> Instrument:
        """The instrument of a family of one camera."""
        wide = {field.name: getattr(family, field.name).double().cpu() for field in fields(family)}
        exact = replace(family, **wide)
        # one flight's gains: their own deviations, and the factor that they share
        spread = exact.spread.clone()
        spread[..., GAIN] = (spread[..., GAIN].square() + exact.common.square()[:, None]).sqrt()
        exact = replace(exact, spread=spread)
        peak = exact.curves[0].amax(-1, keepdim=True)
        depth = -torch.log2((exact.curves[0] / peak).clamp_min(1e-300))
        return cls(family=exact, depth=depth.clamp_min(1e-12), background=_background())

    @property
    def count(self) -> int:
        """P, parameters of a band."""
        return PARAMETERS + 1 + len(self.background)

    def theta(self, z: Tensor) -> Tensor:
        """Shift, stretch and gain (c, 3) of parameters z (c, P)."""
        return self.family.prior[0] + z[:, :PARAMETERS] * self.family.spread[0]

    def rows(self, z: Tensor) -> Tensor:
        """R (c, C) of parameters z (c, P), by the module's formula."""
        # h = 2^(-depth^exp(steepness)), normalised
        steepness_sd, leak_sd = self.family.detail[0].unbind(-1)
        steepness = torch.exp(steepness_sd * z[:, PARAMETERS])[:, None]
        curves = torch.exp2(-(self.depth**steepness))
        curves = curves / curves.sum(-1, keepdim=True)
        theta = self.theta(z)
        main = replace(self.family, curves=curves[None]).rows(theta[None])[0]
        leak = leak_sd[:, None] * z[:, PARAMETERS + 1 :] @ self.background
        gain = torch.exp(theta[:, GAIN, None])
        return (1 - leak.sum(-1, keepdim=True)) * main + gain * (leak @ self.family.interpolation)

    def tangent(self, z: Tensor) -> Tensor:
        """The derivative dR / dz (c, P, C) by central differences, all bands at once."""
        columns = []
        for parameter in range(self.count):
            change = torch.zeros_like(z)
            change[:, parameter] = _TANGENT_STEP
            columns.append((self.rows(z + change) - self.rows(z - change)) / (2 * _TANGENT_STEP))
        return torch.stack(columns, dim=1)


@cache
def _background() -> Tensor:
    """Curves u (m, F), scaled principal axes of Gaussians with deviations of 40-160 nm.

    Their centres are 450-950 nm, and each has the sum 1.
    """
    centre, width = np.meshgrid(np.linspace(450, 950, 51), np.linspace(40, 160, 13))
    bumps = np.exp(-0.5 * ((FINE_NM - centre.reshape(-1, 1)) / width.reshape(-1, 1)) ** 2)
    bumps /= bumps.sum(1, keepdims=True) * np.sqrt(len(bumps))
    _, deviation, axes = np.linalg.svd(bumps, full_matrices=False)
    share = np.cumsum(deviation**2) / (deviation**2).sum()
    count = int(np.searchsorted(share, _VARIANCE_SHARE)) + 1
    return torch.as_tensor(deviation[:count, None] * axes[:count])
