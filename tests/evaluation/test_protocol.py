"""The accuracy protocol: every estimator gets the same image and the STF that its name says."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from tests.helpers.models import P4M, tiny_library, tiny_network, tiny_scene
from uavssr.evaluation import protocol
from uavssr.evaluation.metrics import rmse
from uavssr.evaluation.protocol import CubeErrors, ImageResult, gap_closed, mean_errors
from uavssr.evaluation.ridge import fit_ridge

REFERENCES = "50 reference spectra"
NETWORK = tiny_network(asleep=True)
RIDGE = fit_ridge(tiny_library(), P4M, seed=0, scenes=20, size=8)


@cache
def result(seed: int = 3) -> ImageResult:
    return protocol.run_protocol(NETWORK, RIDGE, tiny_scene(28, 28, seed=5), P4M, seed)


def error(name: str) -> float:
    return next(cube.rmse for cube in result().cubes if cube.estimator == name)


def test_every_estimator_runs_with_every_stf() -> None:
    names = [cube.estimator for cube in result().cubes]
    stfs = ["data sheet", "uncertain data sheet", "blind", "references to 700 nm"]
    stfs += [f"{REFERENCES}, R alone", "true R"]
    expected = ["ridge", f"ridge, {REFERENCES}"]
    expected += [f"{estimator}, {stf}" for estimator in ("mixture", "network") for stf in stfs]
    expected += [f"network, {REFERENCES}"]
    known = ("blind", "references to 700 nm")
    assert names == [*expected, *(f"network, {what}, with a common factor" for what in known)]


def test_ridge_is_that_of_the_image() -> None:
    cube = tiny_scene(28, 28, seed=5)
    image, _ = protocol.draw_image(cube, P4M, NETWORK, 3)
    flat = image[0].flatten(1).numpy()
    assert error("ridge") == pytest.approx(rmse(RIDGE(flat), cube.reshape(len(cube), -1)))


def test_reference_pixels_lower_the_error() -> None:
    assert error(f"network, {REFERENCES}") < error(f"network, {REFERENCES}, R alone")
    errors = result()
    assert np.sqrt(np.mean(errors.paired.gain**2)) < np.sqrt(np.mean(errors.nominal.gain**2))
    assert 0.5 < errors.corrected_coverage <= 1
    assert 0.5 < errors.coverage <= 1
    assert 0.5 < errors.partial_coverage <= 1


def test_gap_is_the_share_of_the_benefit_of_the_true_stf() -> None:
    errors = {"blind": 0.03, "true R": 0.02, "data sheet": 0.06}
    rows = [
        CubeErrors(estimator=f"network, {name}", rmse=value, sam=0.0, round_trip=0.0)
        for name, value in errors.items()
    ]
    assert gap_closed(rows, "network, blind") == pytest.approx(0.75)


def test_table_is_of_means_over_images() -> None:
    images = [result(3).cubes, result(4).cubes]
    rows = mean_errors(images)
    blind = [cube.rmse for cubes in images for cube in cubes if cube.estimator == "network, blind"]
    assert rows["network, blind"][0] == pytest.approx(np.mean(blind))
    ratio = np.mean([error / cubes[0].rmse for error, cubes in zip(blind, images, strict=True)])
    assert rows["network, blind"][1] == pytest.approx(ratio)
