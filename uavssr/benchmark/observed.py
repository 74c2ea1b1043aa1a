"""Held-out images: known cubes seen by cameras, with noise, from fixed seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from uavssr.benchmark.case import HeldOutImage
from uavssr.data import RandomCameras, observe
from uavssr.evaluation.baselines import CameraImage
from uavssr.sensors import Float32Array

CAMERAS_A_SCENE = 2
"""Cameras that see each held-out scene, where there are many scenes."""
_TEST_STREAM = 17
"""Start of the seeds of held-out images; no training draws from such a seed."""

NamedCameras = Callable[[np.random.Generator, int], tuple[RandomCameras, list[str]]]
"""Draws cameras, and their names."""


def observed_images(
    scenes: Mapping[str, Float32Array],
    cameras: NamedCameras,
    *,
    stream: int = 0,
    count: int = CAMERAS_A_SCENE,
) -> tuple[HeldOutImage, ...]:
    """Each scene (C, y, x) seen by `count` cameras; `stream` tells sets apart."""
    images: list[HeldOutImage] = []
    for number, (scene, cube) in enumerate(scenes.items()):
        rng = np.random.default_rng([_TEST_STREAM, stream, number])
        drawn, names = cameras(rng, count)
        for index, name in enumerate(names):
            rows = drawn.rows[index]
            msi = observe(rng, cube[None], rows[None])[0]
            image = CameraImage(msi=msi, family=drawn.family.of_camera(index), rows=rows)
            images.append(HeldOutImage(scene=scene, camera=name, image=image, cube=cube))
    return tuple(images)


def unnamed(cameras: Callable[[np.random.Generator, int], RandomCameras]) -> NamedCameras:
    """Drawn cameras that are named by number."""

    def draw(rng: np.random.Generator, count: int) -> tuple[RandomCameras, list[str]]:
        return cameras(rng, count), [f"draw {number + 1}" for number in range(count)]

    return draw
