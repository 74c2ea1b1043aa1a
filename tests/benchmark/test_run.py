"""Runs of a benchmark: resumed and repeated ones give the same records; nobody sees the truth."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.patches import tiny_patches
from uavssr.benchmark import Case, HeldOutImage, RunRecord, read_record
from uavssr.benchmark.pgunet_method import PGUNET
from uavssr.benchmark.run import RunPlace, run_method
from uavssr.benchmark.score import score
from uavssr.data import Batch, PatchSampler
from uavssr.evaluation.baselines import (
    BASELINES,
    CameraImage,
    CameraKnowledge,
    FitSettings,
    FittedMethod,
    Method,
    Prediction,
    cube_loss,
)
from uavssr.model import PGUNetConfig

SMALL = replace(PGUNET, sizes=PGUNetConfig(rank=4, components=2, stages=1, width=8, stf_width=8))
STEPS = 12


def small_case() -> Case:
    """Two images of new ground."""
    data = tiny_patches()
    batch = data.draw([99], 2)
    assert batch.rows is not None
    images = tuple(
        HeldOutImage(
            scene=f"scene {k}",
            camera="camera",
            image=CameraImage(msi=msi.numpy(), family=data.family, rows=rows.numpy()),
            cube=cube.numpy(),
        )
        for k, (msi, rows, cube) in enumerate(zip(batch.msi, batch.rows, batch.hsi, strict=True))
    )
    return Case(name="small", title="Small", training=data, tests={"new": images})


def place(folder: Path, method: Method) -> RunPlace:
    return RunPlace(folder=folder, case="small", method=method.name, seed=1)


def run(folder: Path, method: Method, case: Case | None = None) -> RunRecord:
    where = place(folder, method)
    run_method(case or small_case(), method, where, FitSettings(seed=1, steps=STEPS))
    return read_record(where.file(".json"))


@dataclass(frozen=True, eq=False)
class Interrupted:
    """Training patches that end with an error at a step, as a killed process does."""

    data: PatchSampler
    last: int

    def __getattr__(self, name: str) -> object:
        return getattr(self.data, name)

    def draw(self, seed: list[int], count: int, *, size: int | None = None) -> Batch:
        if seed[1:2] == [self.last]:
            raise KeyboardInterrupt
        return self.data.draw(seed, count, size=size)


@pytest.mark.parametrize("method", [SMALL, BASELINES["mst++"]], ids=lambda method: method.name)
def test_resumed_training_gives_the_record_of_an_uninterrupted_one(
    tmp_path: Path, method: Method
) -> None:
    whole = run(tmp_path / "whole", method)
    case = small_case()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "resumed", method, replace(case, training=Interrupted(case.training, 7)))
    assert place(tmp_path / "resumed", method).file(".pt").is_file()
    resumed = run(tmp_path / "resumed", method)
    assert resumed.images == whole.images
    assert [point.rmse for point in resumed.curve] == [point.rmse for point in whole.curve]
    assert not place(tmp_path / "resumed", method).file(".pt").exists()


@dataclass(frozen=True, kw_only=True)
class Looker(Method):
    """A method that notes what it was shown."""

    seen: list[bool] = field(default_factory=list)

    def fit(self, data: PatchSampler, settings: FitSettings) -> FittedMethod:
        assert settings.steps == STEPS
        return FittedLooker(self.seen, len(data.grid))


class FittedLooker(FittedMethod):
    def __init__(self, seen: list[bool], bands: int) -> None:
        self.seen, self.bands = seen, bands

    def predict(self, image: CameraImage) -> Prediction:
        self.seen.append(image.rows is not None)
        return Prediction(cube=np.ones((self.bands, *image.msi.shape[1:]), np.float32))


@pytest.mark.parametrize("knows", ["nothing", "data sheet", "true response"])
def test_true_response_is_shown_to_methods_alone_that_are_told(
    tmp_path: Path, knows: CameraKnowledge
) -> None:
    method = Looker(name="looker", knows=knows)
    run(tmp_path, method)
    assert method.seen == [knows == "true response"] * 2


def test_variants_have_records_of_their_own(tmp_path: Path) -> None:
    run(tmp_path, SMALL)
    known = read_record(place(tmp_path, SMALL).file(".json", variant="true response"))
    assert known.method == "pgunet, true response"
    assert known.knows == "true response"
    assert all(image.stf_relative is None for image in known.images)


def test_true_cube_and_true_response_have_no_error() -> None:
    case = small_case()
    held_out = case.tests["new"][0]
    rows = held_out.image.rows
    perfect = score("new", held_out, Prediction(cube=held_out.cube, rows=rows), case.training.grid)
    assert (perfect.rmse, perfect.mrae, perfect.mrae_no_epsilon, perfect.ergas) == (0, 0, 0, 0)
    assert perfect.sam == pytest.approx(0, abs=0.03)  # of float32
    assert (perfect.stf_relative, perfect.stf_centre_nm) == (0, 0)
    assert perfect.psnr is None  # infinite


def test_factor_on_the_response_changes_its_relative_error_alone() -> None:
    case = small_case()
    held_out = case.tests["new"][0]
    rows = held_out.image.rows
    assert rows is not None
    scaled = Prediction(cube=held_out.cube * np.float32(1.1), rows=1.1 * rows)
    errors = score("new", held_out, scaled, case.training.grid)
    assert errors.stf_relative == pytest.approx(0.1)
    assert errors.stf_shape == pytest.approx(0, abs=1e-6)
    assert errors.stf_centre_nm == pytest.approx(0, abs=1e-4)
    assert errors.mrae_no_epsilon == pytest.approx(0.1, rel=1e-4)


def test_only_the_inner_part_counts_with_a_crop() -> None:
    case = small_case()
    held_out = replace(case.tests["new"][0], crop=2)
    cube = held_out.cube.copy()
    cube[:, :2] = cube[:, -2:] = 9
    cube[..., :2] = cube[..., -2:] = 9
    assert score("new", held_out, Prediction(cube=cube), case.training.grid).rmse == 0


def test_stages_are_chosen_on_validation_patches() -> None:
    data = tiny_patches()
    fitted = SMALL.fit(data, FitSettings(seed=1, steps=STEPS))
    checks = data.validation()
    losses = {}
    for use in (fitted.variants["no stages"], fitted.variants["all stages"], fitted):
        cubes = [
            use.predict(CameraImage(msi=msi.numpy(), family=checks.family.of_camera(k))).cube
            for k, msi in enumerate(checks.msi)
        ]
        estimate = torch.from_numpy(np.stack(cubes)).flatten(2)
        losses[use] = float(cube_loss(estimate, checks.hsi.flatten(2)))
    assert losses[fitted] == pytest.approx(min(losses.values()), rel=1e-4)
