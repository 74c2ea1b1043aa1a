"""The cost benchmark: its table is right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.models import CONFIG, GRID, P4M, tiny_model
from uavssr.evaluation.ridge import LinearMap

SIZE = 32


@pytest.fixture(autouse=True)
def scripts(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a benchmark is run: its folder is where modules are looked for."""
    monkeypatch.syspath_prepend(repo / "benchmarks")


def test_ridge_row_does_what_ridge_does() -> None:
    from forward import linear

    rng = np.random.default_rng(0)
    weights, image = rng.normal(size=(7, 4)), rng.random((2, 3, 4, 5)).astype("f4")
    found = linear(torch.from_numpy(weights).float(), torch.from_numpy(image))
    for one, other in zip(found, image, strict=True):
        expected = LinearMap(weights=weights)(other.reshape(3, -1))
        assert np.allclose(one.flatten(1), expected, atol=1e-5)


def test_half_precision_is_compared_on_the_same_image(tmp_path: Path) -> None:
    """Here on the CPU, which knows bf16 too."""
    from forward import Setting, compare_precisions

    model = str(tiny_model(tmp_path / "tiny"))
    setting = Setting(model=model, sensor="p4m", size=SIZE, batch=2, threads=1, device="cpu")
    exact, half = compare_precisions(setting, runs=2)
    assert (exact["name"], half["name"]) == ("float32", "bf16")
    assert exact["largest_difference"] == 0
    assert 0 < half["largest_difference"] < 0.05
    for row in (exact, half):
        assert row["pixels_per_second"] == pytest.approx(2 * SIZE**2 / row["median"])


@pytest.mark.slow
def test_table_has_a_row_for_each_contender(repo: Path, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "tiny")
    done = subprocess.run(
        [
            *(sys.executable, repo / "benchmarks" / "forward.py", "--model", model),
            *("--size", str(SIZE), "--runs", "2", "--threads", "1"),
            *("--json", tmp_path / "cost.json"),
        ],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(repo)},
    )
    rows = json.loads((tmp_path / "cost.json").read_text())["rows"]
    names = ["tiny, 2 stages", "tiny, 0 of 2", "tiny, 1 of 2", "ridge regression"]
    assert [row["name"] for row in rows] == [*names, "like MST++, untrained"]
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[1:]] == [
        row["name"] for row in rows
    ]
    whole, none, one, ridge, _ = (row["multiply_adds"] for row in rows)
    assert ridge == len(GRID) * len(P4M) * SIZE**2
    assert none >= CONFIG.bands * CONFIG.rank * SIZE**2  # the expansion alone
    assert none < one < whole
    assert whole - one == pytest.approx(one - none)
    assert rows[0]["ratio"] == 1
    assert all(row["least"] <= row["median"] <= row["most"] for row in rows)
