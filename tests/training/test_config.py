"""Settings of a run: unknown keys and wrong values are refused, later values win."""

from __future__ import annotations

import re
import shlex
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from uavssr.data.pair_sources import DataConfig
from uavssr.errors import UsageError
from uavssr.io.settings import read_settings
from uavssr.model.config import PGUNetConfig
from uavssr.training.config import COMPONENTS, NetworkSettings, RunConfig, TrainingConfig

NEEDED = {"out": Path("run"), "pairs": Path("pairs.csv")}


read_run = partial(read_settings, RunConfig)


def settings(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_sets_every_section(tmp_path: Path) -> None:
    path = settings(
        tmp_path,
        """
        pairs: data/pairs.csv
        out: runs/wheat
        name: wheat
        log: tensorboard
        network: {rank: auto, stages: 3}
        training: {steps: 2000, learning_rate: 1e-3, precision: bf16, keep: last}
        data: {guard: 8, max_shift: 1}
        """,
    )
    run = read_run(path, {}, [])
    assert run == RunConfig(
        pairs=tmp_path / "data/pairs.csv",
        out=tmp_path / "runs/wheat",
        name="wheat",
        log="tensorboard",
        network=NetworkSettings(rank="auto", stages=3),
        training=TrainingConfig(steps=2000, learning_rate=1e-3, precision="bf16", keep="last"),
        data=DataConfig(guard=8, max_shift=1.0),
    )


def test_options_win_over_the_file_and_assignments_over_both(tmp_path: Path) -> None:
    path = settings(
        tmp_path, "out: a\npairs: p.csv\nname: file\ntraining: {steps: 1, batch: 2, seed: 3}"
    )
    run = read_run(
        path,
        {"name": "option", "training.steps": 10, "training.seed": 30, "out": None},
        ["training.steps=100", "training.steps=1000"],
    )
    assert (run.name, run.out) == ("option", tmp_path / "a")
    assert (run.training.steps, run.training.batch, run.training.seed) == (1000, 2, 30)


def test_settings_have_defaults() -> None:
    run = read_run(None, NEEDED, [])
    assert run == RunConfig(**NEEDED)
    assert run.training == TrainingConfig()
    assert run.network == NetworkSettings()


def test_the_command_makes_the_same_run() -> None:
    texts = ["training.steps=7", "training.learning_rate=1e-3", "network.rank=auto", "data.guard=3"]
    run = read_run(None, {**NEEDED, "name": "my model"}, texts)
    words = shlex.split(run.command())
    assert words[:2] == ["uavssr", "train"]
    pairs = list(zip(words[2::2], words[3::2], strict=True))
    sets = [value for key, value in pairs if key == "--set"]
    options = {key.removeprefix("--"): value for key, value in pairs if key != "--set"}
    assert read_run(None, options, sets) == run
    assert len(sets) == len(texts)  # nothing that is the default


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training.stepz=1", "no setting is called 'training.stepz'; did you mean training.steps?"),
        ("trainin.steps=1", "no setting is called 'trainin'; did you mean training?"),
        ("network.rnak=1", "no setting is called 'network.rnak'; did you mean network.rank?"),
        ("network.bands=1", "no setting is called 'network.bands'"),
        ("zzz=1", "no setting is called 'zzz'; known are out, pairs,"),
        ("data.guards=1", "did you mean data.guard?"),
        ("training=1", "training must be a section of settings, got 1"),
        ("training.steps.more=1", "no setting is called 'training.steps.more'; did you mean"),
        ("out.more=1", "out.more: out is no section of settings"),
        ("training.steps=many", "training.steps must be a valid integer, got 'many'"),
        ("training.steps=1.5", "training.steps must be a valid integer, got 1.5"),
        ("training.learning_rate=true", "training.learning_rate must be a valid number, got True"),
        ("training.steps=true", "training.steps must be a valid integer, got True"),
        ("training.steps=", "training.steps must be a valid integer, got None"),
        (
            "training.learning_rate=fast",
            "training.learning_rate must be a valid number, got 'fast'",
        ),
        ("training.precision=fp16", "training.precision must be 'float32' or 'bf16', got 'fp16'"),
        ("network.rank=big", "network.rank must be a valid integer or 'auto', got 'big'"),
        ("network.stages=auto", "network.stages must be a valid integer, got 'auto'"),
        ("log=paper", "log must be 'csv' or 'tensorboard', got 'paper'"),
        ("name=[a]", "name must be a valid string"),
        ("training.steps", "--set must be KEY=VALUE, got 'training.steps'"),
        ("name={", "not YAML"),
        ("training.steps=0", "training.steps must be greater than 0, got 0"),
        ("training.learning_rate=.nan", "training.learning_rate must be greater than 0, got nan"),
        ("training.average=1", "training.average must be less than 1, got 1"),
        ("training.validate=-1", "training.validate must be greater than or equal to 0, got -1"),
        ("data.share=0.6", "data.share must be less than or equal to 0.5, got 0.6"),
        ("data.guard=-1", "data.guard must be greater than or equal to 0, got -1"),
        ("data.max_shift=.nan", "data.max_shift must be greater than or equal to 0, got nan"),
        ("data.patches=0", "data.patches must be greater than 0, got 0"),
        ("data.grid=mine", "data.grid must be 'auto' or 'headwall-nano', got 'mine'"),
        ("workers=-1", "workers must be greater than or equal to 0, got -1"),
        ("name=a/b", "the model cannot be called 'a/b'"),
        ("name=..", "the model cannot be called '..'"),
        ("name=patches", "the model cannot be called 'patches'"),
        ("spectra=lib.npz", "data come from --pairs or from --spectra"),
    ],
)
def test_wrong_settings_are_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_run(None, NEEDED, [text])
    assert message in str(caught.value)


