"""Patches of generated scenes, small enough to fit every method to them."""

from __future__ import annotations

from functools import cache

import numpy as np

from uavssr.data import CameraSource, RandomCameras, ScenePatches, draw_cameras
from uavssr.model import ResponseFamily
from uavssr.sensors import SENSORS, Sensor, WavelengthGrid

SIDE = 8
"""Pixels of a side of `tiny_patches`."""


def smooth_scene(rng: np.random.Generator, grid: WavelengthGrid, side: int) -> np.ndarray:
    """A scene (C, y, x) of mixed smooth spectra, 0..1."""
    nm = grid.centres[:, None]
    centres, widths = rng.uniform(420, 980, 8), rng.uniform(60, 200, 8)
    spectra = np.exp(-0.5 * ((nm - centres) / widths) ** 2)
    shares = rng.dirichlet(np.full(8, 0.4), side**2).T * rng.uniform(0.2, 0.9, side**2)
    return (spectra @ shares + 0.02).reshape(len(grid), side, side).astype(np.float32)


def cameras_near(sensor: Sensor, grid: WavelengthGrid) -> CameraSource:
    """A source of random cameras near a data sheet."""

    def draw(rng: np.random.Generator, count: int) -> RandomCameras:
        return draw_cameras(rng, [sensor] * count, grid)

    return draw


class FewPixels(ScenePatches):
    """Patches of which at most 800 pixels are drawn."""

    def pixels(self, seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        return super().pixels(seed, min(count, 800))


@cache
def tiny_patches() -> ScenePatches:
    """Two scenes of 31 bands, patches of 8 pixels, cameras near the P4M."""
    grid = WavelengthGrid.regular("tiny", 420, 980, 31)
    rng = np.random.default_rng(0)
    sensor = SENSORS["p4m"]
    return FewPixels(
        grid=grid,
        family=ResponseFamily.of(sensor, grid),
        scenes=[smooth_scene(rng, grid, 40) for _ in range(2)],
        cameras=cameras_near(sensor, grid),
        size=SIDE,
    )
