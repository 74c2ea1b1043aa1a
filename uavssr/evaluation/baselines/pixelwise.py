"""What methods share that make each pixel's spectrum from its camera values alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from uavssr.data import SNR_RANGE_DB
from uavssr.evaluation.baselines.method import CameraImage, FittedMethod, Prediction
from uavssr.model import ResponseFamily
from uavssr.sensors import Float32Array, FloatArray

TRAINING_PIXELS: Final = 20_000
"""Pixels that a closed form learns from."""
EXPECTED_SNR_DB: Final = sum(SNR_RANGE_DB) / 2
"""Signal-to-noise ratio that a closed form expects, in dB."""
_PIXELS_AT_ONCE: Final = 2**14

PixelMap = Callable[[Float32Array], Float32Array | FloatArray]
"""Makes spectra (C, n) of camera values (c, n), both reflectance."""


class FittedPixelMap(FittedMethod):
    """The same map for every camera."""

    def __init__(self, spectra: PixelMap) -> None:
        self.spectra = spectra

    def predict(self, image: CameraImage) -> Prediction:
        """See `FittedMethod`."""
        return Prediction(cube=map_pixels(self.spectra, image.msi))


def map_pixels(spectra: PixelMap, msi: Float32Array) -> Float32Array:
    """The cube (C, y, x) that a map makes of an image (c, y, x), some pixels at a time."""
    values = msi.reshape(len(msi), -1)
    starts = range(0, values.shape[1], _PIXELS_AT_ONCE)
    parts = [spectra(values[:, start : start + _PIXELS_AT_ONCE]) for start in starts]
    cube = np.concatenate([part.astype(np.float32) for part in parts], axis=1)
    return cube.reshape(-1, *msi.shape[1:])


def data_sheet_rows(family: ResponseFamily) -> FloatArray:
    """R (c, C) as the data sheet of a family (S = 1), or its profile, has it."""
    return family.rows(family.prior)[0].double().numpy()


def expected_noise(second_moment: FloatArray, rows: FloatArray) -> FloatArray:
    """Variance (c,) of the noise in bands of responses R (c, C), at the middle of the range of SNR.

    Args:
        second_moment: E[x x^T] (C, C) of the spectra x.
        rows: R (c, C).
    """
    # sigma^2 = E[(R x)^2] 10^(-SNR / 10)
    power = np.einsum("ck,kl,cl->c", rows, second_moment, rows)
    return power * 10 ** (-EXPECTED_SNR_DB / 10)
