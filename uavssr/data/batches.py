"""Simulated training batches: scenes, random cameras, and the images that these take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from uavssr.data.random_cameras import (
    MAX_BAND_SHIFT,
    draw_cameras,
    observe,
    random_band_count,
    random_sensors,
)
from uavssr.data.scenes import simulate_batch
from uavssr.model import ResponseFamily
from uavssr.sensors import Float32Array, WavelengthGrid
from uavssr.spectra import SpectralLibrary

_MISREGISTERED: Final = 0.3
"""Probability that the bands of a scene are shifted against each other."""
_MAX_SHIFT_STD: Final = 0.3
"""Largest standard deviation of those shifts, in pixels."""
_DATA_SHEET_ONLY: Final = 0.5
"""Probability that a camera deviates by the full prior spread; otherwise by a random part of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Images and cubes of one shard of a training step: B scenes, c camera bands, C cube bands."""

    msi: Tensor
    """(B, c, H, W) images, reflectance."""
    hsi: Tensor
    """(B, C, H, W) true cubes, reflectance."""
    family: ResponseFamily
    """Nominal response curves and the prior spread that the model is given."""
    theta: Tensor | None
    """(B, c, 3) true shift (nm), log stretch and log gain; None for a real camera (unknown)."""
    rows: Tensor | None
    """(B, c, C) true STF; None for a real camera (unknown)."""


def draw_batch(
    library: SpectralLibrary, *, seed: int, step: int, shard: int = 0, count: int, size: int
) -> Batch:
    """Simulate `count` scenes of `size` x `size` pixels and observe them with random cameras."""
    rng = np.random.default_rng([seed, step, shard])
    scenes = simulate_batch(library, rng, count, size + 2 * MAX_BAND_SHIFT)
    return observe_batch(rng, scenes, library.grid)


def observe_batch(rng: np.random.Generator, scenes: Float32Array, grid: WavelengthGrid) -> Batch:
    """Observe each scene (B, C, H, W) with a random camera.

    Returns images and cubes without the outermost `MAX_BAND_SHIFT` pixels, into which shifted bands
    wrap around.
    """
    count = len(scenes)
    bands = random_band_count(rng, grid)
    factor = np.where(rng.random(count) < _DATA_SHEET_ONLY, 1.0, rng.random(count))
    sensors = random_sensors(rng, count, bands, grid)
    cameras = draw_cameras(rng, sensors, grid, spread_factor=factor)
    shifted = np.where(rng.random(count) < _MISREGISTERED, rng.random(count), 0.0)
    images = observe(rng, scenes, cameras.rows, misregistration=_MAX_SHIFT_STD * shifted)
    inner = slice(MAX_BAND_SHIFT, -MAX_BAND_SHIFT)
    return Batch(
        msi=torch.from_numpy(np.ascontiguousarray(images[..., inner, inner])),
        hsi=torch.from_numpy(np.ascontiguousarray(scenes[..., inner, inner])),
        family=cameras.family,
        theta=torch.from_numpy(cameras.theta),
        rows=torch.from_numpy(cameras.rows),
    )
