"""The choice of bands against all sets of bands."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from tests.helpers.models import GRID, tiny_network
from uavssr.analysis import band_set_errors, choose_bands, covered_candidates, rank_bands
from uavssr.errors import InputRefused, UsageError
from uavssr.model import PGUNet, load_model
from uavssr.sensors import SENSORS, Band


@pytest.fixture(scope="module")
def released() -> PGUNet:
    return load_model("p4m-nano").network


def filters(*centres: float, fwhm: float = 20) -> list[Band]:
    return [Band(role=f"{nm:g}/{fwhm:g}", centre=nm, fwhm=fwhm) for nm in centres]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_no_set_is_better_than_the_chosen_one(released: PGUNet, seed: int, *, known: bool) -> None:
    """Of 8 candidates 3: exchange ends at the best set of all 56, or within 1 % of its error."""
    centres = np.random.default_rng(seed).choice(np.arange(420, 930, 10), 8, replace=False)
    errors = band_set_errors(released, filters(*centres.tolist()), known=known)
    value = {
        pair | {third}: float(errors.criterion(sorted(pair))[third])
        for pair in map(frozenset, combinations(range(8), 2))
        for third in set(range(8)) - pair
    }
    choice = choose_bands(errors, 3)
    assert value[frozenset(choice.chosen)] ** 0.5 < 1.01 * min(value.values()) ** 0.5
    assert value[frozenset(choice.chosen)] <= value[frozenset(choice.greedy)] * (1 + 1e-9)
    chosen = set(choice.greedy)
    for left_out, added in choice.exchanges:
        chosen = chosen - {left_out} | {added}
    assert chosen == set(choice.chosen)


def test_more_candidates_than_bands_of_a_sensor_are_each_itself() -> None:
    network, bands = tiny_network(), filters(*np.linspace(450, 950, 70).round(1).tolist())
    errors = band_set_errors(network, bands, known=False)
    for band in (0, 63, 64, 69):
        alone = band_set_errors(network, bands[band : band + 1], known=False)
        assert errors.told.error([band]) == pytest.approx(alone.told.error([0]))


def test_candidates_outside_the_wavelengths_are_named() -> None:
    bands = filters(500, 1020, 700)
    covered, left_out = covered_candidates(bands, GRID)
    assert [band.role for band in covered] == ["500/20", "700/20"]
    assert left_out == ("1020/20",)
    with pytest.raises(InputRefused, match=r"400-1000 nm; give other candidates"):
        rank_bands(tiny_network(), filters(1020), count=1)


def test_ranking_compares_sets_and_cameras_on_one_scale() -> None:
    network, p4m = tiny_network(), SENSORS["p4m"]
    cameras = [p4m, SENSORS["sentinel2"]]
    ranking = rank_bands(network, p4m.bands, count=5, cameras=cameras)
    for ranked, name in ((ranking.known, "known"), (ranking.unknown, "unknown")):
        assert ranked.errors == ranking.cameras["p4m"]
        rmses = [step.rmse for step in ranked.steps]
        assert rmses == sorted(rmses, reverse=True)
        assert ranked.steps[-1].at_least == pytest.approx(getattr(ranked.errors, name).at_least)
    assert ranking.known.errors.known.rmse < ranking.known.errors.unknown.rmse
    assert ranking.cameras["sentinel2"].known.at_most < ranking.cameras["p4m"].known.at_most


@pytest.mark.parametrize("count", [0, 4])
def test_count_beyond_the_candidates_is_refused(count: int) -> None:
    errors = band_set_errors(tiny_network(), filters(500, 600, 700), known=True)
    with pytest.raises(UsageError, match=rf"--count is {count}; give 1 to 3"):
        choose_bands(errors, count)
