"""Options from a settings file and from variables, and what else all commands share."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from tests.helpers.commands import Ran, Run
from tests.helpers.models import P4M, tiny_model, tiny_msi
from tests.helpers.places import REPO
from tests.helpers.rasters import write
from uavssr.cli.commands import app
from uavssr.cli.defaults import commands_of, options_of
from uavssr.cli.options import PANELS, panel_of


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Called in the test, takes the handlers from the root logger, as in a process of its own."""
    handlers: list[list[logging.Handler]] = []

    def without_handlers() -> None:
        handlers.append([])
        monkeypatch.setattr(logging.getLogger(), "handlers", handlers[-1])

    monkeypatch.setattr(logging.getLogger(), "level", logging.WARNING)
    yield without_handlers
    for handler in (handler for several in handlers for handler in several):
        handler.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def field(tmp_path: Path) -> Path:
    return write(tmp_path / "field.tif", tiny_msi(P4M, 20, 24)[0].numpy(), tags={"sensor": "p4m"})


def group() -> TyperGroup:
    command = typer.main.get_command(app)
    assert isinstance(command, TyperGroup)
    return command


def shown(run: Run, *words: object) -> dict[str, tuple[object, str]]:
    ran = run(*words, "--json")
    assert ran.code == 0, ran.err
    return {row["option"]: (row["value"], row["from"]) for row in json.loads(ran.out)}


