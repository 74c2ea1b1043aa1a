"""What every process of a team of two runs in the tests of `uavssr.training.distributed`.

    RANK=0 WORLD_SIZE=2 MASTER_ADDR=... MASTER_PORT=... python -m tests.helpers.team FOLDER

It averages the gradients of a small model, then trains on a library; each process writes what it
ends with.
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
from uavssr.training.distributed import ProcessGroup, joined
from uavssr.training.loop import train

SHARDS = 4
CONFIG_OF_TEAM: TrainingConfig = replace(CONFIG_OF_RUN, shards=2, steps=4)


def small_model() -> nn.Module:
    """Three layers, of which a shard uses some."""
    torch.manual_seed(0)
    return nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)])


def backward(model: nn.ModuleList, shard: int) -> None:
    """The loss of a shard: the first layer of all, the second of the odd ones, the third never."""
    data = torch.randn(5, 3, generator=torch.Generator().manual_seed(shard))
    loss = model[0](data).square().mean()
    if shard % 2:
        loss = loss + model[1](data).square().mean()
    loss.backward()


def averaged(team: ProcessGroup) -> dict[str, torch.Tensor]:
    """The gradients of a step of all shards."""
    model = small_model()
    for shard in team.own(SHARDS):
        backward(model, shard)
    team.average_gradients(model, SHARDS)
    return {name: w.grad for name, w in model.named_parameters() if w.grad is not None}


def main(folder: Path) -> None:
    """Do both and write them to a file of this process's number."""
    torch.set_num_threads(1)
    with joined(torch.device("cpu")) as team:
        found = {"gradients": averaged(team)}
        spoilt = small_model()
        with torch.no_grad():
            spoilt[0].weight += team.rank
        team.share_weights(spoilt)
        found["shared"] = spoilt.state_dict()
        found["gathered"] = team.gathered([f"shard {k}" for k in team.own(SHARDS)])
        out = folder / ("run" if team.leads else "other")
        trained = train(tiny_library(), out, network=CONFIG, config=CONFIG_OF_TEAM, team=team)
        found["weights"] = trained.network.state_dict()
        torch.save(found, folder / f"{team.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
