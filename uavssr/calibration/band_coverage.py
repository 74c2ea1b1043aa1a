"""Bands of a camera that a reference covers, and its spectra on the wavelengths of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from uavssr.errors import InputRefused
from uavssr.model import SpectralBasis
from uavssr.sensors import FINE_NM, BoolArray, Float32Array, FloatArray, Sensor, WavelengthGrid
from uavssr.spectra import SubspaceCompletion, resample

if TYPE_CHECKING:
    from uavssr.calibration.references import Reference

MIN_RESPONSE_SHARE: Final = 0.95
"""Least share of a band's response that a reference must cover for the band to be calibrated."""
MAX_EXTRAPOLATION_NM: Final = 12.0
"""Nanometres past its ends to which a reference is extended by its end values."""


def reference_bands(sensor: Sensor, reference: Reference) -> BoolArray:
    """(c,) bands that the reference covers: all of them where it holds panels.

    Raises:
        InputRefused: it covers none.
    """
    if reference.kind == "panels":
        return np.ones(len(sensor), bool)
    covered = covered_bands(sensor, reference.nm)
    if not covered.any():
        raise InputRefused(
            f"its {len(reference.nm)} wavelengths, {reference.nm[0]:g}-{reference.nm[-1]:g} nm, "
            f"cover no band of {sensor.name}",
            path=reference.path,
            remedy="give a reference that covers the camera's bands",
        )
    return covered


def covered_bands(sensor: Sensor, nm: FloatArray) -> BoolArray:
    """(c,) bands of whose response wavelengths `nm` (W,) hold 95 %, no step wider than the band."""
    inside = (nm[0] - MAX_EXTRAPOLATION_NM <= FINE_NM) & (nm[-1] + MAX_EXTRAPOLATION_NM >= FINE_NM)
    share = sensor.response()[:, inside].sum(1)
    gapless = []
    for band in sensor.bands:
        near = (nm[1:] > band.centre - band.fwhm / 2) & (nm[:-1] < band.centre + band.fwhm / 2)
        gapless.append(np.diff(nm)[near].max(initial=0) <= band.fwhm)
    return np.asarray((share >= MIN_RESPONSE_SHARE) & gapless)


def on_grid(spectra: FloatArray, nm: FloatArray, basis: SpectralBasis) -> Float32Array:
    """Spectra (k, W) at wavelengths `nm` (W,) on the grid of a basis (k, C).

    Interpolated inside; beyond the ends completed with the basis (`spectra.SubspaceCompletion`).
    """
    centres, fwhm = basis.grid.centres, basis.grid.fwhm
    known = (centres > nm[0] - MAX_EXTRAPOLATION_NM) & (centres < nm[-1] + MAX_EXTRAPOLATION_NM)
    if known.all():
        return resample(spectra, nm, basis.grid)
    inside = WavelengthGrid("known", centres[known], fwhm[known])
    completed = np.zeros((len(spectra), len(centres)), np.float32)
    completed[:, known] = resample(spectra, nm, inside)
    mean, factors = basis.mean.double().numpy(), basis.components.double().numpy()
    return SubspaceCompletion(mean=mean, factors=factors).fill(completed, known)
