"""The program of each of the two processes in the tests of `uavssr.training.distributed`.

    RANK=0 WORLD_SIZE=2 MASTER_ADDR=... MASTER_PORT=... python -m tests.helpers.two_processes FOLDER

It averages the gradients of a small model, then trains on a library, and writes the results.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from tests.helpers.models import CONFIG, tiny_library
from tests.training.test_loop import CONFIG_OF_RUN
from uavssr.training.config import TrainingConfig
from uavssr.training.distributed import ProcessGroup, join_process_group
from uavssr.training.loop import Execution, train

SHARDS = 4
TWO_PROCESS_CONFIG: TrainingConfig = replace(CONFIG_OF_RUN, shards=2, steps=4)


def small_model() -> nn.Module:
    """Three layers, of which each shard uses some."""
    torch.manual_seed(0)
    return nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)])


def backward(model: nn.ModuleList, shard: int) -> None:
    """The loss of a shard: the first layer of all, the second of the odd ones, the third never."""
    data = torch.randn(5, 3, generator=torch.Generator().manual_seed(shard))
    loss = model[0](data).square().mean()
    if shard % 2:
        loss = loss + model[1](data).square().mean()
    loss.backward()


def averaged(processes: ProcessGroup) -> dict[str, torch.Tensor]:
    """The gradients of a step of all shards."""
    model = small_model()
    for shard in processes.own_shards(SHARDS):
        backward(model, shard)
    processes.average_gradients(model, SHARDS)
    return {name: w.grad for name, w in model.named_parameters() if w.grad is not None}


def main(folder: Path) -> None:
    """Write the results to a file named by the number of this process."""
    torch.set_num_threads(1)
    with join_process_group(torch.device("cpu")) as processes:
        results = {"gradients": averaged(processes)}
        different = small_model()
        with torch.no_grad():
            different[0].weight += processes.rank
        processes.share_weights(different)
        results["shared"] = different.state_dict()
        results["gathered"] = processes.gather([f"shard {k}" for k in processes.own_shards(SHARDS)])
        out = folder / ("run" if processes.is_first else "other")
        trained = train(
            tiny_library(),
            out,
            start=CONFIG,
            config=TWO_PROCESS_CONFIG,
            execution=Execution(processes=processes),
        )
        results["weights"] = trained.network.state_dict()
        torch.save(results, folder / f"{processes.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
