"""The cost benchmark: the network like MST++ has the published size, and the table is right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.helpers.models import CONFIG, GRID, P4M, tiny_model
from uavssr.evaluation.ridge import Ridge

SIZE = 32


@pytest.fixture(autouse=True)
def scripts(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a benchmark is run: its folder is where modules are looked for."""
    monkeypatch.syspath_prepend(repo / "benchmarks")


def test_network_like_mstpp_is_as_large_as_published() -> None:
    """1.62 M parameters and 23.05 G operations for RGB to 31 bands at 256 x 256 (the paper's).

    Ours counts no norms; all else grows with the pixels.
    """
    from mstpp import MstPlusPlus

    network = MstPlusPlus(3, 31).eval()
    assert round(sum(each.numel() for each in network.parameters()) / 1e6, 2) == 1.62
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        cube = network(torch.rand(1, 3, 64, 64))
    assert cube.shape == (1, 31, 64, 64)
    assert counter.get_total_flops() / 2 * 16 == pytest.approx(23.05e9, rel=0.05)


def test_attention_is_over_the_channels_of_a_head() -> None:
    """Against numpy in float64, for 62 channels in two heads."""
    from mstpp import WIDTH, SpectralAttention

    torch.manual_seed(0)
    attend = SpectralAttention(2 * WIDTH).double().eval()
    with torch.no_grad():
        attend.scale.copy_(torch.tensor([[[2.0]], [[5.0]]]))
    maps = torch.rand(1, 2 * WIDTH, 6, 5, dtype=torch.float64)
    with torch.inference_mode():
        found = attend(maps) - attend.position(
            attend.queries_keys_values(maps)[:, 4 * WIDTH :].contiguous()
        )
    weight = attend.queries_keys_values.weight.detach().numpy()[:, :, 0, 0]
    query, key, value = (weight @ maps[0].flatten(1).numpy()).reshape(3, 2, WIDTH, -1)
    expected = []
    for head, scale in enumerate((2.0, 5.0)):
        q, k = (
            each[head] / np.linalg.norm(each[head], axis=1, keepdims=True) for each in (query, key)
        )
        score = np.exp(scale * (k @ q.T))
        expected.append(score / score.sum(1, keepdims=True) @ value[head])
    project = attend.project.weight.detach().numpy()[:, :, 0, 0]
    mapped = project @ np.concatenate(expected) + attend.project.bias.detach().numpy()[:, None]
    assert np.allclose(found[0].flatten(1), mapped, atol=1e-12)


def test_ridge_row_does_what_ridge_does() -> None:
    from forward import linear

    rng = np.random.default_rng(0)
    weights, image = rng.normal(size=(7, 4)), rng.random((2, 3, 4, 5)).astype("f4")
    found = linear(torch.from_numpy(weights).float(), torch.from_numpy(image))
    for one, other in zip(found, image, strict=True):
        expected = Ridge(weights=weights)(other.reshape(3, -1))
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
