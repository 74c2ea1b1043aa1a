"""`uavssr benchmark`: resumed, repeated, and its refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.benchmark_data import write_benchmark_data
from tests.helpers.commands import Run

METHODS = "ridge,dian"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_benchmark_data(folder)
    return folder


def command(data: Path, out: Path, *more: str) -> list[str]:
    fixed = ["--cases", "nikon-d700", "--budget", "0.01", "--methods", METHODS, "--seeds", "1"]
    return ["benchmark", "cave", "--data", str(data), "--out", str(out), *fixed, *more]


def errors(out: Path) -> object:
    """All errors of images, of every method."""
    records = sorted((out / "runs").glob("*/*/*.json"))
    return [json.loads(record.read_text())["images"] for record in records]


def test_benchmark_is_resumed_and_repeated(data: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "first"
    assert run(*command(data, out)).code == 0
    table = (out / "results.md").read_text()
    assert all(name in table for name in METHODS.split(","))
    record = out / "runs" / "nikon-d700" / "dian" / "0.json"
    made, text = record.stat().st_mtime_ns, record.read_text()
    record_of_ridge = out / "runs" / "nikon-d700" / "ridge" / "0.json"
    record_of_ridge.unlink()
    assert run(*command(data, out)).code == 0
    assert record_of_ridge.is_file()
    assert (record.stat().st_mtime_ns, record.read_text()) == (made, text)
    again = tmp_path / "again"
    assert run(*command(data, again, "--repeat", str(out))).code == 0
    assert errors(again) == errors(out)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--methods", "ridge,none"], 2, "unknown method none"),
        (["--cases", "none"], 2, "cave has no case none"),
        (["--training", "list.txt"], 2, "has no option --training"),
        (["--data", "nowhere"], 3, "no scene of CAVE"),
    ],
)
def test_what_is_unknown_or_missing_is_named(
    data: Path, tmp_path: Path, run: Run, options: list[str], code: int, words: str
) -> None:
    result = run(*command(data, tmp_path / "out", *options))
    assert result.code == code
    assert words in result.err
    assert not (tmp_path / "out").exists()


def test_other_settings_in_the_same_folder_are_refused(
    data: Path, tmp_path: Path, run: Run
) -> None:
    out = tmp_path / "out"
    assert run(*command(data, out, "--methods", "ridge")).code == 0
    result = run(*command(data, out, "--methods", "ridge", "--budget", "0.02"))
    assert result.code == 2
    assert "budget_minutes" in result.err
    assert "choose another --out" in result.err
