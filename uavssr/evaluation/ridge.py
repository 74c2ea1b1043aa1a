"""Ridge regression from a camera's bands to the cube, trained on random cameras: the baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from uavssr.data import draw_cameras, observe, simulate_batch
from uavssr.sensors import Float32Array, FloatArray, Sensor
from uavssr.spectra import SpectralLibrary

PENALTIES: Final = (1e-6, 1e-5, 1e-4, 1e-3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ridge:
    """X = W [Y; 1]."""

    weights: FloatArray
    """(C, c+1)."""

    def __call__(self, msi: Float32Array) -> FloatArray:
        """Spectra (C, N) of camera pixels (c, N)."""
        return self.weights @ np.vstack([msi, np.ones((1, msi.shape[1]))])


def fit_ridge(
    library: SpectralLibrary,
    sensor: Sensor,
    *,
    seed: int,
    scenes: int = 300,
    size: int = 24,
    penalties: tuple[float, ...] = PENALTIES,
) -> Ridge:
    """Ridge on scenes of the library seen by cameras that stray from `sensor`'s data sheet.

    Every scene has a random camera of its own (the same draw as in training). The penalty is the
    one of `penalties` (relative to the mean squared reflectance) with the least error on the last
    fifth of the scenes.
    """
    rng = np.random.default_rng([seed, 77])
    cubes = simulate_batch(library, rng, scenes, size)
    knowledge = np.ones(scenes)
    cameras = draw_cameras(rng, [sensor] * scenes, library.grid, knowledge=knowledge)
    return regress(observe(rng, cubes, cameras.rows), cubes, penalties=penalties)


def regress(
    images: Float32Array,
    cubes: Float32Array,
    *,
    penalties: tuple[float, ...] = PENALTIES,
) -> Ridge:
    """Ridge on images (n, c, h, w) of cubes (n, C, h, w); see `fit_ridge` for the penalty."""
    inputs = images.transpose(0, 2, 3, 1).reshape(-1, images.shape[1]).astype(float)
    inputs = np.hstack([inputs, np.ones((len(inputs), 1))])
    targets = cubes.transpose(0, 2, 3, 1).reshape(len(inputs), -1).astype(float)
    split = len(inputs) * 4 // 5
    fits = [_solve(inputs[:split], targets[:split], penalty) for penalty in penalties]
    errors = [np.mean((inputs[split:] @ fit - targets[split:]) ** 2) for fit in fits]
    return Ridge(weights=_solve(inputs, targets, penalties[int(np.argmin(errors))]).T)


def _solve(inputs: FloatArray, targets: FloatArray, penalty: float) -> FloatArray:
    gram = inputs.T @ inputs / len(inputs)
    diagonal = np.full(len(gram), penalty * np.mean(inputs[:, :-1] ** 2))
    diagonal[-1] = 0  # the constant is not penalised
    return np.asarray(np.linalg.solve(gram + np.diag(diagonal), inputs.T @ targets / len(inputs)))
