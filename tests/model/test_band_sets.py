"""Expected errors of sets of bands against each other and against drawn spectra."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
import torch
from torch import Tensor

from tests.helpers.models import CONFIG, expected_stf, tiny_network
from uavssr.model.band_sets import BandSetErrors

SETS = [chosen for size in range(4) for chosen in combinations(range(5), size)]


def errors_of(components: int, wavelengths: list[int] | None = None) -> BandSetErrors:
    network = tiny_network(replace(CONFIG, components=components))
    seen = network.observation_model(expected_stf())
    return BandSetErrors.of(seen, network.basis, network.mixture, wavelengths)


def draw(errors: BandSetErrors, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Components (count,), coefficients (count, r) and images (count, n) of drawn spectra."""
    torch.manual_seed(1)
    k = torch.multinomial(errors.told.share, count, replacement=True)
    root = torch.linalg.cholesky(errors.told.covariance)
    normal = torch.randn(count, root.shape[-1], dtype=torch.float64)
    spectra = errors.mixture.mean.double()[k] + (root[k] @ normal[..., None])[..., 0]
    clean = spectra @ errors.told.mixing.T + errors.seen.offset[0].double()
    return k, spectra, clean + errors.told.noise[k].sqrt() * torch.randn_like(clean)


def regression_error(errors: BandSetErrors, image: Tensor, spectra: Tensor) -> float:
    """Mean square error at the wavelengths of the least-squares line from image to spectra."""
    known = torch.cat([image, torch.ones_like(image[:, :1])], 1)
    left = spectra - known @ torch.linalg.lstsq(known, spectra).solution
    return float((left @ errors.told.weight * left).sum(1).mean()) + errors.told.outside


@pytest.mark.parametrize("components", [1, 3])
def test_error_with_each_band_is_that_of_the_larger_set(components: int) -> None:
    errors = errors_of(components)
    for of in (errors.told, errors.linear):
        for chosen in SETS:
            others = [band for band in range(5) if band not in chosen]
            expected = [of.error([*chosen, band]) for band in others]
            assert of.errors_with_each(chosen)[others].tolist() == pytest.approx(expected)
            assert max(expected) < of.error(chosen)


def test_bounds_are_the_errors_of_regressions_on_drawn_spectra() -> None:
    errors = errors_of(3)
    k, spectra, image = draw(errors, 60_000)
    for chosen in ([2], [0, 3], [0, 1, 2, 3, 4]):
        part, total = image[:, chosen], 0.0
        for each in range(3):
            own = k == each
            total += float(own.double().mean()) * regression_error(errors, part[own], spectra[own])
        assert errors.told.error(chosen) == pytest.approx(total, rel=0.03)
        linear = regression_error(errors, part, spectra)
        assert errors.linear.error(chosen) == pytest.approx(linear, rel=0.03)


def test_error_of_one_gaussian_has_a_closed_form() -> None:
    errors = errors_of(1, [3, 4, 5])
    for chosen in ([], [1], [0, 2, 4]):
        low, high = errors.bounds(chosen)
        assert low == pytest.approx(high)
        if chosen:
            rmse, rmse_se = errors.simulated(chosen, count=20_000)
            assert abs(rmse - low) < 4 * rmse_se


def test_error_of_the_mixture_lies_between_the_bounds() -> None:
    errors = errors_of(3)
    for chosen in ([2], [0, 3], [0, 1, 2, 3, 4]):
        low, high = errors.bounds(chosen)
        rmse, rmse_se = errors.simulated(chosen, count=20_000)
        assert low - 4 * rmse_se < rmse < high + 4 * rmse_se
        assert low < high
