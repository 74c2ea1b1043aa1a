"""Loader of the data of training steps, which threads may prepare in advance."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import TypeVar

import torch

from uavssr.data import BAG_SCENE_SIDE, Batch, SpectraBagBatch, SpectraBags, TrainingData
from uavssr.model import SpectralBasis
from uavssr.training.config import TrainingConfig

TensorGroup = TypeVar("TensorGroup", Batch, SpectraBagBatch)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepData:
    """The data of one shard of a step."""

    batch: Batch
    """Images and cubes."""
    bags: SpectraBagBatch | None
    """SpectraBags of spectra for the STF's stages; None if the run uses none."""
    shard: int
    """Number of the shard."""

    def to(self, device: str) -> StepData:
        """A copy on a device."""
        bags = None if self.bags is None else _to_device(self.bags, device)
        return replace(self, batch=_to_device(self.batch, device), bags=bags)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLoader:
    """Draws the data of each step."""

    data: TrainingData
    """Images and cubes."""
    bags: SpectraBags | None
    """SpectraBags of spectra; None if the run uses none."""
    config: TrainingConfig
    """Numbers of scenes and bags, and the random seed."""
    shards: Sequence[int]
    """Shards of this process."""

    @classmethod
    def create(
        cls,
        data: TrainingData,
        basis: SpectralBasis,
        config: TrainingConfig,
        shards: Sequence[int],
    ) -> StepLoader:
        """The loader of a run; fills the bags with coefficients of a basis."""
        bags = None
        if config.bags > 0:
            bags = SpectraBags.fill(
                data.draw_scenes,
                basis.to(torch.device("cpu")),
                count=config.bag_pool,
                seed=config.seed,
                side=data.side_up_to(BAG_SCENE_SIDE),
            )
        return cls(data=data, bags=bags, config=config, shards=shards)

    def draw(self, step: int) -> list[StepData]:
        """The data of one step, a function of seed, step and shards."""
        config = self.config
        keys = [{"seed": config.seed, "step": step, "shard": shard} for shard in self.shards]
        return [
            StepData(
                batch=self.data.draw(**key, count=config.batch, size=config.size),
                bags=None if self.bags is None else self.bags.draw(**key, count=config.bags),
                shard=key["shard"],
            )
            for key in keys
        ]

    def prefetch(
        self, start: int, stop: int, workers: int
    ) -> Generator[list[StepData], None, None]:
        """The data of the steps `start` to `stop`, drawn in advance by `workers` threads."""
        if workers == 0:
            yield from map(self.draw, range(start, stop))
            return
        steps = iter(range(start, stop))
        with ThreadPoolExecutor(workers) as pool:
            waiting = deque(pool.submit(self.draw, step) for step in islice(steps, 2 * workers))
            while waiting:
                parts = waiting.popleft().result()
                waiting.extend(pool.submit(self.draw, step) for step in islice(steps, 1))
                yield parts


def _to_device(group: TensorGroup, device: str) -> TensorGroup:
    """A copy of a dataclass with all its fields on a device."""
    values = {field.name: getattr(group, field.name) for field in fields(group)}
    place = torch.device(device)
    return replace(
        group, **{name: value.to(place) for name, value in values.items() if value is not None}
    )
