"""One training step's data: scenes, the cameras that see them, and what they see.

Everything random follows from the seed and the step. Must not know of losses or optimisers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from uavssr.data.random_cameras import draw_cameras, observe, random_count, random_sensors
from uavssr.data.scenes import simulate_batch
from uavssr.model import ResponseFamily
from uavssr.sensors import Float32Array, WavelengthGrid
from uavssr.spectra import SpectralLibrary

MARGIN: Final = 2  # pixels that wrap around when `observe` shifts bands
MISREGISTERED: Final = 0.3  # share of scenes whose bands are shifted, by up to 0.3 pixels (1 sigma)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One training step's data."""

    msi: Tensor
    """(B, c, H, W) what the cameras see."""
    hsi: Tensor
    """(B, C, H, W) the truth."""
    family: ResponseFamily
    """Nominal curves and the spread that the model is told."""
    theta: Tensor | None
    """(B, c, 3) true parameters; None of a real camera, whose truth nobody knows."""
    rows: Tensor | None
    """(B, c, C) true STF; None of a real camera."""


def draw_batch(
    library: SpectralLibrary, *, seed: int, step: int, shard: int = 0, count: int, size: int
) -> Batch:
    """`count` scenes of `size` pixels, simulated and seen by random cameras.

    They are a function of the seed, the step's number and the shard (one of the parts of a step,
    of which several GPUs make one each) alone.
    """
    rng = np.random.default_rng([seed, step, shard])
    return seen_by_cameras(
        rng, simulate_batch(library, rng, count, size + 2 * MARGIN), library.grid
    )


def seen_by_cameras(rng: np.random.Generator, scenes: Float32Array, grid: WavelengthGrid) -> Batch:
    """Scenes (B, C, H, W) seen by a random camera each; `MARGIN` pixels are cut off all around."""
    count = len(scenes)
    bands = random_count(rng, grid)
    knowledge = np.where(rng.random(count) < 0.5, 1.0, rng.random(count))
    cameras = draw_cameras(rng, random_sensors(rng, count, bands, grid), grid, knowledge=knowledge)
    shifted = np.where(rng.random(count) < MISREGISTERED, rng.random(count), 0.0)
    images = observe(rng, scenes, cameras.rows, misregistration=0.3 * shifted)
    inner = (slice(None), slice(None), slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    family = ResponseFamily.stack(
        curves=cameras.curves,
        centre=cameras.centre,
        fwhm=cameras.fwhm,
        grid=grid,
        knowledge=cameras.knowledge,
    )
    return Batch(
        msi=torch.from_numpy(np.ascontiguousarray(images[inner])),
        hsi=torch.from_numpy(np.ascontiguousarray(scenes[inner])),
        family=family,
        theta=torch.from_numpy(cameras.theta),
        rows=torch.from_numpy(cameras.rows),
    )
