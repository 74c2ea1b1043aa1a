"""Ridge regression from a camera's bands to the cube: the baseline of all comparisons."""

from __future__ import annotations

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
    inputs = images.transpose(0, 2, 3, 1).reshape(-1, images.shape[1]).astype(float)
    inputs = np.hstack([inputs, np.ones((len(inputs), 1))])
    targets = cubes.transpose(0, 2, 3, 1).reshape(len(inputs), -1).astype(float)
    split = len(inputs) * 4 // 5
    fits = [_solve(inputs[:split], targets[:split], penalty) for penalty in PENALTIES]
    errors = [np.mean((inputs[split:] @ fit - targets[split:]) ** 2) for fit in fits]
    return LinearMap(weights=_solve(inputs, targets, PENALTIES[int(np.argmin(errors))]).T)


def _solve(inputs: FloatArray, targets: FloatArray, penalty: float) -> FloatArray:
    """(c+1, C) from inputs (n, c+1), whose last column is one, and targets (n, C)."""
    gram = inputs.T @ inputs / len(inputs)
    diagonal = np.full(len(gram), penalty * np.mean(inputs[:, :-1] ** 2))
    diagonal[-1] = 0  # the constant is not penalised
    # W^T = (Y^T Y / n + diag(penalty)) ^-1 (Y^T X / n)
    return np.asarray(np.linalg.solve(gram + np.diag(diagonal), inputs.T @ targets / len(inputs)))
