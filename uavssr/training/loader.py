"""What a training step is given: the data of its shards, drawn ahead by threads if asked.

Must not know of losses, networks or optimisers.
"""

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

Part = TypeVar("Part", Batch, SpectraBagBatch)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepData:
    """The data of one shard of a step."""

    batch: Batch
    """Images and cubes."""
    bags: SpectraBagBatch | None
    """Spectra without places, for P-Net; None where none are wanted."""
    shard: int
    """Which of the step's shards it is."""

    def to(self, device: str) -> StepData:
        """The same on a device."""
        bags = None if self.bags is None else _moved(self.bags, device)
        return replace(self, batch=_moved(self.batch, device), bags=bags)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLoader:
    """Where the steps of a run get their data from."""

    data: TrainingData
    """Images and cubes."""
    bags: SpectraBags | None
    """Spectra; None where none are wanted."""
    config: TrainingConfig
    """How many of each."""
    shards: Sequence[int]
    """Those of this process."""

    @classmethod
    def of(
        cls,
        data: TrainingData,
        basis: SpectralBasis,
        config: TrainingConfig,
        shards: Sequence[int],
    ) -> StepLoader:
        """The feed of a run; its bags are filled now, with coefficients of a basis."""
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
        """The data of one step, a function of the seed, the step and the shards."""
        config = self.config
        places = [{"seed": config.seed, "step": step, "shard": k} for k in self.shards]
        return [
            StepData(
                batch=self.data.draw(**place, count=config.batch, size=config.size),
                bags=None if self.bags is None else self.bags.draw(**place, count=config.bags),
                shard=place["shard"],
            )
            for place in places
        ]

    def ahead(self, start: int, stop: int, workers: int) -> Generator[list[StepData], None, None]:
        """The data of the steps from `start` to `stop`, drawn by threads before they are used."""
        if workers == 0:
            yield from map(self.draw, range(start, stop))
            return
        steps = iter(range(start, stop))
        with ThreadPoolExecutor(workers) as pool:
            waiting = deque(pool.submit(self.draw, step) for step in islice(steps, 2 * workers))
            while waiting:
                drawn = waiting.popleft().result()
                waiting.extend(pool.submit(self.draw, step) for step in islice(steps, 1))
                yield drawn


def _moved(part: Part, device: str) -> Part:
    """A dataclass of tensors, and of what else can be moved, on a device."""
    values = {each.name: getattr(part, each.name) for each in fields(part)}
    place = torch.device(device)
    return replace(
        part, **{key: value.to(place) for key, value in values.items() if value is not None}
    )
