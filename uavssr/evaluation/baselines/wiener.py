"""Wiener estimate: the posterior mean under one Gaussian prior of spectra and a known response."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uavssr.data import PatchSampler
from uavssr.evaluation import LinearMap
from uavssr.evaluation.baselines.method import (
    CameraImage,
    FitSettings,
    FittedMethod,
    Method,
    Prediction,
)
from uavssr.evaluation.baselines.pixelwise import (
    TRAINING_PIXELS,
    data_sheet_rows,
    expected_noise,
    map_pixels,
)
from uavssr.sensors import FloatArray


@dataclass(frozen=True, kw_only=True)
class WienerMethod(Method):
    """Mean and covariance of training spectra, and R of the data sheet."""

    def fit(self, data: PatchSampler, settings: FitSettings) -> FittedWiener:
        """See `Method`; of the training pixels only the spectra are used."""
        _, spectra = data.pixels(settings.seed, TRAINING_PIXELS)
        values = spectra.astype(float)
        return FittedWiener(values.mean(0), np.cov(values.T, bias=True))


class FittedWiener(FittedMethod):
    """A Gaussian prior of spectra; the camera's data sheet comes with the image."""

    def __init__(self, mean: FloatArray, covariance: FloatArray) -> None:
        self.mean, self.covariance = mean, covariance

    def predict(self, image: CameraImage) -> Prediction:
        """See `FittedMethod`."""
        rows = data_sheet_rows(image.family)
        noise = expected_noise(self.covariance + np.outer(self.mean, self.mean), rows)
        estimate = wiener_estimate(self.mean, self.covariance, rows, noise)
        cube = map_pixels(estimate, image.msi)
        return Prediction(cube=cube, rows=rows.astype(np.float32))


def wiener_estimate(
    mean: FloatArray, covariance: FloatArray, rows: FloatArray, noise: FloatArray
) -> LinearMap:
    """The posterior mean of spectra x ~ N(mean, covariance) given y = R x + noise.

    Args:
        mean: m (C,) reflectance.
        covariance: S (C, C).
        rows: R (c, C).
        noise: (c,) variances of the bands' noise.
    """
    # x = m + G (y - R m),  G = S R^T (R S R^T + diag(noise))^-1
    carried = rows @ covariance
    gain = np.linalg.solve(carried @ rows.T + np.diag(noise), carried).T
    return LinearMap(weights=np.column_stack([gain, mean - gain @ (rows @ mean)]))


WIENER = WienerMethod(
    name="wiener",
    knows="data sheet",
    reference="Wiener estimate under a Gaussian prior, noise of 35 dB",
)
