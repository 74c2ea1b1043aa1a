"""Real pairs of several flights of one camera: what compared methods learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from uavssr.calibration import Flight
from uavssr.data.batches import Batch
from uavssr.data.patch_sampler import VALIDATION_IMAGES, draw_patch
from uavssr.model import ResponseFamily
from uavssr.sensors import Float32Array, Sensor, WavelengthGrid

_PIXEL_STREAM, _VALIDATION_STREAM = 92, 93
"""Ends of the seeds of random streams."""
_VALIDATION_EVERY = 5
"""One plot in so many of a flight is kept for validation."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlotPairs:
    """Plots of flights whose spectra are known; a `PatchSampler` of uniform patches."""

    sensor: Sensor
    """The camera's data sheet."""
    grid: WavelengthGrid
    """The C wavelengths of the spectra."""
    flights: tuple[Flight, ...]
    """Spectra (k, C) and image values (k, c) of the plots, or of pixels, of each flight."""
    size: int = 16
    """Side of a patch in pixels."""

    @property
    def family(self) -> ResponseFamily:
        """See `PatchSampler`; the camera's data sheet and prior."""
        return ResponseFamily.of(self.sensor, self.grid)

    def draw(self, seed: Sequence[int], count: int, *, size: int | None = None) -> Batch:
        """See `PatchSampler`; flights are equally likely, and so are the plots of a flight."""
        return self._batch(np.random.default_rng([*seed, 0]), count, size or self.size)

    def validation(self) -> Batch:
        """See `PatchSampler`; of one plot in five of each flight, which `draw` leaves out."""
        rng = np.random.default_rng(_VALIDATION_STREAM)
        return self._batch(rng, VALIDATION_IMAGES, self.size, training=False)

    def pixels(self, seed: int, count: int) -> tuple[Float32Array, Float32Array]:
        """See `PatchSampler`; every pair comes once, so there may be fewer than `count`."""
        msi = np.concatenate([flight.msi for flight in self.flights])
        spectra = np.concatenate([flight.spectra for flight in self.flights])
        order = np.random.default_rng([seed, _PIXEL_STREAM]).permutation(len(msi))[:count]
        return msi[order].astype(np.float32), spectra[order].astype(np.float32)

    def _batch(
        self, rng: np.random.Generator, count: int, size: int, *, training: bool = True
    ) -> Batch:
        drawn = [self._patch(rng, size, training=training) for _ in range(count)]
        msi, hsi = (torch.from_numpy(np.stack(part)) for part in zip(*drawn, strict=True))
        return Batch(msi=msi, hsi=hsi, family=self.family.repeated(count), theta=None, rows=None)

    def _patch(
        self, rng: np.random.Generator, size: int, *, training: bool
    ) -> tuple[Float32Array, Float32Array]:
        flight = self.flights[int(rng.integers(len(self.flights)))]
        plots = np.arange(len(flight.msi))
        held_out = plots % _VALIDATION_EVERY == _VALIDATION_EVERY - 1
        chosen = plots[~held_out if training else held_out]
        plot = rng.choice(chosen if len(chosen) else plots)
        msi, spectrum = (
            np.tile(values[plot, :, None, None].astype(np.float32), (1, size, size))
            for values in (flight.msi, flight.spectra)
        )
        return msi, spectrum


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RasterPairs(PlotPairs):
    """Images of flights with the cubes of the same ground; patches keep their texture."""

    scenes: tuple[Float32Array, ...]
    """(c + C, y, x) bands of the image above those of its cube, reflectance."""

    def _patch(
        self, rng: np.random.Generator, size: int, *, training: bool
    ) -> tuple[Float32Array, Float32Array]:
        scene = self.scenes[int(rng.integers(len(self.scenes)))]
        patch = draw_patch(rng, scene, size, training=training)
        return patch[: len(self.sensor)], patch[len(self.sensor) :]
