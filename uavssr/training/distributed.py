"""Several processes that train one model, started by torchrun; one process is a team of one.

A step has shards, which the processes share; their gradients are averaged, so that every process
makes the same step, and the one that one process alone would make with all shards. Gradients are
a megabyte, so they are averaged at once after the last shard: a wrapper that overlaps this with
the backward pass (DistributedDataParallel) would want every weight to have a gradient in every
step, and a step that knows the STF has none for P-Net. Must not know of data or losses.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

from uavssr.errors import UsageError

Item = TypeVar("Item")

_PATIENCE = timedelta(hours=6)  # the first process may be reading cubes meanwhile


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessGroup:
    """The processes of a run, seen from one of them."""

    rank: int = 0
    """Number of this process."""
    size: int = 1
    """How many there are."""

    @property
    def leads(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def own(self, shards: int) -> range:
        """The shards of a step that this process computes.

        Raises:
            UsageError: the shards cannot be shared out evenly.
        """
        if shards % self.size:
            raise UsageError(
                f"{self.size} processes cannot share training.shards {shards} evenly",
                remedy=f"--set training.shards={self.size}",
            )
        return range(self.rank, shards, self.size)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()

    def gathered(self, items: list[Item]) -> list[Item]:
        """The items of all processes in the order of their shards, on every process."""
        if self.size == 1:
            return items
        lists: list[list[Item]] = [[] for _ in range(self.size)]
        dist.all_gather_object(lists, items)
        return [item for turn in zip(*lists, strict=True) for item in turn]

    @torch.no_grad()
    def share_weights(self, model: nn.Module) -> None:
        """Give all processes the weights and buffers of the first."""
        if self.size > 1:
            for tensor in (*model.parameters(), *model.buffers()):
                dist.broadcast(tensor, 0)

    @torch.no_grad()
    def average_gradients(self, model: nn.Module, shards: int) -> None:
        """Turn the sum of this process's gradients into the mean over all shards of the step.

        A weight without a gradient on any process keeps none, so that the optimiser skips it.
        """
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        if self.size == 1:
            for weight in weights:
                if weight.grad is not None:
                    weight.grad /= shards
            return
        parts = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
        there = torch.tensor([float(w.grad is not None) for w in weights], device=parts[0].device)
        flat = torch.cat([*(part.flatten() for part in parts), there])
        dist.all_reduce(flat)
        sums = flat.split([*(part.numel() for part in parts), len(weights)])
        for weight, total, any_there in zip(weights, sums[:-1], sums[-1], strict=True):
            weight.grad = (total / shards).view_as(weight) if any_there > 0 else None


@contextmanager
def joined(device: torch.device) -> Iterator[ProcessGroup]:
    """The team that torchrun has started, or one process alone.

    Raises:
        UsageError: the environment names a team that cannot be joined.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ProcessGroup()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    except (ValueError, RuntimeError) as err:
        raise UsageError(f"the processes cannot meet ({err})", remedy="start torchrun") from err
    try:
        yield ProcessGroup(rank=dist.get_rank(), size=size)
    finally:
        dist.destroy_process_group()


def own_device(name: str) -> str:
    """The device of this process: with `auto` or `cuda`, the GPU of its number on this machine."""
    local = os.environ.get("LOCAL_RANK")
    if local is not None and name in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{local}"
    return name