def test_errors_of_the_file_name_the_file(tmp_path: Path) -> None:
    for text, message in (
        ("training: {stepz: 1}", "no setting is called 'training.stepz'; did you mean"),
        ("- a\n- b", "is no mapping"),
        ("a: [", "not YAML"),
        ("training: 3", "training must be a section of settings, got 3"),
        ("training: {steps: 0}", "training.steps must be greater than 0, got 0"),
        ("1: 2", "no setting is called '1'"),
        ("!!python/object/apply:os.getcwd []", "not YAML"),
    ):
        path = settings(tmp_path, text)
        with pytest.raises(UsageError, match=f"^{path}: ") as caught:
            read_run(path, {"out": "o"}, [])
        assert message in str(caught.value)
    (tmp_path / "latin.yaml").write_bytes(b"name: \xff")
    for name, fact in (("none.yaml", "no such file"), ("latin.yaml", "is not UTF-8 text")):
        with pytest.raises(UsageError, match=fact):
            read_run(tmp_path / name, {}, [])


def test_a_run_needs_data_and_a_folder() -> None:
    with pytest.raises(UsageError, match="out is not set; pass --set out=VALUE"):
        read_run(None, {"pairs": "p.csv"}, [])
    with pytest.raises(UsageError, match="data come from --pairs or from --spectra"):
        read_run(None, {"out": "o"}, [])


def test_a_model_to_start_from_brings_its_network(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"takes the network as it is, and network\.rank is set"):
        read_run(None, NEEDED, ["init=p4m-nano", "network.rank=8"])
    (tmp_path / "mine").mkdir()
    path = settings(tmp_path, "out: o\npairs: p.csv\ninit: mine")
    assert read_run(path, {}, []).init == str(tmp_path / "mine")
    path = settings(tmp_path, "out: o\npairs: p.csv\ninit: p4m-nano")
    assert read_run(path, {}, []).init == "p4m-nano"


def test_network_sizes_are_the_defaults_unless_set() -> None:
    spectra = np.ones((1, 40))
    sizes = NetworkSettings(stages=2, rank=7).sizes(spectra)
    assert sizes == PGUNetConfig(bands=40, rank=7, stages=2, components=COMPONENTS)
    assert NetworkSettings(components=3).sizes(spectra).components == 3
    with pytest.raises(UsageError, match="network: config rank 41 exceeds bands 40"):
        NetworkSettings(rank=41).sizes(spectra)
    with pytest.raises(UsageError, match="network: config stages must be a whole number in 1-32"):
        NetworkSettings(stages=99).sizes(spectra)


def test_the_settings_in_the_documents_are_settings(repo: Path, tmp_path: Path) -> None:
    text = (repo / "docs/formats/training-runs.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"<!-- settings: run.yaml -->\n```yaml\n(.*?)```", text, re.DOTALL)
    run = read_run(settings(tmp_path, block), {}, [])
    assert run.training == TrainingConfig()
    assert run.data == DataConfig()
    assert (run.device, run.workers, run.log) == ("auto", 0, "csv")
