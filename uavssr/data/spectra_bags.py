"""Bags of spectra: pixels of many scenes without their places, from which P-Net learns cameras.

What a camera is, is learned from what scenes are made of; that needs many scenes and cameras and no
images. Every draw follows from its seeds alone. Must not know of losses or optimisers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from uavssr.data.random_cameras import draw_cameras, random_count, random_sensors
from uavssr.model import ResponseFamily, SpectralBasis
from uavssr.sensors import WavelengthGrid

Scenes = Callable[[np.random.Generator, int, int], npt.NDArray[np.float32]]
"""Draws scenes (count, C, side, side)."""

SIDE: Final = 16
"""Of the scenes that bags are filled from, in pixels."""
PIXELS: Final = 96
"""Spectra of a bag."""
SNR_DB: Final = (25.0, 45.0)
LIGHT: Final = 0.03
"""Relative deviation, about, of the smooth change of a scene's spectra: light, calibration."""
LEVEL: Final = 0.15
"""Deviation of the logarithm of a scene's brightness, beyond its own."""
_WAVES: Final = 6
_ROUND: Final = 100
_CAMERA, _FILL = 40, 41


@dataclass(frozen=True, slots=True, kw_only=True)
class BagBatch:
    """Bags seen by a random camera each."""

    msi: Tensor
    """(B, c, N) reflectance."""
    family: ResponseFamily
    """Nominal curves and the spread that the model is told."""
    theta: Tensor
    """(B, c, 3) true parameters."""
    rows: Tensor
    """(B, c, C) true STF."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bags:
    """The spectra of scenes as coefficients of a basis."""

    coefficients: Tensor
    """(n, N, r)."""
    basis: SpectralBasis
    """What they are coefficients of."""

    @classmethod
    def fill(
        cls, scenes: Scenes, basis: SpectralBasis, *, count: int, seed: int, side: int = SIDE
    ) -> Bags:
        """`count` bags of pixels of as many scenes of `side` pixels."""
        rng = np.random.default_rng([seed, _FILL])
        inverse = torch.linalg.pinv(basis.components)
        bags = []
        for start in range(0, count, _ROUND):
            drawn = scenes(rng, min(_ROUND, count - start), side)
            flat = drawn.reshape(*drawn.shape[:2], -1)[..., rng.permutation(side**2)[:PIXELS]]
            bags.append((inverse @ (torch.from_numpy(flat) - basis.mean[:, None])).mT)
        return cls(coefficients=torch.cat(bags), basis=basis)

    def draw(self, *, seed: int, step: int, shard: int, count: int) -> BagBatch:
        """`count` bags under another light, each seen by a random camera with noise."""
        rng = np.random.default_rng([seed, step, shard, _CAMERA])
        grid = self.basis.grid
        knowledge = np.where(rng.random(count) < 0.6, 1.0, rng.random(count))
        sensors = random_sensors(rng, count, random_count(rng, grid), grid)
        cameras = draw_cameras(rng, sensors, grid, knowledge=knowledge)
        light = _light(rng, count, grid)
        seen = torch.from_numpy(cameras.rows * light[:, None]) @ self.basis.extended
        chosen = self.coefficients[rng.integers(0, len(self.coefficients), count)]
        clean = seen[..., :-1] @ chosen.mT + seen[..., -1:]
        snr = torch.from_numpy(rng.uniform(*SNR_DB, (count, 1, 1)).astype(np.float32))
        sigma = clean.square().mean(2, keepdim=True).sqrt() * 10 ** (-snr / 20)
        noise = torch.from_numpy(rng.standard_normal(clean.shape, np.float32))
        family = ResponseFamily.stack(
            curves=cameras.curves,
            centre=cameras.centre,
            fwhm=cameras.fwhm,
            grid=grid,
            knowledge=cameras.knowledge,
        )
        return BagBatch(
            msi=clean + sigma * noise,
            family=family,
            theta=torch.from_numpy(cameras.theta),
            rows=torch.from_numpy(cameras.rows),
        )


def _light(rng: np.random.Generator, count: int, grid: WavelengthGrid) -> npt.NDArray[np.float32]:
    """Factor (count, C): smooth over the spectrum, the same for all pixels of a scene."""
    position = np.linspace(0, np.pi, len(grid))
    orders = np.arange(1, _WAVES + 1)
    amount = rng.standard_normal((count, _WAVES)) * LIGHT / np.sqrt(orders) / 1.125
    level = LEVEL * rng.standard_normal((count, 1))
    return np.exp(amount @ np.cos(np.outer(orders, position)) + level).astype(np.float32)
