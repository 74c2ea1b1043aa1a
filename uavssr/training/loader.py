"""Loader of the data of training steps, which threads may prepare in advance."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import islice
from typing import TypeVar

import torch

from uavssr.data import BAG_SCENE_SIDE, Batch, SpectraBagBatch, SpectraBags, TrainingData
from uavssr.model import SpectralBasis
from uavssr.training.config import TrainingConfig

TensorGroup = TypeVar("TensorGroup", Batch, SpectraBagBatch)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardData:
    """The data of one shard of a step."""

    batch: Batch
    """Images and cubes."""
    bags: SpectraBagBatch | None
    """Bags of spectra for the STF's stages; None if the run uses none."""
    shard: int
    """Number of the shard."""

    def to(self, device: torch.device) -> ShardData:
        """A copy on a device."""
        bags = None if self.bags is None else _to_device(self.bags, device)
        return replace(self, batch=_to_device(self.batch, device), bags=bags)


def _to_device(group: TensorGroup, device: torch.device) -> TensorGroup:
    parts = {part.name: getattr(group, part.name) for part in fields(group)}
    return replace(
        group, **{name: part.to(device) for name, part in parts.items() if part is not None}
    )


def load_steps(
    data: TrainingData,
    basis: SpectralBasis,
    config: TrainingConfig,
    *,
    shards: Sequence[int],
    start: int,
    workers: int,
) -> Generator[list[ShardData], None, None]:
    """The data of all steps from `start` on: functions of seed, step and shard alone.

    Args:
        data: images and cubes.
        basis: spectral basis in whose coefficients the bags are kept.
        config: numbers of steps, scenes and bags, and the random seed.
        shards: shards of this process.
        start: number of the first step.
        workers: threads that draw in advance.
    """
    bags = None
    if config.bags > 0:
        bags = SpectraBags.fill(
            data.draw_scenes,
            basis.to(torch.device("cpu")),
            count=config.bag_pool,
            seed=config.seed,
            side=data.side_up_to(BAG_SCENE_SIDE),
        )
    draw = partial(_draw, data, bags, config, shards)
    steps = iter(range(start, config.steps))
    if workers == 0:
        yield from map(draw, steps)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting = deque(pool.submit(draw, step) for step in islice(steps, 2 * workers))
        while waiting:
            parts = waiting.popleft().result()
            waiting.extend(pool.submit(draw, step) for step in islice(steps, 1))
            yield parts


def _draw(
    data: TrainingData,
    bags: SpectraBags | None,
    config: TrainingConfig,
    shards: Sequence[int],
    step: int,
) -> list[ShardData]:
    keys = [{"seed": config.seed, "step": step, "shard": shard} for shard in shards]
    return [
        ShardData(
            batch=data.draw(**key, count=config.batch, size=config.size),
            bags=None if bags is None else bags.draw(**key, count=config.bags),
            shard=key["shard"],
        )
        for key in keys
    ]
