"""Simulated batches of a training step: images, and bags of spectra, of random cameras.

An STF is estimated from the materials of a scene, not from their arrangement. Bags, pixels without
their positions, show P-Net many more scenes and cameras than whole images could, at little cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from uavssr.data.random_cameras import (
    MAX_BAND_SHIFT,
    SNR_RANGE_DB,
    draw_cameras,
    observe,
    random_band_count,
    random_sensors,
)
from uavssr.model import ResponseFamily, SpectralBasis
from uavssr.sensors import Float32Array, WavelengthGrid

SceneSampler = Callable[[np.random.Generator, int, int], Float32Array]
"""Draws scenes (count, C, side, side) of reflectance, given a generator, a count and a side."""

BAG_SCENE_SIDE: Final = 16
"""Side in pixels of the scenes that bags are filled from."""
BAG_SPECTRA: Final = 96
"""Spectra in a bag, or all of its scene where that has fewer pixels."""
ILLUMINATION_STD: Final = 0.03
"""Approximate relative standard deviation of a smooth factor over the spectrum, per scene."""
BRIGHTNESS_LOG_STD: Final = 0.15
"""Standard deviation of the logarithm of a brightness factor, per scene."""

_MISREGISTERED: Final = 0.3
"""Probability that the bands of a scene are shifted against each other."""
_MAX_SHIFT_STD: Final = 0.3
"""Largest standard deviation of those shifts, in pixels."""
_DATA_SHEET_ONLY: Final = 0.5
"""Probability that the camera of an image deviates by the full prior spread, not a part of it."""
_BAG_DATA_SHEET_ONLY: Final = 0.6
"""The same for the camera of a bag."""
_COSINES: Final = 6
"""Cosines that make up the smooth illumination factor."""
_SCENES_AT_ONCE: Final = 100
"""Scenes drawn at a time, which bounds memory. The draws depend on it."""
_DRAW_STREAM, _FILL_STREAM = 40, 41
"""Ends of the seeds of the two random streams."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectraBagBatch:
    """B bags of N spectra, each observed by a random camera of c bands."""

    msi: Tensor
    """(B, c, N) observed reflectance."""
    family: ResponseFamily
    """Nominal response curves and the prior spread that the model is given."""
    theta: Tensor
    """(B, c, 3) true shift (nm), log stretch and log gain."""
    rows: Tensor
    """(B, c, C) true STF."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectraBags:
    """n bags of N spectra each, as r coefficients of a spectral basis."""

    coefficients: Tensor
    """(n, N, r) coefficients."""
    basis: SpectralBasis
    """The basis: spectrum = components @ coefficients + mean."""

    @classmethod
    def fill(
        cls,
        scenes: SceneSampler,
        basis: SpectralBasis,
        *,
        count: int,
        seed: int,
        side: int = BAG_SCENE_SIDE,
    ) -> SpectraBags:
        """Fill `count` bags with random pixels of as many scenes of `side` x `side` pixels."""
        rng = np.random.default_rng([seed, _FILL_STREAM])
        inverse = torch.linalg.pinv(basis.components)
        bags = []
        for start in range(0, count, _SCENES_AT_ONCE):
            drawn = scenes(rng, min(_SCENES_AT_ONCE, count - start), side)
            pixels = rng.permutation(side**2)[:BAG_SPECTRA]
            spectra = torch.from_numpy(drawn.reshape(*drawn.shape[:2], -1)[..., pixels])
            # coefficients = E^+ (X - mean)
            bags.append((inverse @ (spectra - basis.mean[:, None])).mT)
        return cls(coefficients=torch.cat(bags), basis=basis)

    def draw(self, *, seed: int, step: int, shard: int, count: int) -> SpectraBagBatch:
        """Draw `count` bags under random illumination, observed by random cameras with noise."""
        rng = np.random.default_rng([seed, step, shard, _DRAW_STREAM])
        grid = self.basis.grid
        factor = np.where(rng.random(count) < _BAG_DATA_SHEET_ONLY, 1.0, rng.random(count))
        sensors = random_sensors(rng, count, random_band_count(rng, grid), grid)
        cameras = draw_cameras(rng, sensors, grid, spread_factor=factor)
        illumination = _illumination(rng, count, grid)
        # Y = R diag(illumination) (E A + mean)
        projected = torch.from_numpy(cameras.rows * illumination[:, None]) @ self.basis.extended
        chosen = self.coefficients[rng.integers(0, len(self.coefficients), count)]
        clean = projected[..., :-1] @ chosen.mT + projected[..., -1:]
        # sigma = rms 10^(-SNR / 20)
        snr = torch.from_numpy(rng.uniform(*SNR_RANGE_DB, (count, 1, 1)).astype(np.float32))
        sigma = clean.square().mean(2, keepdim=True).sqrt() * 10 ** (-snr / 20)
        noise = torch.from_numpy(rng.standard_normal(clean.shape, np.float32))
        return SpectraBagBatch(
            msi=clean + sigma * noise,
            family=cameras.family,
            theta=torch.from_numpy(cameras.theta),
            rows=torch.from_numpy(cameras.rows),
        )


def _illumination(rng: np.random.Generator, count: int, grid: WavelengthGrid) -> Float32Array:
    """Draw factors (count, C), smooth over the spectrum and equal for all pixels of a scene.

    factor = exp(level + sum_k amount_k cos(k position) / sqrt(k)), position 0..pi over the grid
    """
    position = np.linspace(0, np.pi, len(grid))
    orders = np.arange(1, _COSINES + 1)
    amount = rng.standard_normal((count, _COSINES)) * ILLUMINATION_STD / np.sqrt(orders) / 1.125
    level = BRIGHTNESS_LOG_STD * rng.standard_normal((count, 1))
    return np.exp(amount @ np.cos(np.outer(orders, position)) + level).astype(np.float32)
