"""Blind from unpaired images: a response by matching moments, then pairs simulated with it.

After Xie et al.: the spectral degradation between hyperspectral images and an image of other ground
is estimated first; a regression then learns from pairs that are simulated with it. Mean and
covariance take the place of the paper's adversarial network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from uavssr.data import PatchSampler, observe
from uavssr.evaluation import LinearMap, regress
from uavssr.evaluation.baselines.method import (
    CameraImage,
    FitSettings,
    FittedMethod,
    Method,
    Prediction,
)
from uavssr.evaluation.baselines.pixelwise import (
    EXPECTED_SNR_DB,
    TRAINING_PIXELS,
    data_sheet_rows,
    map_pixels,
)
from uavssr.sensors import Float32Array, FloatArray, WavelengthGrid

_IMAGE_PIXELS: Final = 250
"""Pixels of the image that spectra are chosen for."""
_ALIKE: Final = 20
"""Training spectra chosen for each of them."""
_STEPS: Final = 10
"""Gauss-Newton steps."""
_LARGEST_STEP: Final = 0.3
"""Largest change of the logarithm of a response in a step."""
_SMOOTH_NM: Final = 30.0
"""Length in nm over which a change of a response is smooth."""
_CHANGE: Final = 0.3
"""Size of a change of the logarithm, to weigh it against `_MISFIT`."""
_MISFIT: Final = 0.1
"""Expected misfit of a moment, in standard deviations of the bands."""
_LEAST_SPREAD: Final = 0.05
"""Least standard deviation of a band that is divided by, relative to its rms."""
_TAIL: Final = 1e-3
"""Response outside the pass band at the start, relative to the peak, so that it can grow."""
_DARK: Final = 1e-6
"""Least length of camera values, in reflectance, that is divided by."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moments:
    """Mean and covariance of vectors."""

    mean: FloatArray
    """(k,)."""
    covariance: FloatArray
    """(k, k)."""

    @classmethod
    def of(cls, vectors: FloatArray) -> Moments:
        """Of vectors (n, k)."""
        mean = vectors.mean(0)
        centred = vectors - mean
        return cls(mean=mean, covariance=centred.T @ centred / len(vectors))


@dataclass(frozen=True, kw_only=True)
class UnpairedMethod(Method):
    """The response from moments of unpaired spectra and the image, a regression for each image."""

    def fit(self, data: PatchSampler, settings: FitSettings) -> FittedUnpaired:
        """See `Method`; of the training pixels only the spectra are used."""
        _, spectra = data.pixels(settings.seed, TRAINING_PIXELS)
        return FittedUnpaired(spectra, data.grid, settings.seed)


class FittedUnpaired(FittedMethod):
    """Spectra of other ground; all else is done for each image."""

    def __init__(self, spectra: Float32Array, grid: WavelengthGrid, seed: int) -> None:
        self.spectra, self.grid, self.seed = spectra, grid, seed

    def predict(self, image: CameraImage) -> Prediction:
        """See `FittedMethod`."""
        start = data_sheet_rows(image.family)
        values = image.msi.reshape(len(image.msi), -1).T.astype(float)
        moments = without_noise(Moments.of(values))
        alike = Moments.of(self._alike_spectra(start, values))
        rows = match_moments(start, alike, moments, self.grid).astype(np.float32)
        return Prediction(cube=map_pixels(self._regression(rows), image.msi), rows=rows)

    def _alike_spectra(self, rows: FloatArray, values: FloatArray) -> FloatArray:
        """Spectra (n, C) most like pixels of values (m, c), scaled to their brightness."""
        seen = self.spectra @ rows.T
        length = np.maximum(np.linalg.norm(seen, axis=1), _DARK)
        chosen = values[np.linspace(0, len(values) - 1, _IMAGE_PIXELS).astype(int)]
        brightness = np.linalg.norm(chosen, axis=1)
        likeness = chosen @ (seen / length[:, None]).T
        count = min(_ALIKE, len(self.spectra))
        near = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
        scale = brightness[:, None] / length[near]
        alike = self.spectra[near] * scale[..., None]
        return alike.reshape(-1, self.spectra.shape[1])

    def _regression(self, rows: Float32Array) -> LinearMap:
        """Ridge on the spectra as a camera of these responses sees them."""
        rng = np.random.default_rng(self.seed)
        cubes = self.spectra.T[None, ..., None]
        snr = EXPECTED_SNR_DB, EXPECTED_SNR_DB
        return regress(observe(rng, cubes, rows[None], snr_db=snr), cubes)


