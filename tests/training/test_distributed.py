"""Two processes on the CPU make the same step, which is that of one process alone."""

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
from tests.helpers.two_processes import SHARDS, TWO_PROCESS_CONFIG, averaged, backward, small_model
from uavssr.errors import UsageError
from uavssr.training import distributed as parallel
from uavssr.training.distributed import ProcessGroup, join_process_group, own_device
from uavssr.training.loop import train

Results = tuple[Path, list[dict[str, Any]]]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def two_processes(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The folder and the results of two processes."""
    folder = tmp_path_factory.mktemp("processes")
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.two_processes", str(folder)],
            cwd=repo,
            env=os.environ
            | shared
            | {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in processes:
        _, stderr = process.communicate(timeout=240)
        assert process.returncode == 0, stderr
    return folder, [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for key, value in first.items():
        torch.testing.assert_close(value, second[key], rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_gradients_are_averaged_over_all_shards(two_processes: Results) -> None:
    expected: dict[str, torch.Tensor] = {}
    for shard in range(SHARDS):
        model = small_model()
        backward(model, shard)
        for name, weight in model.named_parameters():
            if weight.grad is not None:
                expected[name] = expected.get(name, 0) + weight.grad / SHARDS
    assert {name.split(".")[0] for name in expected} == {"0", "1"}  # the third has none
    for results in (*two_processes[1], {"gradients": averaged(ProcessGroup())}):
        assert_same(results["gradients"], expected)


@pytest.mark.slow
def test_all_processes_get_the_weights_of_the_first(two_processes: Results) -> None:
    for results in two_processes[1]:
        assert_same(results["shared"], small_model().state_dict())


@pytest.mark.slow
def test_items_are_gathered_in_the_order_of_the_shards(two_processes: Results) -> None:
    for results in two_processes[1]:
        assert results["gathered"] == [f"shard {k}" for k in range(SHARDS)]


@pytest.mark.slow
def test_two_processes_train_what_one_trains_with_the_doubled_batch(
    two_processes: Results, tmp_path: Path
) -> None:
    folder, (first, second) = two_processes
    assert_same(first["weights"], second["weights"])
    alone = train(tiny_library(), tmp_path, start=CONFIG, config=TWO_PROCESS_CONFIG)
    for key, value in alone.network.state_dict().items():
        if key == "sigma_scale":
            continue  # fitted afterwards, to clusters that the last digit of a weight may change
        torch.testing.assert_close(first["weights"][key], value, rtol=1e-4, atol=1e-5)
    assert (folder / "run" / "log.csv").read_bytes() == (tmp_path / "log.csv").read_bytes()


@pytest.mark.slow
def test_only_the_first_process_writes(two_processes: Results) -> None:
    folder, _ = two_processes
    assert (folder / "run" / "checkpoint.pt").exists()
    assert list((folder / "other").iterdir()) == []


def test_shards_are_divided_evenly_or_refused() -> None:
    assert list(ProcessGroup().own_shards(3)) == [0, 1, 2]
    assert [list(ProcessGroup(rank=rank, size=2).own_shards(4)) for rank in (0, 1)] == [
        [0, 2],
        [1, 3],
    ]
    with pytest.raises(UsageError, match=r"4 processes cannot share training\.shards 3 evenly"):
        ProcessGroup(rank=1, size=4).own_shards(3)
    assert ProcessGroup().is_first
    assert not ProcessGroup(rank=1, size=2).is_first


def test_one_process_waits_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join_process_group(torch.device("cpu")) as processes:
        assert processes == ProcessGroup()
        processes.wait()
        assert processes.gather([1, 2]) == [1, 2]


def test_processes_that_cannot_connect_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with (
        pytest.raises(UsageError, match="the processes cannot connect"),
        join_process_group(torch.device("cpu")),
    ):
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
