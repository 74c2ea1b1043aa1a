"""Patches of scenes with the image that one camera took of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from uavssr.data.batches import Batch
from uavssr.data.patch_sampler import (
    PIXEL_SIDE,
    PIXEL_STREAM,
    VALIDATION_IMAGES,
    VALIDATION_SHARE,
    VALIDATION_STREAM,
    at_least,
    oriented,
    patches_for,
    some_pixels,
)
from uavssr.model import ResponseFamily
from uavssr.sensors import Float32Array, WavelengthGrid
from uavssr.tiling import Window


class PhotographedScene(Protocol):
    """A scene and the image that a camera took of it, of which parts can be read."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    def read(self, window: Window) -> tuple[Float32Array, Float32Array]:
        """The image (c, y, x) and the cube (C, y, x) of a window."""

    def camera(self) -> tuple[Float32Array, Float32Array]:
        """Theta (c, 3) and the response (c, C) of the camera."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImagePatches:
    """Patches of scenes and of their images at the same place; a `PatchSampler`."""

    grid: WavelengthGrid
    family: ResponseFamily
    scenes: Sequence[PhotographedScene]
    size: int = 128
    """Side of a patch in pixels; smaller scenes are reflected at their borders."""

    def draw(self, seed: Sequence[int], count: int, *, size: int | None = None) -> Batch:
        """See `PatchSampler`; every scene is equally likely, in eight orientations."""
        return self._read(np.random.default_rng([*seed, 0]), count, size or self.size)

    def validation(self) -> Batch:
        """See `PatchSampler`; from the lowest `VALIDATION_SHARE` of each scene."""
        rng = np.random.default_rng(VALIDATION_STREAM)
        return self._read(rng, VALIDATION_IMAGES, self.size, training=False)

    def pixels(self, seed: int, count: int) -> tuple[Float32Array, Float32Array]:
        """See `PatchSampler`."""
        rng = np.random.default_rng([seed, PIXEL_STREAM])
        batch = self._read(rng, patches_for(count), min(self.size, PIXEL_SIDE))
        return some_pixels(rng, batch, count)

    def _read(
        self, rng: np.random.Generator, count: int, size: int, *, training: bool = True
    ) -> Batch:
        chosen = [self.scenes[int(rng.integers(len(self.scenes)))] for _ in range(count)]
        pairs = [_patch(rng, scene, size, training=training) for scene in chosen]
        cameras = [scene.camera() for scene in chosen]
        msi, hsi = (torch.from_numpy(np.stack(patches)) for patches in zip(*pairs, strict=True))
        theta, rows = (torch.from_numpy(np.stack(parts)) for parts in zip(*cameras, strict=True))
        return Batch(msi=msi, hsi=hsi, family=self.family.repeated(count), theta=theta, rows=rows)


def _patch(
    rng: np.random.Generator, scene: PhotographedScene, size: int, *, training: bool
) -> tuple[Float32Array, Float32Array]:
    """A patch of the image and of the cube, from the upper or the lower part of a scene."""
    height, width = scene.shape
    split = round(height * (1 - VALIDATION_SHARE))
    first, end = (0, split) if training else (split, height)
    top, left = (
        low + int(rng.integers(max(high - low - size, 0) + 1))
        for low, high in ((first, end), (0, width))
    )
    window = Window(top, left, min(size, end - first), min(size, width))
    turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
    msi, hsi = (
        oriented(at_least(part, size), turns, mirrored=mirrored) for part in scene.read(window)
    )
    return msi, hsi
