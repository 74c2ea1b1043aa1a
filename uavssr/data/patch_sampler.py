"""Patches of known cubes seen by cameras of one kind: what compared methods learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import torch

from uavssr.data.batches import Batch
from uavssr.data.random_cameras import RandomCameras, observe
from uavssr.model import ResponseFamily
from uavssr.sensors import Float32Array, WavelengthGrid

CameraSource = Callable[[np.random.Generator, int], RandomCameras]
"""Draws cameras of one kind, given a generator and their number."""

VALIDATION_SHARE: Final = 0.2
"""Share of the rows of each scene, at its lower side, that is kept for validation."""
VALIDATION_IMAGES: Final = 8
_PIXELS_A_PATCH: Final = 64
PIXEL_SIDE: Final = 16
"""Side of the patches from which single pixels are drawn."""
VALIDATION_STREAM, PIXEL_STREAM = 90, 91
"""Ends of the seeds of random streams."""


class PatchSampler(Protocol):
    """Where methods get what they are fitted to: the same draws for all of them."""

    @property
    def grid(self) -> WavelengthGrid:
        """The C bands of the cubes."""

    @property
    def family(self) -> ResponseFamily:
        """The data sheet of the cameras (S = 1, c bands) and the spread of cameras around it."""

    def draw(self, seed: Sequence[int], count: int, *, size: int | None = None) -> Batch:
        """`count` patches of training ground, a function of `seed` alone.

        `size` is their side in pixels, by default the sampler's.
        """

    def validation(self) -> Batch:
        """Patches of other ground of the training scenes, for learning curves."""

    def pixels(self, seed: int, count: int) -> tuple[Float32Array, Float32Array]:
        """Camera values (n, c) and spectra (n, C) of `count` training pixels, shuffled."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScenePatches:
    """Patches of scenes, each patch seen by a camera of its own."""

    grid: WavelengthGrid
    family: ResponseFamily
    scenes: Sequence[Float32Array]
    """Cubes (C, y, x) in reflectance; they may be read when they are asked for."""
    cameras: CameraSource
    size: int = 64
    """Side of a patch in pixels; smaller scenes are reflected at their borders."""

    @property
    def bands(self) -> int:
        """c, the bands of the camera."""
        return int(self.family.centre.shape[1])

    def draw(self, seed: Sequence[int], count: int, *, size: int | None = None) -> Batch:
        """See `PatchSampler`; every scene is equally likely, in eight orientations."""
        return self._observe(np.random.default_rng([*seed, 0]), count, size or self.size)

    def validation(self) -> Batch:
        """See `PatchSampler`; from the lowest `VALIDATION_SHARE` of each scene."""
        rng = np.random.default_rng(VALIDATION_STREAM)
        return self._observe(rng, VALIDATION_IMAGES, self.size, training=False)

    def pixels(self, seed: int, count: int) -> tuple[Float32Array, Float32Array]:
        """See `PatchSampler`; every `_PIXELS_A_PATCH` of them have a camera of their own."""
        rng = np.random.default_rng([seed, PIXEL_STREAM])
        batch = self._observe(rng, patches_for(count), min(self.size, PIXEL_SIDE))
        return some_pixels(rng, batch, count)

    def _observe(
        self, rng: np.random.Generator, count: int, size: int, *, training: bool = True
    ) -> Batch:
        cubes = np.stack([self._patch(rng, size, training=training) for _ in range(count)])
        cameras = self.cameras(rng, count)
        return Batch(
            msi=torch.from_numpy(observe(rng, cubes, cameras.rows)),
            hsi=torch.from_numpy(cubes),
            family=cameras.family,
            theta=torch.from_numpy(cameras.theta),
            rows=torch.from_numpy(cameras.rows),
        )

    def _patch(self, rng: np.random.Generator, size: int, *, training: bool) -> Float32Array:
        scene = self.scenes[int(rng.integers(len(self.scenes)))]
        return draw_patch(rng, scene, size, training=training)


def draw_patch(
    rng: np.random.Generator, scene: Float32Array, size: int, *, training: bool
) -> Float32Array:
    """A patch (k, size, size) of the training or the validation rows of a scene (k, y, x)."""
    split = round(scene.shape[1] * (1 - VALIDATION_SHARE))
    part = at_least(scene[:, :split] if training else scene[:, split:], size)
    top, left = (int(rng.integers(0, side - size + 1)) for side in part.shape[1:])
    patch = part[:, top : top + size, left : left + size]
    return oriented(patch, int(rng.integers(4)), mirrored=bool(rng.integers(2)))


def patches_for(count: int) -> int:
    """Patches from which `count` pixels are taken."""
    return -(-count // _PIXELS_A_PATCH)


def some_pixels(
    rng: np.random.Generator, batch: Batch, count: int
) -> tuple[Float32Array, Float32Array]:
    """Camera values (n, c) and spectra (n, C) of `count` pixels of the patches, shuffled."""
    chosen = rng.permutation(batch.msi[0, 0].numel())[:_PIXELS_A_PATCH]
    msi, hsi = (
        values.flatten(2)[..., chosen].transpose(1, 2).flatten(0, 1).numpy()
        for values in (batch.msi, batch.hsi)
    )
    order = rng.permutation(len(msi))[:count]
    return msi[order], hsi[order]


def oriented(patch: Float32Array, turns: int, *, mirrored: bool) -> Float32Array:
    """A patch (C, y, x), turned by quarters and mirrored."""
    turned = np.rot90(patch, turns, (1, 2))
    return np.ascontiguousarray(turned[:, :, ::-1] if mirrored else turned, np.float32)


def at_least(cube: Float32Array, side: int) -> Float32Array:
    """A cube (C, y, x), reflected at its borders until it is `side` pixels high and wide."""
    missing = [max(0, side - length) for length in cube.shape[1:]]
    if not any(missing):
        return cube
    return np.pad(cube, [(0, 0), *((0, pixels) for pixels in missing)], mode="symmetric")
