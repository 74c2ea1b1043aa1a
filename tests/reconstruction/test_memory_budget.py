"""The memory budget depends on tiles and workers alone, and a run stays within it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import torch

from tests.helpers.models import CONFIG, P4M
from tests.helpers.places import REPO
from tests.helpers.rasters import write
from uavssr.errors import ModelRefused, OutputError, UsageError
from uavssr.io.checks import BLOCK_CACHE
from uavssr.model.config import PGUNetConfig
from uavssr.model.weights import load_model
from uavssr.reconstruction.memory_budget import (
    CUDA_LIBRARIES,
    PROGRAM_BYTES,
    MemoryBudget,
    memory_budget,
    parse_size,
    thread_counts,
)
from uavssr.reconstruction.options import ReconstructionOptions
from uavssr.tiling import TileGrid


def budget(
    size: int = 2000,
    *,
    tile: int = 256,
    workers: int = 2,
    device: str = "cpu",
    config: PGUNetConfig | None = None,
) -> MemoryBudget:
    plan = SimpleNamespace(
        network=SimpleNamespace(config=config or PGUNetConfig()),
        stages=4,
        source=SimpleNamespace(sensor=P4M),
        tiles=TileGrid(height=size, width=size, tile=tile, halo=16),
        batch=1,
        threads=thread_counts(workers),
        device=torch.device(device),
        references=None,
        options=ReconstructionOptions(),
    )
    return memory_budget(plan, 540, error_maps=False)


def test_memory_does_not_depend_on_the_scene() -> None:
    """Promise P6."""
    assert budget(2000).total == budget(100_000).total
    assert budget(tile=512).total > budget().total > budget(tile=128).total


def test_defaults_on_two_cores_stay_below_one_and_a_half_gigabytes() -> None:
    assert budget().total < 1.5e9 + CUDA_LIBRARIES


def test_total_is_the_sum_of_the_terms_in_its_text() -> None:
    """With every number as the text rounds it."""
    total, _, parts = budget(workers=3).explained().partition(" = ")
    amounts = re.findall(r"(?:(\d+) \w+ x )?([\d.]+ [kMG]B)", parts)
    assert len(amounts) == 5
    added = sum(int(count or 1) * parse_size(size) for count, size in amounts)
    assert added == pytest.approx(parse_size(total), rel=0.05)
    assert budget(workers=3).total > PROGRAM_BYTES + BLOCK_CACHE


@pytest.mark.parametrize("limit", [1.3e9, 1.6e9, 2.4e9, 9e9])
def test_as_many_workers_as_the_limit_allows(limit: float) -> None:
    """One more would exceed it."""
    limit += CUDA_LIBRARIES
    whole = budget(workers=16)
    fewer = whole.within(int(limit))
    assert fewer.total <= limit
    if fewer.threads.workers < 16:
        assert replace(whole, threads=thread_counts(fewer.threads.workers + 1)).total > limit
    assert whole.within(None) is whole


@pytest.mark.parametrize("cores", [1, 2, 14])
@pytest.mark.parametrize("batch", [1, 4, 32])
def test_host_threads_are_given_up_before_the_batches_on_a_gpu(cores: int, batch: int) -> None:
    """Promise P6: whatever the limit, the terms add up to no more than it."""
    threads = replace(thread_counts(2, host_cores=cores), batch=batch)
    whole = replace(budget(device="cuda"), threads=threads)
    assert threads.writers == max(2, cores)
    assert threads.in_flight == threads.readers + 4 + -(-threads.writers // batch)
    least = replace(whole, threads=replace(threads, workers=1, readers=1, writers=2)).total
    for limit in np.linspace(least, whole.total, 20).round().astype(int).tolist():
        fewer = whole.within(limit)
        assert fewer.total <= limit
        assert fewer.threads.workers == 2 or fewer.threads.writers == 2
        assert fewer.threads.batch == batch
    assert whole.within(whole.total).threads == threads


def test_limit_below_one_worker_is_refused_with_both_numbers() -> None:
    """Row 30."""
    with pytest.raises(
        OutputError, match=r"one worker needs \d{4} MB, and --mem-limit is 500 MB"
    ) as caught:
        budget(tile=512).within(500_000_000)
    assert caught.value.exit_code == 5


def test_network_on_a_gpu_takes_nothing_here() -> None:
    assert budget(device="cuda").network == 0
    assert budget(device="cuda").total < budget().total


def test_journal_size_follows_from_pixels_and_tiles() -> None:
    """r floats and a bit, and some kilobytes a tile."""
    pixels = 2000**2
    assert 64 * pixels < budget().journal < 70 * pixels
    assert 10_000 < budget(10, tile=16, config=CONFIG).journal < 20_000


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GB", 4e9),
        ("4gb", 4e9),
        ("1.5 GB", 1.5e9),
        ("900M", 9e8),
        ("2TiB", 2e12),
        ("12345", 12345),
    ],
)
def test_sizes_are_read(text: str, size: float) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0", "4 parsec", "1e9", "nan"])
def test_text_that_is_not_a_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--mem-limit must be a size such as 4GB"):
        parse_size(text)


MEASURE = """
import json, re, sys
from pathlib import Path
from uavssr.cli import main

code = main(sys.argv[1:])
# ru_maxrss would count the memory of the process that started this one
peak = re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())
print(json.dumps([code, int(peak[1]) * 1024]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("products", ["cube", "all"])
def test_run_with_the_released_model_stays_below_its_estimate(
    tmp_path: Path, products: str
) -> None:
    """Row 30, promise P6: with two workers; and with every product, of a few wavelengths."""
    try:
        load_model()
    except ModelRefused as err:
        pytest.skip(str(err))
    with rasterio.open(REPO / "examples" / "field.tif") as file:
        numbers = np.tile(file.read(), (1, 2, 2))[:, :700, :700]
        source = write(tmp_path / "in.tif", numbers, tags=file.tags(), scales=file.scales, nodata=0)
    command = ["reconstruct", source, "-o", tmp_path / "out.tif", "--workers", "2"]
    if products == "all":
        command += ["--uncertainty", tmp_path / "se.tif", "--quality", tmp_path / "q.tif"]
        command += ["--wavelengths", "450,550,650,750,850", "--stages", "1"]

    def run(*more: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, *map(str, command), *more],
            env=os.environ | {"PYTHONPATH": str(REPO)},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()

    estimate = json.loads(run("--dry-run", "--json")[0])["memory_bytes"]
    code, peak = json.loads(run("-q")[-1])
    assert code == 0
    assert peak < estimate < 1.5e9 + CUDA_LIBRARIES
