"""The tables of docs/accuracy.md: every estimator sees the same image, and knows what it says."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from tests.helpers.models import P4M, tiny_library, tiny_network, tiny_scene
from uavssr.evaluation.metrics import rmse
from uavssr.evaluation.protocol import Figures, Judged, draw_image, gap_closed, judge, table
from uavssr.evaluation.ridge import fit_ridge

NETWORK = tiny_network(asleep=True)
RIDGE = fit_ridge(tiny_library(), P4M, seed=0, scenes=20, size=8)


@cache
def judged(seed: int = 3) -> Judged:
    return judge(NETWORK, RIDGE, tiny_scene(28, 28, seed=5), P4M, seed)


def error(name: str) -> float:
    return next(each.rmse for each in judged().figures if each.estimator == name)


def test_every_estimator_is_judged_with_every_knowledge() -> None:
    names = [each.estimator for each in judged().figures]
    known = ["data sheet", "data sheet doubted", "blind", "50 known pixels, R alone", "true R"]
    expected = ["ridge", "ridge, 50 known pixels"]
    expected += [f"{each}, {knowledge}" for each in ("mixture", "network") for knowledge in known]
    assert names == [*expected, "network, 50 known pixels"]


def test_ridge_is_that_of_the_image() -> None:
    cube = tiny_scene(28, 28, seed=5)
    image, _ = draw_image(cube, P4M, NETWORK, 3)
    flat = image[0].flatten(1).numpy()
    assert error("ridge") == pytest.approx(rmse(RIDGE(flat), cube.reshape(len(cube), -1)))


def test_what_known_pixels_tell_helps() -> None:
    alone, taught = error("network, 50 known pixels, R alone"), error("network, 50 known pixels")
    assert taught < alone
    found = judged()
    assert np.sqrt(np.mean(found.paired.gain**2)) < np.sqrt(np.mean(found.blind.nominal_gain**2))
    assert 0.5 < found.taught_interval <= 1
    assert 0.5 < found.interval <= 1


def test_gap_is_the_share_of_what_the_true_stf_wins() -> None:
    errors = {"blind": 0.03, "true R": 0.02, "data sheet": 0.06}
    rows = [
        Figures(estimator=f"network, {name}", rmse=value, sam=0.0, round_trip=0.0)
        for name, value in errors.items()
    ]
    assert gap_closed(rows, "network, blind") == pytest.approx(0.75)


def test_table_is_of_means_over_images() -> None:
    first, second = judged(3).figures, judged(4).figures
    rows = {name: values for name, *values in table([first, second])}
    blind = [next(f for f in each if f.estimator == "network, blind") for each in (first, second)]
    bases = [each[0] for each in (first, second)]
    assert rows["network, blind"][0] == pytest.approx(np.mean([f.rmse for f in blind]))
    ratio = np.mean([f.rmse / base.rmse for f, base in zip(blind, bases, strict=True)])
    assert rows["network, blind"][1] == pytest.approx(ratio)
