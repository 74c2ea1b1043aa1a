"""`uavssr sensors rank`, and that `uavssr sensors` still lists cameras."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.commands import Run
from tests.helpers.models import tiny_model

FILTERS = "centre,fwhm\n450,32\n560,32\n650,32\n700,10\n730,32\n840,52\n1040,20\n"


@pytest.fixture
def filters(tmp_path: Path) -> Path:
    tiny_model(tmp_path / "tiny")
    (tmp_path / "filters.csv").write_text(FILTERS)
    return tmp_path / "filters.csv"


def test_ranking_as_json(filters: Path, run: Run) -> None:
    words = ("sensors", "rank", "--candidates", filters, "--model", filters.with_name("tiny"))
    ran = run(*words, "--count", 3, "--compare", "p4m, m3m", "--json")
    assert (ran.code, ran.err.count("\n")) == (0, 1)
    assert "beyond the model's wavelengths: 1040/20" in ran.err
    answer = json.loads(ran.out)
    assert (answer["candidates"], answer["left_out"]) == (6, ["1040/20"])
    assert list(answer["cameras"]) == ["p4m", "m3m"]
    for assumed in ("known", "unknown"):
        result = answer[assumed]
        assert len(result["steps"]) == len(result["bands"]) == 3
        centres = [band["centre"] for band in result["bands"]]
        assert centres == sorted(centres)
        error = result["errors"][assumed]
        assert error["at_least"] <= error["rmse"] + 4 * error["rmse_se"]
    table = run(*words, "--count", 3, "--compare", "p4m", "--wavelengths", "600-800")
    assert table.code == 0
    assert all(word in table.out for word in ("step", "p4m", "response unknown", "600-800 nm"))


def test_settings_reach_the_list_and_its_command(filters: Path, run: Run) -> None:
    settings = filters.with_name("s.yaml")
    settings.write_text("sensors: {json: true, rank: {candidates: filters.csv, count: 2}}\n")
    assert "p4m" in json.loads(run("sensors", "--config", settings).out)
    shown = json.loads(run("config", "show", "sensors", "rank", "--json", "--config", settings).out)
    assert {"count": "2", "candidates": str(filters)}.items() <= {
        row["option"]: row["value"] for row in shown if row["from"] == str(settings)
    }.items()
    settings.write_text("sensors: {rnk: {}}\n")
    assert (
        "no setting is called 'rnk'; did you mean rank?" in run("sensors", "--config", settings).err
    )
