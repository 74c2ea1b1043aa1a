"""Simulated spectra of water (a bio-optical model) and of man-made surfaces (smooth random curves).

They fill gaps of measured libraries, which hold little water and paint.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from uavssr.sensors import Float32Array, FloatArray, WavelengthGrid

_PURE_WATER: Final = np.array(
    [
        *[(380, 0.011), (400, 0.0066), (450, 0.0092), (500, 0.0204), (550, 0.0565), (600, 0.222)],
        *[(650, 0.34), (680, 0.465), (700, 0.624), (720, 1.23), (740, 2.38), (760, 2.55)],
        *[(780, 2.36), (800, 2.07), (820, 2.3), (840, 3.5), (860, 4.7), (880, 5.6), (900, 6.8)],
        *[(920, 11), (940, 25), (960, 42), (980, 43), (1000, 36), (1050, 15)],
    ]
)
"""Absorption of pure water (nm, 1/m): Pope and Fry 1997 below 720 nm, Kou et al. 1993 above."""


def water_spectra(count: int, rng: np.random.Generator, grid: WavelengthGrid) -> Float32Array:
    """Reflectance (count, C) of optically deep waters, from clear to algal to muddy.

    R = pi * 0.54 * (0.089 u + 0.125 u^2), u = bb / (a + bb) (Gordon et al. 1988). Absorption a sums
    pure water, phytoplankton, dissolved matter and sediment; backscatter bb sums water and
    particles. Added is a reflection of the sky that grows to the blue; a fifth has some glint.
    """
    nm = grid.centres
    chlorophyll = np.exp(rng.uniform(np.log(0.1), np.log(120), (count, 1)))
    sediment = np.exp(rng.uniform(np.log(0.05), np.log(300), (count, 1)))
    dissolved = np.exp(rng.uniform(np.log(0.02), np.log(4), (count, 1)))
    absorption = np.interp(nm, *_PURE_WATER.T) + chlorophyll**0.8 * _pigment(nm)
    absorption = absorption + dissolved * np.exp(-0.014 * (nm - 440))
    absorption += 0.03 * sediment * np.exp(-0.011 * (nm - 440))
    slope = rng.uniform(0, 1.2, (count, 1))
    scatter = 0.0012 * (500 / nm) ** 4.3
    scatter = scatter + (0.012 * sediment + 0.002 * chlorophyll**0.7) * (550 / nm) ** slope
    ratio = scatter / (absorption + scatter)
    surface = rng.uniform(0, 0.015, (count, 1)) * (550 / nm) ** rng.uniform(0, 2.5, (count, 1))
    glint = np.where(rng.random((count, 1)) < 0.2, rng.uniform(0, 0.12, (count, 1)), 0)
    return np.asarray(
        np.pi * 0.54 * (0.089 * ratio + 0.125 * ratio**2) + surface + glint, np.float32
    )


def _pigment(nm: FloatArray) -> FloatArray:
    """Absorption of 1 mg/m3 of phytoplankton, 1/m: peaks of chlorophyll and others."""
    peaks = ((440, 28, 0.045), (490, 25, 0.02), (625, 18, 0.007), (675, 12, 0.02))
    return np.asarray(
        sum(height * np.exp(-(((nm - centre) / width) ** 2) / 2) for centre, width, height in peaks)
    )


def manmade_spectra(count: int, rng: np.random.Generator, grid: WavelengthGrid) -> Float32Array:
    """Reflectance (count, C) of asphalts, panels, paints, plastics and fabrics, smooth and random.

    A level, a slope, up to two sigmoid edges (the absorption edge of a pigment) and up to three
    Gaussian bands (dyes), bounded to 0.01-0.95 by a logistic function; a third are near grey.
    """
    place = np.asarray((grid.centres - 400) / 600)
    logit = rng.normal(-1.2, 1.3, (count, 1)) + rng.normal(0, 0.5, (count, 1)) * (place - 0.5)
    colour = np.where(rng.random((count, 1)) < 1 / 3, 0.1, 1.0)
    for _ in range(2):
        centre, width = rng.uniform(0, 0.75, (count, 1)), np.exp(rng.normal(-3.8, 0.5, (count, 1)))
        height = rng.normal(0.6, 1.3, (count, 1)) * (rng.random((count, 1)) < 0.6)
        logit += colour * height * np.tanh((place - centre) / width)
    for _ in range(3):
        centre, width = rng.uniform(-0.1, 1.1, (count, 1)), rng.uniform(0.02, 0.2, (count, 1))
        height = rng.normal(0, 0.9, (count, 1)) * (rng.random((count, 1)) < 0.5)
        logit += colour * height * np.exp(-(((place - centre) / width) ** 2) / 2)
    return np.asarray(0.01 + 0.94 / (1 + np.exp(-logit)), np.float32)
