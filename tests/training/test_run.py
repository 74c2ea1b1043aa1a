"""`uavssr train` from a manifest to a model that reconstructs: by the command line, killed too."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import rasterio
import torch

from tests.helpers.grounds import EAST, write_field_cube, write_image
from tests.helpers.models import tiny_library, tiny_model
from uavssr import cli
from uavssr._version import __version__
from uavssr.errors import IncompleteRun, OutputError
from uavssr.io.writers.lock import Lock
from uavssr.model.weights import load_model
from uavssr.sensors import HEADWALL_NANO
from uavssr.spectra.library import load_library
from uavssr.training import run as runs
from uavssr.training.checkpoints import write_checkpoint
from uavssr.training.config import RunConfig

SMALL = (
    *("--components", "3", "--stages", "1", "--width", "8", "--set", "network.stf_width=8"),
    *("--steps", "4", "--set", "training.size=8", "--set", "training.batch=2"),
    *("--set", "training.checkpoint=2", "--set", "training.prior_scenes=20"),
    *("--set", "training.validate=2", "--set", "data.guard=2"),
    *("--set", "training.bags=2", "--set", "training.bag_pool=4"),
)
RANK = ("--rank", "6")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A field: an image, two cubes, a library and the manifest of them."""
    folder = tmp_path_factory.mktemp("field")
    write_image(folder / "msi.tif", side=96)
    write_field_cube(folder / "cube", side=96, shift=(0.06, 0.04), degrees=True, pixel=0.13)
    write_field_cube(folder / "other", side=96, east=600000.0)
    tiny_library().save(folder / "lib.npz")
    (folder / "pairs.csv").write_text(
        "msi,hsi,kind,sensor,weight\nmsi.tif,cube,,p4m,2\n,other,,,1\n,lib.npz,spectra,,1\n"
    )
    return folder


