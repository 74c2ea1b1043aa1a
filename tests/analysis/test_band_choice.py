"""The choice of bands against all sets of bands."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from tests.helpers.models import GRID, tiny_network
from uavssr.analysis import (
    band_set_errors,
    choose_bands,
    covered_candidates,
    expected_error,
    rank_bands,
)
from uavssr.errors import InputRefused, UsageError
from uavssr.model import PGUNet, ResponseFamily, load_model
from uavssr.sensors import SENSORS, Band


@pytest.fixture(scope="module")
def released() -> PGUNet:
    return load_model("p4m-nano").network


def filters(*centres: float, fwhm: float = 20) -> list[Band]:
    return [Band(role=f"{nm:g}/{fwhm:g}", centre=nm, fwhm=fwhm) for nm in centres]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_no_set_is_better_than_the_chosen_one(released: PGUNet, seed: int, *, known: bool) -> None:
    """Of 8 candidates 3: the best set of all 56."""
    centres = np.random.default_rng(seed).choice(np.arange(420, 930, 10), 8, replace=False)
    errors = band_set_errors(released, filters(*centres.tolist()), known=known)
    value = {
        pair | {third}: float(errors.criterion(sorted(pair))[third])
        for pair in map(frozenset, combinations(range(8), 2))
        for third in set(range(8)) - pair
    }
    choice = choose_bands(errors, 3)
    assert value[frozenset(choice.chosen)] == pytest.approx(min(value.values()), rel=1e-9)
    assert min(value.values()) <= value[frozenset(choice.greedy)]


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


@pytest.mark.parametrize("known", [True, False])
def test_expected_error_is_that_of_images_by_random_cameras(
    released: PGUNet, *, known: bool
) -> None:
    """Responses, spectra, noise and what the basis cannot represent are drawn, each as it is."""
    torch.manual_seed(0)
    sensor, mixture, basis = SENSORS["p4m"], released.mixture, released.basis
    errors = band_set_errors(released, sensor.bands, known=known)
    family, squares = ResponseFamily.of(sensor, released.grid), []
    root = torch.linalg.cholesky(mixture.covariance)
    for _ in range(100):
        change = torch.zeros_like(family.spread) if known else torch.randn_like(family.spread)
        rows = family.rows(family.prior + family.spread * change)[0]
        k = torch.multinomial(mixture.weight, 100, replacement=True)
        own = (root[k] @ torch.randn(100, basis.rank, 1))[..., 0]
        clean = basis.expand((mixture.mean[k] + own).T[..., None])[..., 0]
        spectra = clean + basis.residual[:, None] * torch.randn_like(clean)
        image = rows @ spectra
        image = image + torch.hypot(torch.tensor(0.004), 0.02 * image) * torch.randn_like(image)
        seen = errors.seen
        mean, _ = mixture.posterior(image[None], seen.mixing, seen.offset, seen.component_noise)
        squares.append((basis.expand(mean[..., None])[0, ..., 0] - spectra).square().mean())
    expected = expected_error(errors, range(5))
    assert float(torch.stack(squares).mean().sqrt()) == pytest.approx(expected.rmse, rel=0.1)


@pytest.mark.parametrize("count", [0, 4])
def test_count_beyond_the_candidates_is_refused(count: int) -> None:
    errors = band_set_errors(tiny_network(), filters(500, 600, 700), known=True)
    with pytest.raises(UsageError, match=rf"--count is {count}; give 1 to 3"):
        choose_bands(errors, count)
