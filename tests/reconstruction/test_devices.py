"""Cores that a process may use; freed memory is reused, and returned to the system at the end."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import dask.system
import pytest
import torch

from uavssr.reconstruction.devices import (
    CPU_COUNT,
    cpu_count,
    freed_memory_reused,
    full_float32,
)

GLIBC = hasattr(ctypes.CDLL(None), "mallopt")
needs_glibc = pytest.mark.skipif(not GLIBC, reason="needs glibc")

FAULTS = """
import resource, sys
import numpy as np
from contextlib import nullcontext
from uavssr.reconstruction.devices import freed_memory_reused

with freed_memory_reused() if sys.argv[1] == "reused" else nullcontext():
    for count in range(21):
        if count == 1:  # the first one comes from the system in any case
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        arrays = [np.ones(5 * 2**20 + 4096 * k, "u1") for k in range(8)]
        del arrays
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


RESIDENT = """
import threading
from pathlib import Path
import numpy as np
from uavssr.reconstruction.devices import freed_memory_reused

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

before = resident()
"""


def printed(code: str, *arguments: str) -> list[int]:
    """Numbers that a process of its own prints."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [int(number) for number in done.stdout.split()]


def test_cores_are_those_that_dask_counts() -> None:
    assert dask.system.CPU_COUNT == CPU_COUNT


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"job/cpu.max": "250000 100000"}, 3),
        ({"job/cpu.max": "max 100000"}, 8),
        ({"job/cpu.max": "1000 100000"}, 1),
        ({"job/cpu.max": "1600000 100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
    ],
)
def test_quota_of_a_container_limits_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    (tmp_path / "own").write_text("0::/job\n")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpu_count(tmp_path, tmp_path / "own") == cores


@needs_glibc
def test_arrays_of_the_next_tile_need_no_new_pages() -> None:
    (reused,), (usual,) = (printed(FAULTS, how) for how in ("reused", "usual"))
    assert reused < 0.1 * usual


@needs_glibc
def test_memory_is_returned_at_the_end() -> None:
    code = """
with freed_memory_reused():
    arrays = [np.ones(2**22 + 4096 * k, "u1") for k in range(50)]
    del arrays
    held = resident()
print(held - before, resident() - before)
"""
    held, left = printed(RESIDENT + code)
    assert held > 50 * 2**22, "no memory was held"
    assert left < 2**24


@needs_glibc
def test_threads_share_one_arena() -> None:
    """Memory in an arena of one thread would be lost to the others."""
    code = """
turn, together = threading.Lock(), threading.Barrier(6)

def work():
    together.wait()
    with turn:
        arrays = [np.ones(2**20 + 4096 * k, "u1") for k in range(40)]
        del arrays
    together.wait()

with freed_memory_reused():
    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(resident() - before)
"""
    assert printed(RESIDENT + code)[0] < 2 * 40 * 2**20


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    with freed_memory_reused():
        pass


@pytest.mark.parametrize("precision", ["highest", "high"])
@pytest.mark.parametrize("convolutions", [False, True])
def test_tf32_is_off_inside_and_the_callers_settings_return(
    monkeypatch: pytest.MonkeyPatch, precision: str, *, convolutions: bool
) -> None:
    def settings() -> tuple[str, bool]:
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    before = settings()
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", convolutions)
    torch.set_float32_matmul_precision(precision)
    try:
        with full_float32:
            assert settings() == ("highest", False)
            with full_float32:  # as another thread would
                pass
            assert settings() == ("highest", False)
        assert settings() == (precision, convolutions)
    finally:
        torch.set_float32_matmul_precision(before[0])
