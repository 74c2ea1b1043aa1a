"""The data of a training run as patches that one camera sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import torch

from uavssr.data.batches import Batch
from uavssr.data.random_cameras import MAX_BAND_SHIFT, draw_cameras, observe
from uavssr.data.training_data import SceneSplit, TrainingData, draw_real_batch
from uavssr.model import ResponseFamily
from uavssr.sensors import Float32Array, Sensor, WavelengthGrid

_VALIDATION_IMAGES: Final = 8
_VALIDATION_STREAM, _PIXEL_STREAM = 92, 93
"""Ends of the seeds of random streams."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingPatches:
    """Scenes, cubes and pairs seen by one camera, as `PatchSampler` for networks tied to it.

    Of pairs, the images of this camera are drawn too, half the time of each pair; the cubes of all
    are seen by random cameras near its data sheet.
    """

    data: TrainingData
    sensor: Sensor
    size: int
    """Side of a patch in pixels."""
    known_response: bool = False
    """Whether only images with a known response are drawn, so none of real cameras."""

    @property
    def grid(self) -> WavelengthGrid:
        """The C bands of the cubes."""
        return self.data.grid

    @cached_property
    def family(self) -> ResponseFamily:
        """The data sheet of the camera (S = 1), and the spread of cameras around it."""
        return ResponseFamily.of(self.sensor, self.grid)

    @cached_property
    def real_pairs(self) -> list[SceneSplit]:
        """The pairs whose images are of this camera, with its bands in its order."""
        if self.known_response:
            return []
        return [
            pair
            for pair in self.data.pairs
            if pair.patches.sensor is not None and pair.patches.sensor.bands == self.sensor.bands
        ]

    def draw(self, seed: Sequence[int], count: int, *, size: int | None = None) -> Batch:
        """See `PatchSampler`; a batch is of one real camera, or of random ones."""
        rng, side = np.random.default_rng([*seed, 0]), size or self.size
        real = [pair.row.weight / 2 for pair in self.real_pairs]
        weights = np.array([self.data.scene_weight, *real])
        chosen = int(rng.choice(len(weights), p=weights / weights.sum()))
        if chosen > 0 and side == self.size:
            return draw_real_batch(rng, self.real_pairs[chosen - 1], self.grid, count)
        return self._observe(rng, self.data.draw_scenes(rng, count, side))

    def validation(self) -> Batch:
        """See `PatchSampler`; of the validation patches, or without any of new scenes."""
        rng = np.random.default_rng(_VALIDATION_STREAM)
        splits = [split for split in self.data.splits if split.validate.size]
        if not splits:
            return self._observe(rng, self.data.draw_scenes(rng, _VALIDATION_IMAGES, self.size))
        inner = slice(MAX_BAND_SHIFT, MAX_BAND_SHIFT + self.size)
        cubes = []
        for number in range(_VALIDATION_IMAGES):
            split = splits[number % len(splits)]
            cubes.append(split.patches.cubes(rng.choice(split.validate, 1))[0][:, inner, inner])
        return self._observe(rng, np.stack(cubes).astype(np.float32))

    def pixels(self, seed: int, count: int) -> tuple[Float32Array, Float32Array]:
        """See `PatchSampler`."""
        patches = -(-count // self.size**2)
        batch = self.draw([seed, _PIXEL_STREAM], patches)
        order = np.random.default_rng([seed, _PIXEL_STREAM]).permutation(patches * self.size**2)
        msi, hsi = (
            values.flatten(2).transpose(1, 2).flatten(0, 1).numpy()[order[:count]]
            for values in (batch.msi, batch.hsi)
        )
        return msi, hsi

    def _observe(self, rng: np.random.Generator, scenes: Float32Array) -> Batch:
        cameras = draw_cameras(rng, [self.sensor] * len(scenes), self.grid)
        return Batch(
            msi=torch.from_numpy(observe(rng, scenes, cameras.rows)),
            hsi=torch.from_numpy(np.ascontiguousarray(scenes, np.float32)),
            family=cameras.family,
            theta=torch.from_numpy(cameras.theta),
            rows=torch.from_numpy(cameras.rows),
        )
