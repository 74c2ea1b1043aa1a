"""A multispectral camera as an ordered set of bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from uavssr.errors import InputRefused
from uavssr.sensors.arrays import FloatArray
from uavssr.sensors.band import Band
from uavssr.sensors.wavelength_grid import FINE_NM, WavelengthGrid


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """A multispectral camera: its bands in the order in which the model is given reflectance."""

    name: str
    """Name for `--sensor` and for the outputs."""
    bands: tuple[Band, ...]
    """The bands, by increasing centre wavelength for the built-in sensors."""
    title: str = ""
    """The camera's full name."""
    note: str = ""
    """Where the numbers come from."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.bands) <= 64:
            raise InputRefused(f"sensor {self.name}: {len(self.bands)} bands, not 1-64")
        roles = self.roles
        if len(set(roles)) != len(roles):
            raise InputRefused(f"sensor {self.name}: a band role is given twice: {roles}")

    def __len__(self) -> int:
        return len(self.bands)

    @property
    def roles(self) -> tuple[str, ...]:
        """The bands' roles in order."""
        return tuple(band.role for band in self.bands)

    def response(self, nm: FloatArray = FINE_NM) -> FloatArray:
        """The nominal responses (c, F) at wavelengths `nm`, each row summing to one."""
        return np.stack([band.response(nm) for band in self.bands])

    def srf(self, grid: WavelengthGrid) -> FloatArray:
        """The nominal SRF (c, C) on a cube's bands: each row sums to one and Y = srf @ X.

        Raises:
            InputRefused: 5 % or more of a band's response lies outside the grid.
        """
        response = self.response()
        margin = grid.fwhm[[0, -1]]
        inside = (grid.centres[0] - margin[0] <= FINE_NM) & (
            grid.centres[-1] + margin[1] >= FINE_NM
        )
        share = response[:, inside].sum(1)
        for band, covered in zip(self.bands, share, strict=True):
            if covered < 0.95:
                raise InputRefused(
                    f"band {band.role} of {self.name} ({band.centre:g} nm) has "
                    f"{1 - covered:.0%} of its response outside the output grid {grid.name} "
                    f"({grid.centres[0]:g}-{grid.centres[-1]:g} nm)",
                    remedy="leave it out of the sensor file, or use a model with a wider grid",
                )
        srf = response @ grid.interpolation()
        return np.asarray(srf / srf.sum(1, keepdims=True))

    def subset(self, roles: Sequence[str]) -> Sensor:
        """The same camera with only the bands `roles`, in that order."""
        by_role = {band.role: band for band in self.bands}
        return replace(self, bands=tuple(by_role[role] for role in roles))


def nominal_spread(fwhm: FloatArray) -> FloatArray:
    """Prior standard deviations (..., 3) for bands of width `fwhm` nm (...,).

    A filter's centre is made to a tolerance that scales with its width, within 2-10 nm; widths
    vary by 18 % and gains by 8 % (calibration panels and sun sensors).
    """
    shift = np.clip(0.19 * fwhm, 2.0, 10.0)
    return np.stack([shift, np.full_like(shift, 0.18), np.full_like(shift, 0.08)], axis=-1)
