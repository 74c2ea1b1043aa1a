"""The page of benchmarks: made from a folder of runs, and again from the packed results alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from scripts.benchmarks_page import add_results, page
from tests.helpers.benchmarks import FACTS, results_of, write_results


def test_page_names_the_run_and_shows_its_pictures(tmp_path: Path) -> None:
    results = results_of(2)
    runs = tuple(run for run in results.runs if run.method in ("mst++", "pgunet"))
    write_results(replace(results, runs=runs), tmp_path / "cave-small")
    add_results(tmp_path / "cave-small", tmp_path)
    packed = tmp_path / "benchmarks" / "results"
    text = page(packed)
    assert "## cave-small" in text
    for fact in ("data", "machine", "budget", "command"):
        assert str(FACTS[fact]) in text
    pictures = sorted((tmp_path / "docs" / "benchmarks").glob("*.png"))
    assert [path.name for path in pictures if f"](benchmarks/{path.name})" not in text] == []
    assert len(pictures) == 4
    assert (packed / "cave-small.json").stat().st_size < 300_000
