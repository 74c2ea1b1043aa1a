"""The choice of a regression's setting by the error on pixels that were left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from uavssr.data import PatchSampler, PlotPairs
from uavssr.evaluation import LinearMap, rmse
from uavssr.evaluation.baselines.pixelwise import TRAINING_PIXELS
from uavssr.sensors import Float32Array

Pixels = tuple[Float32Array, Float32Array]
"""Camera values (n, c) and spectra (n, C)."""
MapsOfPixels = Callable[[Float32Array, Float32Array], list[LinearMap]]
"""Fits a map for each setting, the same ones for all pixels."""


def best_map(maps: MapsOfPixels, data: PatchSampler, seed: int) -> LinearMap:
    """The map of all training pixels with the setting of the least mean RMSE on those left out.

    These are the pixels of each known flight in turn, or else the last fifth of the pixels.
    """
    pixels = data.pixels(seed, TRAINING_PIXELS)
    errors = [
        [rmse(fit(values.T), spectra.T) for fit in maps(*training)]
        for training, (values, spectra) in _folds(data, pixels)
    ]
    settings = min(map(len, errors))
    mean = np.mean([row[:settings] for row in errors], axis=0)
    return maps(*pixels)[int(np.argmin(mean))]


def _folds(data: PatchSampler, pixels: Pixels) -> Iterator[tuple[Pixels, Pixels]]:
    """Pixels to fit to, and pixels left out."""
    if isinstance(data, PlotPairs) and len(data.flights) > 1:
        flights = [
            (flight.msi.astype(np.float32), flight.spectra.astype(np.float32))
            for flight in data.flights
        ]
        for index, flight in enumerate(flights):
            others = flights[:index] + flights[index + 1 :]
            values, spectra = (np.concatenate(parts) for parts in zip(*others, strict=True))
            yield (values, spectra), flight
    else:
        split = len(pixels[0]) * 4 // 5
        values, spectra = pixels
        yield (values[:split], spectra[:split]), (values[split:], spectra[split:])
