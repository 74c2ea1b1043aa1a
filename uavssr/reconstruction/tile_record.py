"""What becomes records of tiles, and STFs as the journal keeps them: numbers, and tensors again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from uavssr.errors import IncompleteRun
from uavssr.io.stf import QUANTITIES, StfEstimate, estimate_of
from uavssr.io.writers import TileRecord
from uavssr.model import ResponseFamily, Stf

Numbers = Mapping[str, npt.NDArray[Any]]
PendingRecord = Callable[[], TileRecord]
"""A tile that has been through the network: called, once and in any thread, it makes the record."""

_NEAR: Final = 1024
"""Tiles whose STFs are held in memory: the neighbours of those in flight, on a wide scene too."""


def finished_record(record: TileRecord) -> PendingRecord:
    """A tile whose record is made already."""
    return lambda: record


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedStf:
    """An STF that was found for a scene or a tile (S = 1)."""

    stf: Stf
    """As the network takes it."""
    estimate: StfEstimate
    """As what is reported, with standard errors."""

    def numbers(self) -> dict[str, npt.NDArray[Any]]:
        """All of it by name; `of` is the way back."""
        found = {"theta": self.stf.theta, "deviation": self.stf.theta_se}
        numbers = {name: tensor[0].cpu().numpy() for name, tensor in found.items()}
        return numbers | {name: np.asarray(getattr(self.estimate, name)) for name in QUANTITIES}

    @classmethod
    def of(cls, numbers: Numbers, family: ResponseFamily) -> FittedStf:
        """What gave these numbers, on the device of the camera's family."""
        device = family.centre.device
        theta, deviation, rows = (
            torch.tensor(numbers[name][None], dtype=torch.float32, device=device)
            for name in ("theta", "deviation", "stf")
        )
        stf = Stf(family=family, theta=theta, theta_se=deviation, rows=rows)
        return cls(stf=stf, estimate=estimate_of(numbers))


def compact(numbers: Numbers) -> dict[str, npt.NDArray[Any]]:
    """The same in half the space: arrays were float32 in the network, scalars stay float64."""
    return {
        name: array.astype(np.float32) if array.ndim and array.dtype == np.float64 else array
        for name, array in numbers.items()
    }


@dataclass(frozen=True, kw_only=True, eq=False)  # no slots: the cached values live in __dict__
class TileStfs(Mapping[int, FittedStf]):
    """The tiles' STFs as they are kept elsewhere, read when asked for: they may be millions."""

    load: Callable[[int], TileRecord | None]
    """A tile's record; None where there is none."""
    indices: frozenset[int]
    """The tiles that have one."""
    family: ResponseFamily
    """Of the camera, on the network's device."""

    @cached_property
    def _recent(self) -> Callable[[int], FittedStf | None]:
        return lru_cache(_NEAR)(self._found)

    def _found(self, index: int) -> FittedStf | None:
        record = self.load(index)
        if record is None:
            raise IncompleteRun(
                f"the STF of tile {index} is gone from the journal",
                remedy="run again with --resume",
            )
        return FittedStf.of(record.stf, self.family) if record.stf else None

    def __getitem__(self, index: int) -> FittedStf:
        found = self._recent(index) if index in self.indices else None
        if found is None:
            raise KeyError(index)
        return found

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)
