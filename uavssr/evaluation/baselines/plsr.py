"""Partial least squares regression (PLS2), the usual regression of field spectroscopy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uavssr.data import PatchSampler
from uavssr.evaluation import LinearMap
from uavssr.evaluation.baselines.map_choice import best_map
from uavssr.evaluation.baselines.method import FitSettings, Method
from uavssr.evaluation.baselines.pixelwise import FittedPixelMap
from uavssr.sensors import Float32Array, FloatArray


@dataclass(frozen=True, kw_only=True)
class PlsrMethod(Method):
    """PLS2, its number of components by the error on pixels that were left out."""

    def fit(self, data: PatchSampler, settings: FitSettings) -> FittedPixelMap:
        """See `Method`."""
        return FittedPixelMap(best_map(partial_least_squares, data, settings.seed))


def partial_least_squares(values: Float32Array, spectra: Float32Array) -> list[LinearMap]:
    """The regressions with 1, 2, ... c components, by the kernel algorithm.

    Dayal and MacGregor, "Improved PLS algorithms", Journal of Chemometrics 1997. Bands are centred
    and not scaled, since all are reflectance.

    Args:
        values: Y (n, c) of the camera.
        spectra: X (n, C).
    """
    means = values.mean(0, dtype=float), spectra.mean(0, dtype=float)
    inputs = values - means[0]
    gram, cross = inputs.T @ inputs, inputs.T @ (spectra - means[1])  # Y^T Y, Y^T X
    scale = np.trace(gram)
    rotations: list[FloatArray] = []
    loadings: list[FloatArray] = []
    weights, fits = np.zeros_like(cross), []
    for _ in range(len(gram)):
        direction = np.linalg.svd(cross, full_matrices=False)[0][:, 0]
        # r = w - sum_j (p_j^T w) r_j,  t = Y r
        rotation = direction - sum(
            (p @ direction) * r for p, r in zip(loadings, rotations, strict=True)
        )
        length = rotation @ gram @ rotation
        if length <= 1e-12 * scale:
            break
        # p = Y^T t / t^T t,  q = X^T t / t^T t,  W += r q^T,  Y^T X -= t^T t p q^T
        loading, response = gram @ rotation / length, cross.T @ rotation / length
        weights = weights + np.outer(rotation, response)
        cross = cross - length * np.outer(loading, response)
        rotations.append(rotation)
        loadings.append(loading)
        fits.append(_centred_map(weights.T, *means))
    return fits


def _centred_map(weights: FloatArray, camera_mean: FloatArray, mean: FloatArray) -> LinearMap:
    """X = mean + W (Y - camera_mean)."""
    return LinearMap(weights=np.column_stack([weights, mean - weights @ camera_mean]))


PLSR = PlsrMethod(
    name="plsr",
    reference="PLS2 regression with a constant, bands not scaled",
)
