"""STFs as tensors for the network and as named arrays for the records of tiles."""

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

StfNumbers = Mapping[str, npt.NDArray[Any]]
"""An STF as named arrays, float or bool: its parameters and the fields of `StfEstimate`."""
PendingRecord = Callable[[], TileRecord]
"""Makes the record of a tile that has been through the network; call it once, in any thread."""

_CACHED_STFS: Final = 1024
"""Tiles' STFs in memory at a time: more than the neighbours of the tiles in progress."""


def finished_record(record: TileRecord) -> PendingRecord:
    """A pending record that is there already."""
    return lambda: record


def stf_record(index: int, stf: StfNumbers) -> TileRecord:
    """A record that holds a tile's STF alone."""
    return TileRecord(index=index, valid=np.zeros((0, 0), bool), stf=stf)


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedStf:
    """The STF of a scene or a tile (S = 1), estimated or given."""

    stf: Stf
    """Tensors for the network."""
    estimate: StfEstimate
    """The same as numbers with standard errors, for files."""

    def numbers(self) -> dict[str, npt.NDArray[Any]]:
        """The STF as named arrays; `from_numbers` is the inverse."""
        tensors = {"theta": self.stf.theta, "deviation": self.stf.theta_se}
        arrays = {name: tensor[0].cpu().numpy() for name, tensor in tensors.items()}
        return arrays | {name: np.asarray(getattr(self.estimate, name)) for name in QUANTITIES}

    @classmethod
    def from_numbers(cls, numbers: StfNumbers, family: ResponseFamily) -> FittedStf:
        """The STF of named arrays, on the device of `family`."""
        device = family.centre.device
        theta, theta_se, rows, common = (
            torch.tensor(numbers[name][None], dtype=torch.float32, device=device)
            for name in ("theta", "deviation", "stf", "common_gain_se")
        )
        stf = Stf.of(family, theta, theta_se, rows=rows, common_se=common)
        return cls(stf=stf, estimate=estimate_of(numbers))

    def reloaded(self, family: ResponseFamily) -> FittedStf:
        """The same STF in the memory layout of a journal's: strides may change last digits."""
        return FittedStf.from_numbers(self.numbers(), family)


def float32_arrays(numbers: StfNumbers) -> dict[str, npt.NDArray[Any]]:
    """Named arrays in half the space: they were float32 in the network. Scalars stay float64."""
    return {
        name: array.astype(np.float32) if array.ndim and array.dtype == np.float64 else array
        for name, array in numbers.items()
    }


@dataclass(frozen=True, kw_only=True, eq=False)  # no slots: the cache lives in __dict__
class TileStfs(Mapping[int, FittedStf]):
    """The tiles' own STFs by index, loaded when they are needed: a scene may have millions."""

    load: Callable[[int], TileRecord | None]
    """Loads a tile's record; None where it is missing or damaged."""
    indices: frozenset[int]
    """Tiles that have a record."""
    family: ResponseFamily
    """The camera's responses, on the network's device."""

    @cached_property
    def _cached(self) -> Callable[[int], FittedStf | None]:
        return lru_cache(_CACHED_STFS)(self._loaded)

    def _loaded(self, index: int) -> FittedStf | None:
        record = self.load(index)
        if record is None:
            fact = f"the STF of tile {index} is gone from the journal"
            raise IncompleteRun(fact, remedy="run again with --resume")
        return FittedStf.from_numbers(record.stf, self.family) if record.stf else None

    def __getitem__(self, index: int) -> FittedStf:
        stf = self._cached(index) if index in self.indices else None
        if stf is None:
            raise KeyError(index)
        return stf

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)
