"""The family of responses that a real camera may have, given its nominal ones.

    R(l) = exp(gain) h(m + (l - m - shift) exp(-stretch)) / sum,   h the nominal curve, m its centre

Images do not determine a free R (docs/design.md); three numbers a band they nearly do.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor

from uavssr.sensors import (
    FINE_NM,
    LEAK_SPREAD,
    SHAPE_SPREAD,
    Sensor,
    WavelengthGrid,
    nominal_spread,
)

SHIFT, STRETCH, GAIN = range(3)
"""Positions in theta: nm, and natural logarithms."""
PARAMETERS: Final = 3
"""Parameters of a band."""

_FIRST_NM: Final = float(FINE_NM[0])
"""First wavelength of the fine axis, of which the others follow in steps of 1 nm.

No numpy array, which `torch.compile` would not take to a GPU.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseFamily:
    """Nominal curves of S cameras with c bands each, and the prior N(prior, spread^2) of theta."""

    curves: Tensor
    """(S, c, F) nominal responses on `sensors.FINE_NM`, each summing to one."""
    centre: Tensor
    """(S, c) nominal centres in nm."""
    fwhm: Tensor
    """(S, c) nominal full widths at half maximum in nm."""
    prior: Tensor
    """(S, c, 3) prior mean of shift (nm), stretch and gain (logarithms); zeros: the data sheet."""
    spread: Tensor
    """(S, c, 3) prior standard deviations of the same."""
    detail: Tensor
    """(S, c, 2) prior standard deviations of what references alone tell: see `calibration`."""
    common: Tensor
    """(S,) prior standard deviation of the logarithm of a factor that all bands share."""
    interpolation: Tensor
    """(F, C) from the fine axis to the cube's bands, see `WavelengthGrid.interpolation`."""

    @classmethod
    def of(cls, sensor: Sensor, grid: WavelengthGrid) -> ResponseFamily:
        """The family of one camera (S = 1) on the wavelengths of a cube.

        Raises:
            InputRefused: a band lies outside the grid.
        """
        sensor.srf(grid)  # raises where a band lies outside the grid
        family = cls.stack(
            curves=sensor.response()[None],
            centre=np.array([[band.centre for band in sensor.bands]]),
            fwhm=np.array([[band.fwhm for band in sensor.bands]]),
            grid=grid,
            spread_factor=np.ones(1),
        )
        parts = (*sensor.prior(), sensor.detail_prior())
        prior, spread, detail = (_float32(part)[None] for part in parts)
        common = torch.full((1,), sensor.common_gain_sd)
        return replace(family, prior=prior, spread=spread, detail=detail, common=common)

    @classmethod
    def stack(
        cls,
        *,
        curves: np.ndarray,
        centre: np.ndarray,
        fwhm: np.ndarray,
        grid: WavelengthGrid,
        spread_factor: np.ndarray,
    ) -> ResponseFamily:
        """The family of S cameras; `spread_factor` (S,) multiplies the prior spread.

        No factor is common to all bands.
        """
        spread = nominal_spread(fwhm) * spread_factor[:, None, None]
        return cls(
            curves=_float32(curves),
            centre=_float32(centre),
            fwhm=_float32(fwhm),
            prior=torch.zeros(spread.shape),
            spread=_float32(spread),
            detail=torch.tensor([SHAPE_SPREAD, LEAK_SPREAD]).expand(*fwhm.shape, 2),
            common=torch.zeros(len(spread)),
            interpolation=_float32(grid.interpolation()),
        )

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> ResponseFamily:
        """The same family on a device, and in a number type if one is given."""
        moved = {f.name: getattr(self, f.name).to(device, dtype) for f in fields(self)}
        return replace(self, **moved)

    def of_camera(self, index: int) -> ResponseFamily:
        """The family of one of the S cameras."""
        names = ("curves", "centre", "fwhm", "prior", "spread", "detail", "common")
        return replace(self, **{name: getattr(self, name)[index : index + 1] for name in names})

    def repeated(self, count: int) -> ResponseFamily:
        """The family of one camera (S = 1) for `count` cameras."""
        parts = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "interpolation"}
        copies = {name: part.repeat(count, *[1] * (part.ndim - 1)) for name, part in parts.items()}
        return replace(self, **copies)

    def rows(self, theta: Tensor) -> Tensor:
        """R (S, c, C) for parameters theta (S, c, 3); differentiable in theta."""
        # source wavelength m + (l - m - shift) exp(-stretch), where h is interpolated linearly
        curves, centre = self.curves, self.centre[..., None]
        place = torch.arange(curves.shape[-1], dtype=curves.dtype, device=curves.device)
        axis = _FIRST_NM + place
        shift, stretch, gain = theta.unbind(-1)
        source = centre + (axis - centre - shift[..., None]) * torch.exp(-stretch)[..., None]
        position = (source - _FIRST_NM).clamp(0, axis.numel() - 1.001)
        below = position.floor()
        weight = position - below
        index = below.long()
        expanded = curves.expand_as(position)
        warped = torch.lerp(expanded.gather(-1, index), expanded.gather(-1, index + 1), weight)
        warped = warped / warped.sum(-1, keepdim=True).clamp_min(1e-12)
        return (warped * torch.exp(gain)[..., None]) @ self.interpolation

    @torch.no_grad()
    def tangent(self, theta: Tensor) -> Tensor:
        """The derivative dR / d theta (S, c, 3, C) by central differences, without gradient."""
        columns = []
        for parameter, step in ((SHIFT, 0.5), (STRETCH, 0.02)):  # nm, logarithm
            change = torch.zeros_like(theta)
            change[..., parameter] = step
            columns.append((self.rows(theta + change) - self.rows(theta - change)) / (2 * step))
        columns.append(self.rows(theta))  # dR / d gain = R
        return torch.stack(columns, dim=2)


def _float32(array: np.ndarray) -> Tensor:
    return torch.as_tensor(np.array(array, dtype=np.float32))
