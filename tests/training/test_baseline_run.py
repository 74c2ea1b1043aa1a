"""`uavssr train --arch`: networks of others, for one camera, stopped, resumed and loaded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.grounds import write_field_cube, write_image
from tests.helpers.models import GRID, P4M, tiny_library, tiny_msi
from uavssr import cli
from uavssr.data import TrainingData, TrainingPatches
from uavssr.errors import InputRefused, ModelRefused, UsageError
from uavssr.evaluation.baselines import BASELINES, CameraImage, FitSettings, load_baseline
from uavssr.model import load_model
from uavssr.sensors import load_sensor
from uavssr.spectra import load_library
from uavssr.training import RunConfig, TrainingConfig, train_baseline

SMALL = TrainingConfig(steps=4, batch=1, size=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair of a P4M's image and a cube, a library, and the manifest of both."""
    folder = tmp_path_factory.mktemp("field")
    write_image(folder / "msi.tif", side=96)
    write_field_cube(folder / "cube", side=96, shift=(0.06, 0.04), degrees=True, pixel=0.13)
    tiny_library().save(folder / "lib.npz")
    rows = "msi.tif,cube,,p4m,2\n,lib.npz,spectra,,1\n"
    (folder / "pairs.csv").write_text(f"msi,hsi,kind,sensor,weight\n{rows}")
    return folder


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a network trained from the manifest, by the command line."""
    out = tmp_path_factory.mktemp("run")
    words = ["--steps", "3", "--set", "training.size=8", "--set", "training.batch=2"]
    words += ["--set", "data.guard=2", "--name", "mine", "-o", str(out)]
    words += ["--pairs", str(folder / "pairs.csv"), "--arch", "mst++", "--sensor", "p4m"]
    assert cli.main(["-q", "train", *words]) == 0
    return out / "mine"


def run(folder: Path, out: Path, **more: object) -> RunConfig:
    settings = {"spectra": folder / "lib.npz", "arch": "mst++", "sensor": "p4m", "training": SMALL}
    return RunConfig(out=out, **(settings | more))


def test_manifest_becomes_a_network_that_predicts(trained: Path) -> None:
    model = load_baseline(trained)
    assert (model.name, model.method.name, model.sensor.name) == ("mine", "mst++", "p4m")
    assert model.training["real_pairs"] == 1
    assert model.fitted.steps == 3
    image = CameraImage(msi=tiny_msi(P4M, 12, 10)[0].numpy(), family=model.family)
    cube = model.fitted.predict(image).cube
    assert cube.shape == (len(model.grid), 12, 10)
    assert np.isfinite(cube).all()
    card = (trained / "README.md").read_text()
    assert "--arch mst++" in card
    assert "pairs, 1 are of this camera" in card


def test_reconstruct_refuses_it_in_one_line(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["examples/field.tif", "--model", str(trained), "-o", str(tmp_path / "c.tif")]
    assert cli.main(["reconstruct", *words]) == ModelRefused.exit_code
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "is a network of the kind mst++" in error
    assert "load_baseline" in error
    with pytest.raises(ModelRefused, match="load_baseline"):
        load_model(trained)


def test_stopped_training_goes_on_to_the_same_weights(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_baseline(run(folder, tmp_path / "whole"))

    def stop_at_three(text: str, done: int, total: int) -> None:
        steps.append(done)
        if len(steps) == 3:
            raise KeyboardInterrupt

    steps: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        train_baseline(run(folder, tmp_path / "b"), step_progress=stop_at_three)
    train_baseline(run(folder, tmp_path / "b"), step_progress=lambda *_: steps.append(1))
    assert len(steps) == 3 + 2  # the last checkpoint is that of step 2
    weights = [(tmp_path / out / "custom/model.safetensors").read_bytes() for out in ("whole", "b")]
    assert weights[0] == weights[1]


def test_other_settings_or_a_damaged_checkpoint_are_refused(folder: Path, tmp_path: Path) -> None:
    short = replace(SMALL, steps=1)
    train_baseline(run(folder, tmp_path, training=short))
    with pytest.raises(UsageError, match=r"other settings: training\.seed"):
        train_baseline(run(folder, tmp_path, training=replace(short, seed=1)))
    (tmp_path / "mst++.checkpoint.pt").write_bytes(b"PK")
    with pytest.raises(InputRefused, match="checkpoint is damaged"):
        train_baseline(run(folder, tmp_path, training=short))


@pytest.mark.parametrize(
    ("settings", "fact"),
    [
        ({"arch": "mst"}, "no network 'mst'"),
        ({"arch": "ridge"}, "no network 'ridge'"),
        ({"sensor": None}, "tied to the bands of one camera"),
        ({"arch": "pgunet"}, "--sensor has no effect"),
        ({"training": replace(SMALL, warmup=3)}, r"training\.warmup has no effect on mst\+\+"),
        ({"init": "p4m-nano"}, "init has no effect"),
        ({"log": "tensorboard"}, "log has no effect"),
    ],
)
def test_settings_that_do_not_apply_are_refused(
    folder: Path, tmp_path: Path, settings: dict[str, object], fact: str
) -> None:
    with pytest.raises(UsageError, match=fact):
        run(folder, tmp_path, **settings)


@pytest.mark.parametrize("name", ["config.json", "camera.yaml", "model.safetensors"])
def test_damaged_folder_is_refused(trained: Path, tmp_path: Path, name: str) -> None:
    for file in trained.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(ModelRefused):
        load_baseline(tmp_path)


def test_network_of_later_versions_is_refused(trained: Path, tmp_path: Path) -> None:
    for file in trained.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text()) | {"arch": "mst+++"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelRefused, match=r"no network 'mst\+\+\+'"):
        load_baseline(tmp_path)


def patches(library: Path, **more: bool) -> TrainingPatches:
    data = TrainingData.of(load_library(library, GRID))
    return TrainingPatches(data=data, sensor=load_sensor("p4m"), size=8, **more)


def test_draws_follow_from_their_seed(folder: Path) -> None:
    sampler = patches(folder / "lib.npz")
    first, same, other = (sampler.draw([0, step], 3) for step in (5, 5, 6))
    assert torch.equal(first.msi, same.msi)
    assert not torch.equal(first.msi, other.msi)
    assert first.msi.shape == (3, len(P4M), 8, 8)
    msi, hsi = sampler.pixels(0, 100)
    assert (msi.shape, hsi.shape) == ((100, len(P4M)), (100, len(GRID)))


def test_network_that_is_given_the_response_is_trained_with_it(folder: Path) -> None:
    sampler = patches(folder / "lib.npz", known_response=True)
    fitted = BASELINES["dian"].fit(sampler, FitSettings(steps=1, batch=1))
    rows = sampler.draw([0, 0], 1).rows[0].numpy()
    image = CameraImage(msi=tiny_msi(P4M, 8, 8)[0].numpy(), family=sampler.family, rows=rows)
    assert fitted.predict(image).cube.shape == (len(GRID), 8, 8)