def test_option_wins_over_variable_over_file_over_default(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "uavssr.yaml"
    file.write_text(
        "device: cpu\ntile: 16\nworkers: 3\noverlap: 8\n"
        "reconstruct: {tile: 32, tile-stf: off, bands: [blue, green], co: [A=1, B=2]}\n"
    )
    monkeypatch.setenv("UAVSSR_OVERLAP", "4")
    monkeypatch.setenv("UAVSSR_STAGES", "1")
    monkeypatch.setenv("UAVSSR_RECONSTRUCT_STAGES", "2")
    rows = shown(run, "config", "show", "reconstruct", "--config", file)
    assert rows["device"] == ("cpu", str(file))
    assert rows["tile"] == ("32", str(file))  # the section wins over the top
    assert rows["tile_stf"] == ("off", str(file))
    assert rows["bands"] == ("blue,green", str(file))
    assert rows["co"] == (["A=1", "B=2"], str(file))
    assert rows["overlap"] == ("4", "UAVSSR_OVERLAP")
    assert rows["stages"] == ("2", "UAVSSR_RECONSTRUCT_STAGES")
    assert rows["dtype"] == ("uint16", "default")
    monkeypatch.setenv("UAVSSR_CONFIG", str(file))
    assert shown(run, "config", "show", "reconstruct") == rows
    everywhere = run("config", "show", "--json")
    assert {row["command"] for row in json.loads(everywhere.out)} >= {"reconstruct", "plots"}
    assert all(row["from"] != "default" for row in json.loads(everywhere.out))


def test_values_reach_the_command(
    tmp_path: Path, field: Path, model: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s.yaml").write_text("model: tiny_link\nreconstruct: {tile: 16, tile-stf: off}\n")
    (tmp_path / "tiny_link").symlink_to(model)  # found beside the file
    monkeypatch.setenv("UAVSSR_WAVELENGTHS", "500-700")
    words = ("reconstruct", field, "-o", tmp_path / "out.tif", "--dry-run", "--json")
    ran = run(*words, "--config", tmp_path / "s.yaml")
    assert ran.code == 0, ran.err
    estimate = json.loads(ran.out)
    assert (estimate["tile"], estimate["tile_stf"]) == (16, "off")
    ran = run(*words, "--config", tmp_path / "s.yaml", "--tile", 32, "--wavelengths", "400-1000")
    assert json.loads(ran.out)["tile"] == 32
    assert json.loads(ran.out)["output_bytes"] > estimate["output_bytes"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sensr: p4m", "no setting is called 'sensr'; did you mean sensor?"),
        ("reconstruct: {tyle: 3}", "reconstruct: no setting is called 'tyle'; did you mean tile?"),
        ("camera: {fitt: {}}", "no setting is called 'fitt'; did you mean fit?"),
        ("camera: 3", "camera is a section of keys"),
        ("- tile", "is no mapping of keys to values"),
        ("tile: [1", "not YAML"),
    ],
)
def test_unknown_keys_are_refused(tmp_path: Path, run: Run, text: str, said: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    ran = run("sensors", "--config", tmp_path / "s.yaml")
    assert ran.code == 2
    assert said in ran.err
    assert str(tmp_path / "s.yaml") in ran.err


def test_wrong_value_names_its_origin(
    tmp_path: Path, field: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s.yaml").write_text("tile: big")
    words = ("reconstruct", field, "-o", tmp_path / "out.tif")
    assert "which " + str(tmp_path / "s.yaml") in run(*words, "--config", tmp_path / "s.yaml").err
    monkeypatch.setenv("UAVSSR_TILE", "big")
    assert "which UAVSSR_TILE sets" in run(*words).err
    assert "which" not in run(*words, "--tile", "big").err


def test_unknown_variable_is_warned_of(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UAVSSR_SENSR", "p4m")
    said = "UAVSSR_SENSR belongs to no option; did you mean UAVSSR_SENSOR?"
    assert said in run("sensors").err


def test_config_of_train_stays_its_own(tmp_path: Path, run: Run) -> None:
    (tmp_path / "t.yaml").write_text("out: run\ntrainin: 1\n")
    assert "no setting is called 'trainin'" in run("train", "--config", tmp_path / "t.yaml").err


def test_every_option_is_in_one_group_of_the_help(run: Run) -> None:
    keys = {key for _, command in commands_of(group()) for key in options_of(command)}
    assert {key for key in keys if panel_of(key) is None} <= {"config"}  # that of train
    listed = " ".join(PANELS.values()).split()
    assert len(listed) == len(set(listed))
    assert set(listed) <= keys
    text = run("reconstruct", "--help").out
    places = [text.index(f" {name} ") for name in ("Input", "Network", "Output", "Resources")]
    assert all(places)


def test_log_file_has_the_messages_with_times(
    tmp_path: Path, field: Path, model: Path, run: Run, logs: Callable[[], None]
) -> None:
    logs()
    log = tmp_path / "log.txt"
    words = ("--model", model, "--tile", 32, "--log-file", log)
    assert run("reconstruct", field, "-o", tmp_path / "out.tif", *words, "-q").code == 0
    logs()
    assert run("reconstruct", field, "-o", tmp_path / "out.tif", *words).code == 8
    text = log.read_text()
    assert re.search(
        r"^2\d{3}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO opening the image: 0\.", text, re.MULTILINE
    )
    for said in ("loading the model: ", "the scene's STF: ", "writing the outputs: ", "wrote "):
        assert said in text
    assert "ERROR " in text
    assert "exists" in text.splitlines()[-1]


def test_verbose_says_what_happens_and_how_long(
    tmp_path: Path, field: Path, model: Path, run: Run, logs: Callable[[], None]
) -> None:
    logs()
    words = ("-o", tmp_path / "out.tif", "--model", model, "--tile", 32)
    ran = run("-v", "reconstruct", field, *words)
    assert re.search(r"^loading the model: \d+\.\d\d s$", ran.err, re.MULTILINE)
    assert ran.err.count("wrote ") == 1


def test_json_gives_sizes_warnings_seconds_and_versions(
    tmp_path: Path, field: Path, model: Path, run: Run
) -> None:
    out = tmp_path / "out.tif"
    words = ("-o", out, "--model", model, "--tile", 32, "--json")
    facts = json.loads(run("reconstruct", field, *words).out)
    assert facts["bytes"]["cube"] == out.stat().st_size
    assert set(facts["seconds"]) == {
        "opening the image",
        "loading the model",
        "writing the outputs",
    }
    assert {"uavssr", "python", "torch"} <= set(facts["versions"])
    assert isinstance(facts["warnings"], list)


def test_large_outputs_are_told_with_the_smaller_choices(
    tmp_path: Path, field: Path, model: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uavssr.cli.reconstruct.LARGE_BYTES", 1000)
    words = ("reconstruct", field, "--model", model, "--tile", 32, "--dry-run", "-o")
    said = run(*words, tmp_path / "out.tif").err
    assert "smaller with --wavelengths 450-900, or --format coefficients" in said
    said = run(*words, tmp_path / "out.tif", "--format", "coefficients", "--wavelengths", "500-700")
    assert "smaller" not in said.err


def test_url_stays_as_it_was_typed(tmp_path: Path, run: Run) -> None:
    ran: Ran = run("inspect", "https://example.org/a.tif")
    assert "https://example.org/a.tif: URLs are not opened" in ran.err


def test_digits_of_a_memory_limit_differ(
    tmp_path: Path, field: Path, model: Path, run: Run
) -> None:
    words = ("reconstruct", field, "-o", tmp_path / "o.tif", "--model", model, "--mem-limit")
    needed = re.search(r"needs (\d+) MB", run(*words, "1MB").err)
    assert needed is not None
    limit = int(needed[1]) * 10**6 - 10**6 + 1
    assert (
        f"needs {needed[1]} MB, and --mem-limit is {int(needed[1]) - 1} MB"
        in run(*words, limit).err
    )


def test_a_shell_can_ask_for_the_next_word() -> None:
    environment = os.environ | {
        "_UAVSSR_COMPLETE": "complete_bash",
        "COMP_WORDS": "uavssr reconstruct --stf-",
        "COMP_CWORD": "2",
        "PYTHONPATH": str(REPO),
    }
    words = [sys.executable, "-m", "uavssr"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["--stf-only", "--stf-scope"]
