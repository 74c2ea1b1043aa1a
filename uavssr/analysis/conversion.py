"""Reflectance as another camera would measure it, from the spectra of a cube, with its errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from uavssr.analysis.spectral_source import SpectralErrors, SpectralTile
from uavssr.errors import InputRefused
from uavssr.indices import MAX_BAND_STEP_NM
from uavssr.model import BandErrors
from uavssr.sensors import COVERED_SHARE, UNTABULATED, Sensor, WavelengthGrid


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BandValues:
    """m bands of n pixels, and what their errors follow from; see `model.BandErrors`."""

    value: Tensor
    """(m, n) reflectance."""
    own_variance: Tensor | None
    """(m, n) variance of each pixel's own error; None without errors."""
    extended: Tensor | None
    """(q, n) sqrt(f) [A; 1], in which the errors that all pixels share are linear."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Conversion:
    """The bands of another camera as weights on the wavelengths of a cube."""

    sensor: Sensor
    """The other camera, m bands that the cube's wavelengths cover."""
    left_out: str
    """A sentence that names the bands without a value, and why; empty if there are none."""
    weights: Tensor
    """R (m, C), Y = R X."""
    errors: SpectralErrors | None
    """What the errors of the spectra follow from; None: no errors are computed."""
    band_errors: BandErrors | None
    """The errors of the m bands."""

    @classmethod
    def of(cls, target: Sensor, grid: WavelengthGrid, errors: SpectralErrors | None) -> Conversion:
        """The conversion to a camera; bands that the wavelengths do not cover are left out.

        Args:
            target: the other camera.
            grid: the cube's wavelengths.
            errors: what the errors of the spectra follow from; None: none are computed.

        Raises:
            InputRefused: the wavelengths cover no band.
        """
        missing = uncovered_roles(target, grid)
        bands = tuple(band for band in target.bands if band.role not in missing)
        if not bands:
            first, last = grid.centres[[0, -1]]
            named = ", ".join(f"{band.role} {band.centre:g} nm" for band in target.bands)
            raise InputRefused(
                f"its wavelengths, {first:g}-{last:g} nm, cover no band of {target.name} ({named})",
                remedy="choose another camera with --to, or give a cube of more wavelengths",
            )
        sensor = replace(target, bands=bands)
        weights = torch.tensor(sensor.srf(grid), dtype=torch.float32)
        return cls(
            sensor=sensor,
            left_out=_left_out(target, grid, missing),
            weights=weights,
            errors=errors,
            band_errors=None if errors is None else errors.of_bands(weights),
        )

    def __call__(self, tile: SpectralTile) -> BandValues:
        """The bands of the n valid pixels of a tile."""
        value = tile.combine(self.weights)
        if self.errors is None or self.band_errors is None:
            return BandValues(value=value, own_variance=None, extended=None)
        image = self.errors.image(tile.coefficients)
        return BandValues(
            value=value,
            own_variance=self.band_errors.own_variance(image)[0].clamp_min(0),
            extended=self.band_errors.extended(image, tile.coefficients[None])[0],
        )

    def standard_error(self, own_variance: Tensor | None, extended: Tensor | None) -> Tensor | None:
        """(m, n) standard errors of pixels or means, None where errors are not known.

        Args:
            own_variance: (m, n) variance of the own errors.
            extended: (q, n) sqrt(f) [A; 1], or its means.
        """
        if self.band_errors is None or own_variance is None or extended is None:
            return None
        shared = self.band_errors.shared_of(extended[None])[0]
        # own + |shared|^2
        return (own_variance + shared.square().sum(1)).sqrt()


def uncovered_roles(sensor: Sensor, grid: WavelengthGrid) -> tuple[str, ...]:
    """The bands of which a cube's wavelengths cover less than `COVERED_SHARE`, gaps included."""
    share = sensor.covered_share(grid, max_step=MAX_BAND_STEP_NM)
    return tuple(
        role for role, part in zip(sensor.roles, share, strict=True) if part < COVERED_SHARE
    )


def _left_out(target: Sensor, grid: WavelengthGrid, missing: Sequence[str]) -> str:
    reasons = []
    if missing:
        first, last = grid.centres[[0, -1]]
        named = ", ".join(missing)
        reasons.append(f"{named} (the wavelengths, {first:.0f}-{last:.0f} nm, do not cover them)")
    if absent := UNTABULATED.get(target.name):
        reasons.append(f"{', '.join(absent)} (no response is tabulated)")
    return f"{target.name}: left out {' and '.join(reasons)}" if reasons else ""