def train(folder: Path, out: Path, *more: str, rank: tuple[str, ...] = RANK) -> int:
    return cli.main(
        ["-q", "train", "--pairs", str(folder / "pairs.csv"), "-o", str(out), *SMALL, *rank, *more]
    )


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run from the manifest."""
    out = tmp_path_factory.mktemp("run") / "deep" / "run"
    assert train(folder, out, "--name", "mine") == 0
    return out


def config_of(model: Path) -> dict[str, object]:
    return json.loads((model / "config.json").read_text())["training"]


def test_a_manifest_becomes_a_model_that_reconstructs(
    folder: Path, trained: Path, tmp_path: Path
) -> None:
    model = load_model(trained / "mine")
    assert model.name == "mine"
    assert len(model.grid) == 40
    out = tmp_path / "hsi.tif"
    argv = ["-q", "reconstruct", str(folder / "msi.tif"), "--sensor", "p4m", "-o", str(out)]
    assert cli.main([*argv, "--model", str(trained / "mine")]) == 0
    with rasterio.open(out) as file:
        assert (file.count, file.height, file.width) == (40, 96, 96)


def test_the_run_leaves_its_files_and_nothing_half_written(trained: Path) -> None:
    assert sorted(path.name for path in trained.iterdir()) == [
        "checkpoint.previous.pt",
        "checkpoint.pt",
        "log.csv",
        "mine",
        "patches",
        "validation.csv",
    ]


def test_the_card_describes_the_run(folder: Path, trained: Path) -> None:
    card = (trained / "mine" / "README.md").read_text()
    digest = hashlib.sha256((trained / "mine" / "model.safetensors").read_bytes()).hexdigest()
    assert card.startswith("# mine\n")
    assert f"`{digest}`" in card
    for name in ("msi.tif", "cube", "cube.hdr", "other", "lib.npz"):
        assert f"| {name} | `{hashlib.sha256((folder / name).read_bytes()).hexdigest()}` |" in card
    assert "Split into training and validation by: blocks." in card
    assert "| line 2: msi.tif, cube |" in card
    assert "the cube was moved by +0.6" in card
    assert "| nir |" in card
    assert "rank 6" in card
    assert "--set training.steps=4" in card
    assert "| steps | 4 |" in card
    assert not [line for line in card.splitlines() if "None" in line or "nan" in line.lower()]


def test_the_facts_are_in_the_settings_of_the_model(trained: Path) -> None:
    facts = config_of(trained / "mine")
    assert load_model(trained / "mine").training == facts
    assert facts["uavssr_version"] == __version__
    assert facts["settings"]["steps"] == 4
    assert facts["settings"]["guard"] == 2
    assert facts["step"] in (2, 4)
    assert facts["init"] == ""
    assert [row["kind"] for row in facts["data"]["rows"]] == ["pair", "cube", "spectra"]
    assert [each["image"] for each in facts["figures"]] == [
        "line 2: msi.tif, cube",
        "line 3: other",
    ]
    left = facts["residual"]
    assert 0 < left["rms"] < left["worst_rms"]
    assert 400 <= left["worst_nm"] <= 1000


def test_a_library_alone_trains_on_the_default_grid(folder: Path, tmp_path: Path) -> None:
    argv = ["-q", "train", "--spectra", str(folder / "lib.npz"), "-o", str(tmp_path), *SMALL, *RANK]
    assert cli.main([*argv, "--name", "small"]) == 0
    model = load_model(tmp_path / "small")
    assert model.grid.matches(HEADWALL_NANO, tolerance=1e-3)
    (row,) = config_of(tmp_path / "small")["data"]["rows"]
    library = load_library(folder / "lib.npz", HEADWALL_NANO)
    assert (row["spectra"], row["kinds"]) == (len(library), library.counts())
    assert "new scenes simulated" in (tmp_path / "small" / "README.md").read_text()


def test_a_finished_run_writes_the_same_model_again(
    folder: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (trained / "mine" / "model.safetensors").read_bytes()
    (trained / "mine" / "model.safetensors").unlink()
    assert train(folder, trained, "--name", "mine") == 0
    assert (trained / "mine" / "model.safetensors").read_bytes() == before


def test_the_rank_may_be_chosen_from_the_data(folder: Path, tmp_path: Path) -> None:
    assert train(folder, tmp_path, rank=("--rank", "auto")) == 0
    model = load_model(tmp_path / "custom")
    assert config_of(tmp_path / "custom")["residual"]["relative"] < 0.008
    assert 6 < model.network.config.rank <= 32


def test_a_config_file_does_the_same(folder: Path, trained: Path, tmp_path: Path) -> None:
    (folder / "run.yaml").write_text(
        f"""
        pairs: pairs.csv
        out: {tmp_path / "run"}
        name: mine
        network: {{components: 3, stages: 1, width: 8, stf_width: 8, rank: 6}}
        training: {{steps: 4, size: 8, batch: 2, checkpoint: 2, prior_scenes: 20, validate: 99,
                   bags: 2, bag_pool: 4}}
        data: {{guard: 2}}
        """
    )
    argv = ["-q", "train", "--config", str(folder / "run.yaml"), "--set", "training.validate=2"]
    assert cli.main(argv) == 0
    one, two = (out / "mine" / "model.safetensors" for out in (trained, tmp_path / "run"))
    assert one.read_bytes() == two.read_bytes()


def test_a_run_may_start_from_a_model(folder: Path, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "start", name="start")
    argv = ["-q", "train", "--pairs", str(folder / "pairs.csv"), "-o", str(tmp_path / "run")]
    small = SMALL[SMALL.index("--steps") :]
    assert (
        cli.main([*argv, *small, "--init", str(model), "--set", "training.learning_rate=1e-5"]) == 0
    )
    found, before = load_model(tmp_path / "run" / "custom"), load_model(model)
    prior = found.network.config.components
    plain = replace(found.network.config, components=3, local_components=0)
    assert plain == before.network.config
    assert prior == 3 + found.network.config.local_components  # adapted to the training spectra
    assert found.network.config.local_components == 24
    torch.testing.assert_close(found.network.mixture_mean[-3:], before.network.mixture_mean)
    assert (found.network.components == before.network.components).all()
    assert config_of(tmp_path / "run" / "custom")["init"] == f"start ({before.sha256})"
    assert found.grid.name == before.grid.name


# --- refusals -------------------------------------------------------------------------------------


def test_a_bad_manifest_is_refused_with_all_its_problems(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows 37 and 38: every problem at once, exit 3."""
    write_field_cube(folder / "off", side=96, shift=(0.9, 0.0))
    path = folder / "bad.csv"
    path.write_bytes(
        b"\xef\xbb\xbfmsi;hsi;sensor\r\n../x.tif;cube;p4m\r\nmsi.tif;off;p4m\r\nmsi.tif;none;\r\n"
    )
    out = tmp_path / "run"
    assert cli.main(["-q", "train", "--pairs", str(path), "-o", str(out), *SMALL]) == 3
    message = capsys.readouterr().err.splitlines()
    assert message[0] == f"uavssr: error: {path}: 3 problems"
    assert [line[:9] for line in message[1:]] == ["  line 2:", "  line 3:", "  line 4:"]
    assert "shifted by +9.0" in message[2]
    assert not out.exists()


