"""A multispectral camera as an ordered set of bands."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from uavssr.errors import InputRefused
from uavssr.sensors.arrays import FloatArray
from uavssr.sensors.band import LEAK_SPREAD, SHAPE_SPREAD, Band
from uavssr.sensors.wavelength_grid import FINE_NM, WavelengthGrid

COMMON_SPREAD: Final = 0.20
"""Prior standard deviation of the logarithm of a factor that all bands of a flight share.

An image's level is what panel, sun sensor and software made of it. The factors are 0.67-0.81 on
three development flights of a RedEdge over a Headwall Nano, and 0.92-0.95 and 1.13-1.14 of a
RedEdge and a Sequoia over a field spectrometer. The root mean square over these cameras is 0.20
(`benchmarks/camera_prior.py`).
"""
FLIGHT_SPREAD: Final = 0.04
"""Standard deviation of a band's own log gain from flight to flight, beside the common factor.

From three development flights of a RedEdge (`benchmarks/camera_prior.py`).
"""

MAX_SENSOR_BANDS: Final = 64
"""Most bands of a sensor."""
COVERED_SHARE: Final = 0.95
"""Least share of a band's response that a cube's wavelengths must cover."""


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
    common_gain_sd: float = COMMON_SPREAD
    """Standard deviation of the logarithm of a factor that all bands of a flight share."""
    data_sheet: str = ""
    """Name of the sensor from which a profile was fitted; empty for a data sheet itself."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.bands) <= MAX_SENSOR_BANDS:
            raise InputRefused(
                f"sensor {self.name}: {len(self.bands)} bands, not 1-{MAX_SENSOR_BANDS}"
            )
        if not 0 <= self.common_gain_sd <= 2:
            fact = f"sensor {self.name}: common_gain_sd is {self.common_gain_sd}, not 0 to 2"
            raise InputRefused(fact)
        if len(set(self.roles)) != len(self.roles):
            raise InputRefused(f"sensor {self.name}: a band role is given twice: {self.roles}")

    def __len__(self) -> int:
        return len(self.bands)

    @property
    def roles(self) -> tuple[str, ...]:
        """The bands' roles in order."""
        return tuple(band.role for band in self.bands)

    def prior(self) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation (c, 3) of shift (nm), log width and log gain of its bands."""
        mean = np.zeros((len(self), 3))
        spread = nominal_spread(np.array([band.fwhm for band in self.bands]))
        for index, band in enumerate(self.bands):
            if band.prior is not None:
                mean[index, 2] = band.prior.gain
                spread[index] = band.prior.shift_sd, band.prior.width_sd, band.prior.gain_sd
        return mean, spread

    def detail_prior(self) -> FloatArray:
        """Standard deviations (c, 2) of the edges' log exponent and of the leak of its bands.

        Only reference spectra tell these two.
        """
        plain = SHAPE_SPREAD, LEAK_SPREAD
        priors = [band.prior for band in self.bands]
        return np.array([(p.shape_sd, p.leak_sd) if p is not None else plain for p in priors])

    def response(self, nm: FloatArray = FINE_NM) -> FloatArray:
        """The nominal responses (c, F) at wavelengths `nm` (F,); each row has a sum of 1."""
        return np.stack([band.response(nm) for band in self.bands])

    def covered_share(self, grid: WavelengthGrid, *, max_step: float = np.inf) -> FloatArray:
        """(c,) share of each band's response at wavelengths that a cube has.

        Args:
            grid: the cube's wavelengths; its ends count with their full width.
            max_step: distance in nm of two wavelengths above which there is a gap between them.
        """
        centres, width = grid.centres, grid.fwhm
        inside = (centres[0] - width[0] <= FINE_NM) & (centres[-1] + width[-1] >= FINE_NM)
        for gap in np.flatnonzero(np.diff(centres) > max_step):
            low, high = centres[gap] + width[gap], centres[gap + 1] - width[gap + 1]
            inside &= (low >= FINE_NM) | (high <= FINE_NM)
        return np.asarray(self.response()[:, inside].sum(1))

    def srf(self, grid: WavelengthGrid) -> FloatArray:
        """The nominal spectral response function (SRF) on the C bands of a cube.

        Returns:
            (c, C) matrix R with Y = R X for reflectance X (C,) of the cube and Y (c,) of the
            camera; each row has a sum of 1.

        Raises:
            InputRefused: 5 % or more of a band's response lies outside the grid.
        """
        return _srf(self, grid).copy()


@lru_cache(maxsize=8)
def _srf(sensor: Sensor, grid: WavelengthGrid) -> FloatArray:
    for band, covered in zip(sensor.bands, sensor.covered_share(grid), strict=True):
        if covered < COVERED_SHARE:
            raise InputRefused(
                f"band {band.role} of {sensor.name} ({band.centre:g} nm) has "
                f"{1 - covered:.0%} of its response outside the output grid {grid.name} "
                f"({grid.centres[0]:g}-{grid.centres[-1]:g} nm)",
                remedy="leave it out of the sensor file, or use a model with a wider grid",
            )
    # R = r H, with responses r on FINE_NM and interpolation H from the grid to FINE_NM
    srf = sensor.response() @ grid.interpolation()
    return np.asarray(srf / srf.sum(1, keepdims=True))


def nominal_spread(fwhm: FloatArray) -> FloatArray:
    """Prior standard deviations (..., 3) of centre, width and gain for FWHMs (...,) in nm.

    Centre in nm: the tolerance of a filter scales with its width, within 2-10 nm. Width relative,
    18 %. Gain relative, 8 %, as of calibration panels and sun sensors.
    """
    shift = np.clip(0.19 * fwhm, 2.0, 10.0)
    return np.stack([shift, np.full_like(shift, 0.18), np.full_like(shift, 0.08)], axis=-1)
