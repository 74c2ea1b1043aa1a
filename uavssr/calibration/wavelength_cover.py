"""The wavelengths of a reference against those of a camera's bands and of a model's grid."""

from __future__ import annotations

from typing import Final

import numpy as np

from uavssr.model import SpectralBasis
from uavssr.sensors import FINE_NM, BoolArray, Float32Array, FloatArray, Sensor, WavelengthGrid
from uavssr.spectra import SubspaceCompletion, resample

MIN_RESPONSE_SHARE: Final = 0.95
"""Least share of a band's response that a reference must cover for the band to be calibrated."""
MAX_EXTRAPOLATION_NM: Final = 12.0
"""Nanometres past its ends to which a reference is extended by its end values."""


def covered_bands(sensor: Sensor, nm: FloatArray) -> BoolArray:
    """(c,) bands of whose response wavelengths `nm` (W,) hold 95 % without a gap.

    A gap is a step between wavelengths wider than the band.
    """
    inside = (nm[0] - MAX_EXTRAPOLATION_NM <= FINE_NM) & (nm[-1] + MAX_EXTRAPOLATION_NM >= FINE_NM)
    share = sensor.response()[:, inside].sum(1)
    covered = []
    for band, held in zip(sensor.bands, share, strict=True):
        near = (nm[1:] > band.centre - band.fwhm / 2) & (nm[:-1] < band.centre + band.fwhm / 2)
        gapless = np.diff(nm)[near].max(initial=0) <= band.fwhm
        covered.append(held >= MIN_RESPONSE_SHARE and gapless)
    return np.array(covered)


def on_grid(spectra: FloatArray, nm: FloatArray, basis: SpectralBasis) -> Float32Array:
    """Spectra (k, W) at wavelengths `nm` (W,) on the grid of a basis (k, C).

    Interpolated inside; beyond the ends completed with the basis (`spectra.SubspaceCompletion`).
    """
    centres, fwhm = basis.grid.centres, basis.grid.fwhm
    known = (centres > nm[0] - MAX_EXTRAPOLATION_NM) & (centres < nm[-1] + MAX_EXTRAPOLATION_NM)
    if known.all():
        return resample(spectra, nm, basis.grid)
    completed = np.zeros((len(spectra), len(centres)), np.float32)
    completed[:, known] = resample(
        spectra, nm, WavelengthGrid("known", centres[known], fwhm[known])
    )
    mean, factors = basis.mean.double().numpy(), basis.components.double().numpy()
    return SubspaceCompletion(mean=mean, factors=factors).fill(completed, known)
