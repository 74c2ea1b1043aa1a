"""The spectral subspace: round trips, the oracle of the SVD, and what a response's energy is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.helpers.models import GRID, P4M, tiny_library
from uavssr.model.basis import SpectralBasis, choose_rank


@pytest.fixture(scope="module")
def spectra() -> np.ndarray:
    return tiny_library().spectra.astype(float)


@pytest.fixture(scope="module")
def basis(spectra: np.ndarray) -> SpectralBasis:
    return SpectralBasis.fit(spectra, GRID, rank=6)


def test_expand_equals_mean_plus_components_times_coefficients(basis: SpectralBasis) -> None:
    maps = torch.randn(2, 6, 4, 3, generator=torch.Generator().manual_seed(0))
    kept = maps.clone()
    cube = basis.expand(maps)
    assert cube.shape == (2, 40, 4, 3)
    E, mean = basis.components.double().numpy(), basis.mean.double().numpy()
    for image, row, col in ((0, 0, 0), (1, 3, 2), (0, 2, 1)):
        expected = mean + E @ maps[image, :, row, col].double().numpy()
        np.testing.assert_allclose(cube[image, :, row, col], expected, atol=1e-5)
    assert torch.equal(maps, kept)


def test_project_undoes_expand(basis: SpectralBasis) -> None:
    maps = torch.randn(2, 6, 4, 3, generator=torch.Generator().manual_seed(1))
    found = basis.project(basis.expand(maps).flatten(2))
    torch.testing.assert_close(found, maps.flatten(2), rtol=0, atol=1e-3)


def test_project_equals_least_squares(basis: SpectralBasis, spectra: np.ndarray) -> None:
    found = basis.project(torch.as_tensor(spectra.T, dtype=torch.float32))
    E, mean = basis.components.double().numpy(), basis.mean.double().numpy()
    expected = np.linalg.lstsq(E, spectra.T - mean[:, None], rcond=None)[0]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_fitted_coefficients_are_white(basis: SpectralBasis, spectra: np.ndarray) -> None:
    found = basis.project(torch.as_tensor(spectra.T, dtype=torch.float32)).double()
    torch.testing.assert_close(found.mean(1), torch.zeros(6).double(), rtol=0, atol=1e-4)
    covariance = found @ found.T / found.shape[1]
    torch.testing.assert_close(covariance, torch.eye(6).double(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_fit_equals_the_truncated_singular_value_decomposition(
    rank: int, spectra: np.ndarray
) -> None:
    basis = SpectralBasis.fit(spectra, GRID, rank=rank)
    assert basis.rank == rank
    centred = spectra - spectra.mean(0)
    U, values, V = np.linalg.svd(centred, full_matrices=False)
    best = (U[:, :rank] * values[:rank]) @ V[:rank]  # Eckart and Young 1936
    on_grid = torch.as_tensor(spectra.T, dtype=torch.float32)
    found = basis.expand(basis.project(on_grid)[..., None])[..., 0].T.numpy()
    np.testing.assert_allclose(found, spectra.mean(0) + best, atol=2e-5)
    np.testing.assert_allclose(basis.residual, (centred - best).std(0), atol=1e-6)


def test_a_fit_of_full_rank_leaves_no_residual(spectra: np.ndarray) -> None:
    basis = SpectralBasis.fit(spectra, GRID, rank=len(GRID))
    assert basis.residual.max() < 1e-5


def test_fit_does_not_depend_on_the_order_of_the_spectra(
    basis: SpectralBasis, spectra: np.ndarray
) -> None:
    other = SpectralBasis.fit(spectra[::-1], GRID, rank=6)
    torch.testing.assert_close(other.components, basis.components, rtol=0, atol=1e-5)


def test_components_have_a_fixed_sign(basis: SpectralBasis, spectra: np.ndarray) -> None:
    """Singular vectors come with any sign; ours are positive on the whole, on every machine."""
    for rank in (3, 20):
        fitted = SpectralBasis.fit(spectra, GRID, rank=rank)
        assert (fitted.components.sum(0) > 0).all()
        torch.testing.assert_close(fitted.components[:, :3], basis.components[:, :3])


def test_extended_is_the_components_and_then_the_mean(basis: SpectralBasis) -> None:
    assert basis.extended.shape == (40, 7)
    assert torch.equal(basis.extended[:, :6], basis.components)
    assert torch.equal(basis.extended[:, 6], basis.mean)


def test_identity_takes_a_spectrum_as_its_own_coefficients(spectra: np.ndarray) -> None:
    basis = SpectralBasis.identity(GRID)
    assert basis.rank == len(GRID)
    assert not basis.residual.any()
    cube = torch.as_tensor(spectra.T, dtype=torch.float32)
    torch.testing.assert_close(basis.project(cube), cube)
    torch.testing.assert_close(basis.expand(cube[..., None])[..., 0], cube)


def test_span_share_is_one_inside_zero_outside_and_adds_in_between(basis: SpectralBasis) -> None:
    orthonormal = torch.linalg.svd(basis.extended.double())[0].float()
    inside, outside = orthonormal[:, :7].T, orthonormal[:, 7:12].T
    torch.testing.assert_close(basis.span_share(inside), torch.ones(7), rtol=0, atol=1e-5)
    torch.testing.assert_close(basis.span_share(outside), torch.zeros(5), rtol=0, atol=1e-5)
    mixed = 3 * inside[:5] + 4 * outside
    torch.testing.assert_close(basis.span_share(mixed), torch.full((5,), 9 / 25), rtol=0, atol=1e-4)


def test_span_share_of_a_response_grows_with_the_rank(spectra: np.ndarray) -> None:
    rows = torch.as_tensor(P4M.srf(GRID), dtype=torch.float32)[None]
    shares = [SpectralBasis.fit(spectra, GRID, rank=rank).span_share(rows) for rank in (2, 6, 12)]
    assert shares[0].shape == (1, 5)
    assert (shares[0] <= shares[1] + 1e-6).all()
    assert (shares[1] <= shares[2] + 1e-6).all()
    torch.testing.assert_close(SpectralBasis.identity(GRID).span_share(rows), torch.ones(1, 5))


# --- the rule that chooses a rank -----------------------------------------------------------------


def relative_residual(spectra: np.ndarray, rank: int) -> float:
    """By the singular value decomposition: RMS of what is left, over the mean."""
    centred = spectra - spectra.mean(0)
    U, values, V = np.linalg.svd(centred, full_matrices=False)
    left = centred - (U[:, :rank] * values[:rank]) @ V[:rank]
    return float(np.sqrt(np.mean(left**2)) / spectra.mean())


@pytest.mark.parametrize("residual", [0.2, 0.05, 0.02, 0.01])
def test_the_chosen_rank_is_the_smallest_that_leaves_little(
    spectra: np.ndarray, residual: float
) -> None:
    rank = choose_rank(spectra, residual=residual)
    assert relative_residual(spectra, rank) <= residual
    assert rank == 1 or relative_residual(spectra, rank - 1) > residual


def test_the_chosen_rank_has_a_limit_and_is_at_least_one(spectra: np.ndarray) -> None:
    assert choose_rank(spectra, residual=0.0, max_rank=5) == 5
    assert choose_rank(spectra, residual=1e-3, max_rank=len(GRID)) <= len(GRID)
    assert choose_rank(np.full((30, 8), 0.3)) == 1
    assert choose_rank(spectra, residual=10.0) == 1
