"""What `inspect` prints of good and of faulty images."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.helpers.commands import Run
from tests.helpers.rasters import P4M, scene, write
from uavssr.cli import tables
from uavssr.io.msi import Request, inspect_msi

COUNTS = np.round(scene() * 1e4).astype("u2")


def test_table_problems_and_command_of_a_faulty_image(tmp_path: Path, run: Run) -> None:
    path = write(tmp_path / "field.tif", COUNTS, crs=None)
    ran = run("inspect", path)
    assert (ran.code, ran.err) == (3, "")
    for word in ("no CRS", "no tag names the camera", "no evidence what its uint16 numbers mean"):
        assert f"problem: {path}: {word}" in ran.out
    assert all(f"description {name!r}" in ran.out for name in P4M)
    lines = ran.out.splitlines()
    assert lines[-2] == "reconstruct it with, capitals replaced:"
    assert lines[-1].startswith(f"uavssr reconstruct {path} --sensor NAME")


def test_json_holds_the_same_and_the_exit_code_too(tmp_path: Path, run: Run) -> None:
    path = write(tmp_path / "field.tif", COUNTS, crs=None)
    ran = run("inspect", path, "--json")
    assert (ran.code, ran.err) == (3, "")
    summary = json.loads(ran.out)
    assert [problem["exit_code"] for problem in summary["problems"]] == [3, 3, 3]
    assert summary["command"].startswith("uavssr reconstruct ")
    assert summary["bands"][0]["facts"]["maximum"] == COUNTS[0].max()


def test_json_of_a_refusal_holds_every_problem(tmp_path: Path, run: Run) -> None:
    path = write(tmp_path / "field.tif", COUNTS, crs=None)
    ran = run("reconstruct", path, "-o", tmp_path / "out.tif", "--json")
    assert ran.code == 3
    error = json.loads(ran.err or ran.out)
    summary = json.loads(run("inspect", path, "--json").out)
    assert [each["fact"] for each in error["problems"]] == [
        each["fact"] for each in summary["problems"]
    ]
    assert error["command"] == summary["command"]


@pytest.mark.parametrize("scales", [None, [1e-4, 1e-4, 1e-4, 1e-4, 1.0]])
@pytest.mark.parametrize("files", [1, 5])
def test_table_fits_a_terminal_of_80_columns(
    tmp_path: Path, files: int, scales: list[float] | None
) -> None:
    if files == 5:
        paths = [
            write(
                tmp_path / f"result_{name}.tif",
                COUNTS[i : i + 1],
                names=None,
                scales=None if scales is None else scales[i : i + 1],
            )
            for i, name in enumerate(P4M)
        ]
    else:
        paths = [write(tmp_path / "field.tif", COUNTS, scales=scales)]
    summary = inspect_msi(Request(paths=tuple(paths), sensor="p4m"))
    text = io.StringIO()
    Console(width=80, file=text).print(tables.band_table(summary))
    assert "\N{HORIZONTAL ELLIPSIS}" not in text.getvalue()
    for name in P4M:
        wanted = f"result_{name}.tif" if files == 5 else repr(name)
        assert wanted in text.getvalue()


def test_constant_and_equal_bands_are_told(tmp_path: Path, run: Run) -> None:
    image = scene()
    image[1], image[3] = 0.25, image[2]
    out = run("inspect", write(tmp_path / "field.tif", image), "--sensor", "p4m").out
    assert "'Green', constant: one number in all pixels" in out
    assert "'RedEdge', the same as row 3" in out
