"""The reflectances of a formula as weights on the bands of a cube, and the formula's variance."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from uavssr.errors import InputRefused
from uavssr.indices.formula import BROAD_BANDS, Formula, Reflectances, wavelength_of
from uavssr.sensors import Band, FloatArray, Sensor, WavelengthGrid

MAX_BAND_STEP_NM: Final = 20.0
"""Widest distance in nm of two bands of a cube between which a formula may interpolate."""


def term_range(term: str) -> tuple[float, float]:
    """First and last wavelength in nm of a broad band, or twice the wavelength of another term."""
    nm = wavelength_of(term)
    return BROAD_BANDS[term] if nm is None else (nm, nm)


def term_weights(formula: Formula, grid: WavelengthGrid) -> FloatArray:
    """Weights W (T, C) that give the terms of a formula from spectra X (C, ...), W X.

    A wavelength is interpolated linearly between the two neighbouring bands. A broad band is the
    mean of the spectrum, so interpolated, over its range.

    Raises:
        InputRefused: a term lies outside the grid, or between bands too far apart
            (`MAX_BAND_STEP_NM`).
    """
    return np.stack([_weights(term, grid) for term in formula.terms])


def camera_term_weights(formula: Formula, sensor: Sensor, grid: WavelengthGrid) -> FloatArray:
    """Weights W (T, C) that give the terms of a formula as a camera's bands measure them.

    A broad band is the camera's band whose centre lies in its range, nearest to the middle.

    Raises:
        InputRefused: the camera has no such band, the grid does not cover it, or the formula holds
            a wavelength.
    """
    bands = tuple(_camera_band(term, formula, sensor) for term in formula.terms)
    chosen = replace(sensor, bands=tuple(dict.fromkeys(bands)))
    srf = chosen.srf(grid)
    return srf[[chosen.bands.index(band) for band in bands]]


def _camera_band(term: str, formula: Formula, sensor: Sensor) -> Band:
    if wavelength_of(term) is not None:
        raise InputRefused(
            f"{formula.text} has wavelengths, which {sensor.name} does not measure",
            remedy="choose an index of broad bands, such as NDVI, or leave out --as",
        )
    first, last = BROAD_BANDS[term]
    middle = (first + last) / 2
    inside = [band for band in sensor.bands if first <= band.nominal_centre <= last]
    if not inside:
        raise InputRefused(
            f"{sensor.name} has no band {term} ({first:g}-{last:g} nm), which {formula.text} needs",
            remedy="choose another index, or another camera in --as",
        )
    return min(inside, key=lambda band: abs(band.nominal_centre - middle))


def formula_variance(gradient: Reflectances, covariance: Reflectances) -> Reflectances:
    """Variance (...) of a formula, to first order.

    Args:
        gradient: g (T, ...) of `Formula.value_and_gradient`.
        covariance: P (T, T, ...) of the terms' errors, W Cov(X) W^T of the spectrum's.
    """
    # g^T P g
    variance: Reflectances = (gradient[:, None] * covariance * gradient[None]).sum(0).sum(0)
    return variance


def _weights(term: str, grid: WavelengthGrid) -> FloatArray:
    first, last = term_range(term)
    centres = grid.centres
    if first < centres[0] or last > centres[-1]:
        raise InputRefused(
            f"{_named(term)} lies outside {grid.name}, {centres[0]:g}-{centres[-1]:g} nm",
            remedy="choose an index within these wavelengths",
        )
    # the bands whose interpolation the term uses
    left, right = np.searchsorted(centres, [first, last], side="right") - 1
    steps = np.diff(centres)[left : right + (last > centres[right])]
    if steps.size and steps.max() > MAX_BAND_STEP_NM:
        raise InputRefused(
            f"{_named(term)} lies between bands of {grid.name} that are {steps.max():g} nm apart",
            remedy=f"give a cube with a band every {MAX_BAND_STEP_NM:g} nm there",
        )
    points = np.linspace(first, last, 1 + 10 * round(last - first))
    below = np.clip(np.searchsorted(centres, points, side="right") - 1, 0, len(centres) - 2)
    share = (points - centres[below]) / np.diff(centres)[below]
    sums = np.bincount(below, 1 - share, len(centres)) + np.bincount(below + 1, share, len(centres))
    return np.asarray(sums / len(points))


def _named(term: str) -> str:
    first, last = term_range(term)
    return f"{first:g} nm" if first == last else f"band {term}, {first:g}-{last:g} nm,"
