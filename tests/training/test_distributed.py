"""Two processes on the CPU: the same step in both, and the one that one process would make."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.models import CONFIG, tiny_library
from tests.helpers.team import CONFIG_OF_TEAM, SHARDS, averaged, backward, small_model
from uavssr.errors import UsageError
from uavssr.training import distributed as parallel
from uavssr.training.distributed import ProcessGroup, joined, own_device
from uavssr.training.loop import train


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def team(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """What two processes ended with, and where."""
    folder = tmp_path_factory.mktemp("team")
    port = str(free_port())
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.team", str(folder)],
            cwd=repo,
            env=os.environ
            | {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
                "OMP_NUM_THREADS": "1",
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in processes:
        _, said = process.communicate(timeout=240)
        assert process.returncode == 0, said
    return folder, [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for key, value in one.items():
        torch.testing.assert_close(value, other[key], rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_gradients_are_averaged_over_all_shards(team: tuple[Path, list[dict[str, Any]]]) -> None:
    expected: dict[str, torch.Tensor] = {}
    for shard in range(SHARDS):
        model = small_model()
        backward(model, shard)
        for name, weight in model.named_parameters():
            if weight.grad is not None:
                expected[name] = expected.get(name, 0) + weight.grad / SHARDS
    assert {name.split(".")[0] for name in expected} == {"0", "1"}  # the third has none
    for found in (*team[1], {"gradients": averaged(ProcessGroup())}):
        assert_same(found["gradients"], expected)


@pytest.mark.slow
def test_weights_of_the_first_process_are_everybodys(
    team: tuple[Path, list[dict[str, Any]]],
) -> None:
    for found in team[1]:
        assert_same(found["shared"], small_model().state_dict())


@pytest.mark.slow
def test_items_are_gathered_in_the_order_of_the_shards(
    team: tuple[Path, list[dict[str, Any]]],
) -> None:
    for found in team[1]:
        assert found["gathered"] == [f"shard {k}" for k in range(SHARDS)]


@pytest.mark.slow
def test_two_processes_train_what_one_trains_with_the_doubled_batch(
    team: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    folder, (first, second) = team
    assert_same(first["weights"], second["weights"])
    alone = train(tiny_library(), tmp_path, network=CONFIG, config=CONFIG_OF_TEAM)
    for key, value in alone.network.state_dict().items():
        if key == "sigma_scale":
            continue  # fitted afterwards, to clusters that the last digit of a weight may change
        torch.testing.assert_close(first["weights"][key], value, rtol=1e-4, atol=1e-5)
    assert (folder / "run" / "log.csv").read_bytes() == (tmp_path / "log.csv").read_bytes()


@pytest.mark.slow
def test_only_the_first_process_writes(team: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, _ = team
    assert (folder / "run" / "checkpoint.pt").exists()
    assert list((folder / "other").iterdir()) == []


def test_shards_are_shared_out_or_refused() -> None:
    assert list(ProcessGroup().own(3)) == [0, 1, 2]
    assert [list(ProcessGroup(rank=rank, size=2).own(4)) for rank in (0, 1)] == [[0, 2], [1, 3]]
    with pytest.raises(UsageError, match=r"4 processes cannot share training\.shards 3 evenly"):
        ProcessGroup(rank=1, size=4).own(3)
    assert ProcessGroup().leads
    assert not ProcessGroup(rank=1, size=2).leads


def test_one_process_needs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined(torch.device("cpu")) as team:
        assert team == ProcessGroup()
        team.wait()
        assert team.gathered([1, 2]) == [1, 2]


def test_a_team_that_cannot_meet_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="the processes cannot meet"), joined(torch.device("cpu")):
        pass


def test_each_process_takes_the_gpu_of_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(parallel.torch.cuda, "is_available", lambda: True)
    assert [own_device(name) for name in ("auto", "cuda", "cuda:1", "cpu")] == [
        "cuda:3",
        "cuda:3",
        "cuda:1",
        "cpu",
    ]
    monkeypatch.delenv("LOCAL_RANK")
    assert own_device("auto") == "auto"
