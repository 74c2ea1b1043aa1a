"""benchmarks/gpu.py at tiny sizes on the CPU: every table has its rows, and one device one cube."""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from uavssr.cli import main


def in_this_process(
    image: Path, out: Path, device: str, *more: str, cores: int | None = None
) -> float:
    start = time.perf_counter()
    options = ["--out", str(out), "--device", device, "--overwrite", "--scale", "1/10000"]
    bands = "blue,green,red,rededge,nir"
    camera = ["--sensor", "p4m", "--bands", bands]
    assert main(["-q", "reconstruct", str(image), *options, *camera, *more]) == 0
    return time.perf_counter() - start


@pytest.mark.slow
def test_every_table_is_made(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(repo / "benchmarks")
    gpu = import_module("gpu")
    monkeypatch.setattr(gpu, "command_seconds", in_this_process)
    out = tmp_path / "report.json"
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--small", "--json", str(out)])
    assert gpu.main() == 0
    report = json.loads(out.read_text())
    assert [row["output"] for row in report["whole command"]] == [
        *("GeoTIFF", "coefficients", "Zarr", "5 wavelengths")
    ]
    assert len(report["network alone"]) == 2
    parts = {row["part"]: row["thread s"] for row in report["thread seconds by part"]}
    assert all(parts[part] > 0 for part in ("reading", "network", "journal", "packing and writing"))
    same = report["stored numbers, cpu against cpu"][0]
    assert (same["precision"], same["largest"]) == ("float32", 0)
    assert "| batch | float32 Mpx/s | bf16 Mpx/s | mixture Mpx/s |" in capsys.readouterr().out
