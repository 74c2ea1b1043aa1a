"""Records of runs: read as they were written, packed to five digits, refused where damaged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.benchmarks import results_of, run_record, write_results
from uavssr.benchmark import METRICS, pack_results, read_record, read_results, write_record
from uavssr.errors import InputRefused


def test_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = run_record("pgunet", 1)
    write_record(record, tmp_path / "rgb" / "1.json")
    assert read_record(tmp_path / "rgb" / "1.json") == record


def test_folder_is_read_whole(tmp_path: Path) -> None:
    results = results_of(seeds=2)
    write_results(results, tmp_path)
    back = read_results(tmp_path)
    key = [(run.method, run.seed) for run in sorted(back.runs, key=lambda run: run.seed)]
    assert sorted(key) == sorted((run.method, run.seed) for run in results.runs)
    assert back.methods == results.methods
    assert back.cases == {"rgb": "RGB cameras over CAVE"}


def test_packed_file_holds_all_but_the_last_digits(tmp_path: Path) -> None:
    results = results_of(seeds=2)
    pack_results(results, tmp_path / "cave.json")
    back = read_results(tmp_path / "cave.json")
    assert back.facts == results.facts
    for read, run in zip(back.runs, results.runs, strict=True):
        assert replace(read, curve=(), images=()) == replace(run, curve=(), images=())
        for image, truth in zip(read.images, run.images, strict=True):
            for name in METRICS:
                value, wanted = getattr(image, name), getattr(truth, name)
                assert (value is None) == (wanted is None)
                assert value is None or value == pytest.approx(wanted, rel=5e-5)
    pack_results(back, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "cave.json").read_bytes()


@pytest.mark.parametrize("text", ["", "[]", '{"case": "rgb"}', '{"curve": [1]}'])
def test_damaged_record_is_refused_with_a_remedy(tmp_path: Path, text: str) -> None:
    path = tmp_path / "0.json"
    path.write_text(text)
    with pytest.raises(InputRefused) as caught:
        read_record(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [{}, {"facts": {}, "runs": [{"images": {}}]}, {"runs": 3}])
def test_other_json_is_no_packed_benchmark(tmp_path: Path, content: object) -> None:
    path = tmp_path / "cave.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputRefused, match="packed benchmark"):
        read_results(path)


def test_other_folder_is_no_benchmark(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match=r"benchmark\.json"):
        read_results(tmp_path)
