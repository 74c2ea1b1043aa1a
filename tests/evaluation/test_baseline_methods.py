"""What every compared method must keep to, on tiny data."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from torch import Tensor, nn

from tests.helpers.patches import SIDE, tiny_patches
from uavssr.data import Batch
from uavssr.errors import IncompleteRun
from uavssr.evaluation.baselines import (
    BASELINES,
    CameraImage,
    FitSettings,
    FittedMethod,
    fit_network,
)


@cache
def fitted(name: str, seed: int = 0) -> FittedMethod:
    return BASELINES[name].fit(tiny_patches(), FitSettings(seed=seed, steps=2))


def image(*, rows: bool) -> CameraImage:
    data = tiny_patches()
    batch = data.validation()
    true = batch.rows[0].numpy() if rows else None
    return CameraImage(msi=batch.msi[0].numpy(), family=data.family, rows=true)


def known(name: str) -> CameraImage:
    return image(rows=BASELINES[name].knows == "true response")


@pytest.mark.parametrize("name", BASELINES)
def test_cube_is_finite_float32_of_the_grid(name: str) -> None:
    data = tiny_patches()
    cube = fitted(name).predict(known(name)).cube
    assert cube.shape == (len(data.grid), SIDE, SIDE)
    assert cube.dtype == np.float32
    assert np.isfinite(cube).all()


@pytest.mark.parametrize("name", BASELINES)
def test_stf_is_of_the_camera_s_bands_where_one_is_estimated(name: str) -> None:
    data, rows = tiny_patches(), fitted(name).predict(known(name)).rows
    if rows is not None:
        assert rows.shape == (data.bands, len(data.grid))
        assert rows.dtype == np.float32
        assert np.isfinite(rows).all()


@pytest.mark.parametrize("name", BASELINES)
def test_second_fit_with_the_same_seed_predicts_the_same(name: str) -> None:
    again = BASELINES[name].fit(tiny_patches(), FitSettings(seed=0, steps=2))
    first, second = (method.predict(known(name)) for method in (fitted(name), again))
    assert np.array_equal(first.cube, second.cube)
    assert (first.rows is None) == (second.rows is None)
    if first.rows is not None:
        assert np.array_equal(first.rows, second.rows)


@pytest.mark.parametrize("name", BASELINES)
def test_true_response_changes_the_prediction_only_where_it_is_known(name: str) -> None:
    true = image(rows=True)
    wrong = replace(true, rows=np.roll(true.rows, 1, axis=0))
    first, second = (fitted(name).predict(each).cube for each in (true, wrong))
    assert np.array_equal(first, second) == (BASELINES[name].knows != "true response")


@pytest.mark.parametrize("name", BASELINES)
def test_data_sheet_of_an_image_changes_the_prediction_only_where_it_is_known(name: str) -> None:
    true = known(name)
    family = replace(true.family, curves=true.family.curves.flip(1))
    first, second = (
        fitted(name).predict(replace(true, family=each)).cube for each in (true.family, family)
    )
    assert np.array_equal(first, second) == (BASELINES[name].knows != "data sheet")


@pytest.mark.parametrize("name", BASELINES)
def test_method_says_what_it_follows(name: str) -> None:
    assert BASELINES[name].name == name
    assert BASELINES[name].reference


def test_training_ends_at_a_gradient_that_is_not_finite() -> None:
    """No step is left out without a word."""
    data = tiny_patches()
    network = nn.Conv2d(data.bands, len(data.grid), 1)

    def loss(_: nn.Module, batch: Batch, step: int) -> Tensor:
        value = network(batch.msi).square().mean()
        return value * float("inf") if step == 1 else value

    def predict(model: nn.Module, batch: Batch) -> Tensor:
        cube: Tensor = model(batch.msi)
        return cube

    with pytest.raises(IncompleteRun, match=r"the gradient became (inf|nan) at step 1"):
        fit_network(network, data, FitSettings(seed=0, steps=3), loss=loss, predict=predict)
