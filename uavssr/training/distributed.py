"""Processes that train one model together, started by torchrun.

The processes share the shards of a step and average their gradients once, after the last shard.
DistributedDataParallel does not fit: it wants a gradient for every weight in every step, and a step
with a known STF has none for P-Net.
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

_TIMEOUT = timedelta(hours=6)  # the first process may prepare patches for hours


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessGroup:
    """The processes of a run, seen from one of them; by default one process alone."""

    rank: int = 0
    """Number of this process."""
    size: int = 1
    """Number of processes."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def own_shards(self, shards: int) -> range:
        """The shards of a step that this process computes.

        Raises:
            UsageError: the shards cannot be divided evenly.
        """
        if shards % self.size:
            raise UsageError(
                f"{self.size} processes cannot share training.shards {shards} evenly",
                remedy=f"--set training.shards={self.size}",
            )
        return range(self.rank, shards, self.size)

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            dist.barrier()

    def gather(self, items: list[Item]) -> list[Item]:
        """The items of all processes in the order of their shards, on every process."""
        lists = [items] * self.size
        if self.size > 1:
            dist.all_gather_object(lists, items)
        return [item for turn in zip(*lists, strict=True) for item in turn]

    @torch.no_grad()
    def share_weights(self, model: nn.Module) -> None:
        """Copy weights and buffers of the first process to all others."""
        if self.size > 1:
            for tensor in (*model.parameters(), *model.buffers()):
                dist.broadcast(tensor, 0)

    @torch.no_grad()
    def average_gradients(self, model: nn.Module, shards: int) -> None:
        """Replace the gradients, sums over own shards, by the mean over all shards of the step.

        A weight without a gradient on any process keeps none, so that the optimiser skips it.
        """
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        if self.size > 1:
            parts = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
            present = parts[0].new_tensor([float(w.grad is not None) for w in weights])
            flat = torch.cat([*(part.flatten() for part in parts), present])
            dist.all_reduce(flat)
            *sums, counts = flat.split([*(part.numel() for part in parts), len(weights)])
            for weight, total, count in zip(weights, sums, counts.tolist(), strict=True):
                weight.grad = total.view_as(weight) if count > 0 else None
        for weight in weights:
            if weight.grad is not None:
                weight.grad /= shards


@contextmanager
def join_process_group(device: torch.device) -> Iterator[ProcessGroup]:
    """The processes that torchrun has started, or one process alone.

    Raises:
        UsageError: the environment names other processes, and they cannot be reached.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ProcessGroup()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
    except (ValueError, RuntimeError) as err:
        raise UsageError(
            f"the processes cannot connect ({err})", remedy="start them with torchrun"
        ) from err
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
