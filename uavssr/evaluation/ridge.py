"""Ridge regression from a camera's bands to the cube: the baseline of all comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from uavssr.data import draw_cameras, observe, simulate_batch
from uavssr.sensors import Float32Array, FloatArray, Sensor
from uavssr.spectra import SpectralLibrary

PENALTIES: Final = (1e-6, 1e-5, 1e-4, 1e-3)
"""Penalties to choose from, relative to the mean squared reflectance of the bands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearMap:
    """The linear map X = W [Y; 1] from camera bands to spectra."""

    weights: FloatArray
    """W (C, c+1)."""

    def __call__(self, msi: Float32Array) -> FloatArray:
        """Spectra (C, n) of camera pixels (c, n), both reflectance."""
        return self.weights @ np.vstack([msi, np.ones((1, msi.shape[1]))])


def fit_ridge(
    library: SpectralLibrary, sensor: Sensor, *, seed: int, scenes: int = 300, size: int = 24
) -> LinearMap:
    """Ridge on scenes of a library, `size` pixels wide, each seen by a random camera.

    The cameras are drawn near the data sheet as in training.
    """
    rng = np.random.default_rng([seed, 77])
    cubes = simulate_batch(library, rng, scenes, size)
    cameras = draw_cameras(rng, [sensor] * scenes, library.grid)
    return regress(observe(rng, cubes, cameras.rows), cubes)


def regress(images: Float32Array, cubes: Float32Array) -> LinearMap:
    """Ridge on images (n, c, y, x) and their cubes (n, C, y, x).

    The penalty is the one of `PENALTIES` with the smallest error on the last fifth of the pixels.
    """
    values, spectra = (
        np.moveaxis(part, 1, -1).reshape(-1, part.shape[1]) for part in (images, cubes)
    )
    split = len(values) * 4 // 5
    fits = ridge_maps(values[:split], spectra[:split])
    errors = [np.square(fit(values[split:].T) - spectra[split:].T).mean() for fit in fits]
    return ridge_maps(values, spectra)[int(np.argmin(errors))]


def ridge_maps(
    values: Float32Array, spectra: Float32Array, penalties: Sequence[float] = PENALTIES
) -> list[LinearMap]:
    """Ridge from camera values (n, c) to spectra (n, C), once for each penalty.

    Penalties are relative to the mean squared value.
    """
    inputs = np.column_stack([values.astype(float), np.ones(len(values))])
    # Y^T Y / n,  Y^T X / n
    gram, cross = (inputs.T @ part.astype(float) / len(inputs) for part in (inputs, spectra))
    penalised = np.append(np.full(values.shape[1], np.mean(inputs[:, :-1] ** 2)), 0)
    # W^T = (Y^T Y / n + penalty diag(1, ..., 1, 0)) ^-1 (Y^T X / n)
    return [
        LinearMap(weights=np.linalg.solve(gram + np.diag(penalty * penalised), cross).T)
        for penalty in penalties
    ]
