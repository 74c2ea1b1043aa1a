"""A multispectral camera as an ordered set of bands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uavssr.errors import InputRefused
from uavssr.sensors.arrays import FloatArray
from uavssr.sensors.band import Band
from uavssr.sensors.wavelength_grid import FINE_NM, WavelengthGrid


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """A multispectral camera: its c bands, in the order of the band axis of reflectance."""

    name: str
    """Name for `--sensor` and for the outputs."""
    bands: tuple[Band, ...]
    """(c,) bands, by increasing centre wavelength for the built-in sensors."""
    title: str = ""
    """Full name of the camera."""
    note: str = ""
    """Source of the centres and widths."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.bands) <= 64:
            raise InputRefused(f"sensor {self.name}: {len(self.bands)} bands, not 1-64")
        if len(set(self.roles)) != len(self.roles):
            raise InputRefused(f"sensor {self.name}: a band role is given twice: {self.roles}")

    def __len__(self) -> int:
        return len(self.bands)

    @property
    def roles(self) -> tuple[str, ...]:
        """The bands' roles in order."""
        return tuple(band.role for band in self.bands)

    def response(self, nm: FloatArray = FINE_NM) -> FloatArray:
        """The nominal responses (c, F) at wavelengths `nm` (F,); each row has a sum of 1."""
        return np.stack([band.response(nm) for band in self.bands])

    def srf(self, grid: WavelengthGrid) -> FloatArray:
        """The nominal spectral response function (SRF) on the C bands of a cube.

        Returns:
            (c, C) matrix R with Y = R X for reflectance X (C,) of the cube and Y (c,) of the
            camera; each row has a sum of 1.

        Raises:
            InputRefused: 5 % or more of a band's response lies outside the grid.
        """
        response = self.response()
        low, high = grid.centres[0] - grid.fwhm[0], grid.centres[-1] + grid.fwhm[-1]
        share = response[:, (low <= FINE_NM) & (high >= FINE_NM)].sum(1)
        for band, covered in zip(self.bands, share, strict=True):
            if covered < 0.95:
                raise InputRefused(
                    f"band {band.role} of {self.name} ({band.centre:g} nm) has "
                    f"{1 - covered:.0%} of its response outside the output grid {grid.name} "
                    f"({grid.centres[0]:g}-{grid.centres[-1]:g} nm)",
                    remedy="leave it out of the sensor file, or use a model with a wider grid",
                )
        # R = r H, with responses r on FINE_NM and interpolation H from the grid to FINE_NM
        srf = response @ grid.interpolation()
        return np.asarray(srf / srf.sum(1, keepdims=True))


def nominal_spread(fwhm: FloatArray) -> FloatArray:
    """Prior standard deviations (..., 3) of centre, width and gain for FWHMs (...,) in nm.

    Centre in nm: the tolerance of a filter scales with its width, within 2-10 nm. Width relative,
    18 %. Gain relative, 8 %, as of calibration panels and sun sensors.
    """
    shift = np.clip(0.19 * fwhm, 2.0, 10.0)
    return np.stack([shift, np.full_like(shift, 0.18), np.full_like(shift, 0.08)], axis=-1)