@pytest.mark.parametrize(
    ("argv", "code", "fact"),
    [
        (["--set", "training.stepz=1"], 2, "did you mean training.steps?"),
        (["--rank", "many"], 2, "network.rank must be a valid integer"),
        (["--precision", "fp8"], 2, "must be 'float32' or 'bf16'"),
        (["--init", "no-such-model"], 4, "no such model folder"),
        (["--config", "none.yaml"], 2, "none.yaml: no such file"),
        (["--set", "training.size=200"], 3, "no square of 204 x 204 pixels"),
        (["--set", "training.shards=3", "--device", "gpu"], 2, "unknown device"),
    ],
)
def test_wrong_options_are_one_line(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    argv: list[str],
    code: int,
    fact: str,
) -> None:
    pairs = ["--pairs", str(folder / "pairs.csv"), "-o", str(tmp_path / "run")]
    assert cli.main(["-q", "train", *pairs, *argv]) == code
    message = capsys.readouterr().err
    assert message.startswith("uavssr: error: ")
    assert fact in message


def test_data_and_a_folder_are_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train"]) == 2
    assert cli.main(["train", "-o", "x"]) == 2
    assert "data come from --pairs or from --spectra" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    assert train(folder, tmp_path / "file") == 5


@pytest.mark.parametrize("option", ["out", "name"])
def test_name_that_is_too_long_is_refused_first(folder: Path, tmp_path: Path, option: str) -> None:
    """Row 45: before any training."""
    out, name = (
        (tmp_path / ("n" * 256), "own") if option == "out" else (tmp_path / "run", "n" * 250)
    )
    with pytest.raises(OutputError, match="too long"):
        runs.run_training(RunConfig(pairs=folder / "pairs.csv", out=out, name=name))
    assert list(tmp_path.iterdir()) == []


def test_two_runs_do_not_share_a_folder(folder: Path, tmp_path: Path) -> None:
    lock = Lock.take(tmp_path / ".lock", output=tmp_path)
    try:
        run = RunConfig(out=tmp_path, pairs=folder / "pairs.csv")
        with pytest.raises(OutputError, match="another run is writing it"):
            runs.run_training(run)
    finally:
        lock.release()


def test_overlapping_splits_are_refused(folder: Path, tmp_path: Path) -> None:
    """Row 39."""
    write_field_cube(folder / "again", side=96, east=EAST + 4)
    path = folder / "leak.csv"
    path.write_text("hsi,split\ncube,train\nagain,val\n")
    assert cli.main(["-q", "train", "--pairs", str(path), "-o", str(tmp_path), *SMALL]) == 3


# --- warnings -------------------------------------------------------------------------------------


def test_a_basis_of_too_low_rank_gives_a_warning(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["train", "--pairs", str(folder / "pairs.csv"), "-o", str(tmp_path), *SMALL]
    assert cli.main([*argv, "--rank", "2", "--set", "data.share=0", "--steps", "1"]) == 0
    message = capsys.readouterr().err
    assert "! the basis of rank 2 leaves" in message
    assert "train again with --rank auto" in message
    assert "! no data are kept for validation" in message


# --- killed ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_model(
    folder: Path, trained: Path, tmp_path: Path
) -> None:
    """Row 40: kill -9 as soon as the first checkpoint stands."""
    argv = ["--pairs", str(folder / "pairs.csv"), "-o", str(tmp_path), *SMALL, *RANK]
    command = [sys.executable, "-m", "uavssr", "-q", "train", *argv, "--name", "mine"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment) as process:
        for _ in range(6000):
            if (tmp_path / "checkpoint.pt").exists() or process.poll() is not None:
                break
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert train(folder, tmp_path, "--name", "mine") == 0
    assert (tmp_path / "log.csv").read_bytes() == (trained / "log.csv").read_bytes()
    one, two = (load_model(out / "mine").network.state_dict() for out in (trained, tmp_path))
    assert all((one[key] == two[key]).all() for key in one)


def test_a_stopped_run_from_a_model_ends_with_the_same_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Gaussians added to its prior are the same each time."""
    model = tiny_model(tmp_path / "start")
    small = SMALL[SMALL.index("--steps") :]
    argv = ["-q", "train", "--pairs", str(folder / "pairs.csv"), "--init", str(model), *small]
    assert cli.main([*argv, "-o", str(tmp_path / "whole")]) == 0

    def stopping(*content: object) -> None:
        write_checkpoint(*content)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("uavssr.training.loop.write_checkpoint", stopping)
        assert cli.main([*argv, "-o", str(tmp_path / "stopped")]) == 130
    assert cli.main([*argv, "-o", str(tmp_path / "stopped")]) == 0
    one, two = (
        load_model(tmp_path / name / "custom").network.state_dict() for name in ("whole", "stopped")
    )
    assert len(one["weight"]) == 3 + 24
    assert all((one[key] == two[key]).all() for key in one)


def test_a_failed_run_leaves_no_model(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 41."""

    def failed(*_: object, **__: object) -> None:
        raise IncompleteRun("the loss became nan at step 3")

    monkeypatch.setattr(runs, "train", failed)
    assert train(folder, tmp_path) == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["patches"]