def without_noise(image: Moments) -> Moments:
    """The moments of an image less the variance of its noise, at the expected SNR."""
    power = image.covariance.diagonal() + image.mean**2
    noise = power * 10 ** (-EXPECTED_SNR_DB / 10)
    return Moments(mean=image.mean, covariance=image.covariance - np.diag(noise))


def match_moments(
    start: FloatArray, spectra: Moments, image: Moments, grid: WavelengthGrid
) -> FloatArray:
    """Responses R (c, C) with which spectra have the moments of an image.

        R m = mu,  R S R^T = Sigma,  R = start exp(u),  u smooth over the wavelengths

    R stays non-negative. Each Gauss-Newton step takes the smallest smooth change u; nothing pulls R
    back to its start.

    Args:
        start: (c, C) responses to begin with, none negative.
        spectra: m and S of the spectra.
        image: mu and Sigma of the image.
        grid: the C bands.
    """
    rows = start + _TAIL * start.max(1, keepdims=True)
    rows = rows * (start.sum(1) / rows.sum(1))[:, None]
    variance = image.covariance.diagonal()
    spread = np.sqrt(np.maximum(variance, _LEAST_SPREAD**2 * (variance + image.mean**2)))
    apart = (grid.centres[:, None] - grid.centres) / _SMOOTH_NM
    kernel = _CHANGE**2 * np.exp(-0.5 * apart**2)
    for _ in range(_STEPS):
        misfit, slope = _misfit(rows, spectra, image, spread)
        # u = -K J^T (J K J^T + misfit^2 I)^-1 e
        smooth = slope @ kernel
        system = np.einsum("ebk,fbk->ef", smooth, slope) + _MISFIT**2 * np.eye(len(misfit))
        change = -np.einsum("ebk,e->bk", smooth, np.linalg.solve(system, misfit))
        largest = max(float(np.abs(change).max()), _LARGEST_STEP)
        rows = rows * np.exp(change * (_LARGEST_STEP / largest))
    return rows


def _misfit(
    rows: FloatArray, spectra: Moments, image: Moments, spread: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Misfits e (E,) of moments, over the bands' spreads, and J = de / du (E, c, C)."""
    bands = len(rows)
    first, second = np.triu_indices(bands)
    carried = rows @ spectra.covariance
    scale = spread[first] * spread[second]
    # e = [(R m - mu) / s, (R S R^T - Sigma)_ab / (s_a s_b)], dR = R * du
    covariance = (carried @ rows.T - image.covariance)[first, second] / scale
    misfit = np.concatenate([(rows @ spectra.mean - image.mean) / spread, covariance])
    slope = np.zeros((len(misfit), *rows.shape))
    own, pair = np.arange(bands), np.arange(bands, len(misfit))
    slope[own, own] = rows * spectra.mean / spread[:, None]
    slope[pair, first] += rows[first] * carried[second] / scale[:, None]
    slope[pair, second] += rows[second] * carried[first] / scale[:, None]
    return misfit, slope


XIE = UnpairedMethod(
    name="xie",
    knows="data sheet",
    reference="Xie et al., blind from unpaired images; moments in place of the adversarial "
    "network, which needs a training for each camera; the data sheet starts the response and "
    "chooses like spectra; a ridge regression in place of their network",
)
