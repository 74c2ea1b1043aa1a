"""Metrics against their formulas and cases that are known, and the baseline's closed form."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.models import GRID, P4M, tiny_library
from uavssr.evaluation.metrics import rmse, sam, stf_error
from uavssr.evaluation.ridge import fit_ridge, ridge_maps


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_rmse_equals_its_formula(rng: np.random.Generator) -> None:
    one, two = rng.random((7, 20)), rng.random((7, 20))
    total = sum((one[c, n] - two[c, n]) ** 2 for c in range(7) for n in range(20))
    assert rmse(one, two) == pytest.approx(np.sqrt(total / 140), rel=1e-12)


def test_rmse_of_an_offset_is_the_offset_in_any_type() -> None:
    cube = np.full((5, 30), 0.25, np.float32)
    assert rmse(cube, cube) == 0
    assert rmse(cube + np.float32(0.125), cube) == pytest.approx(0.125)
    big = np.full((1, 10), 60000, np.uint16)
    assert rmse(big, np.zeros_like(big)) == 60000  # no overflow


def test_sam_of_scaled_spectra_is_zero(rng: np.random.Generator) -> None:
    cube = rng.uniform(0.1, 1, (7, 20))
    assert sam(cube, cube * rng.uniform(0.2, 3, 20)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("one", "two", "angle"),
    [
        ([1, 0, 0], [0, 2, 0], 90),
        ([1, 1, 0], [1, 0, 0], 45),
        ([1, 0, 0], [-3, 0, 0], 180),
        ([1, 0, 0], [np.sqrt(3), 1, 0], 30),
    ],
)
def test_sam_of_known_spectra_is_their_angle(
    one: list[float], two: list[float], angle: float
) -> None:
    first, second = np.array(one, float)[:, None], np.array(two, float)[:, None]
    assert sam(first, second) == pytest.approx(angle, abs=1e-5)
    assert sam(second, first) == pytest.approx(angle, abs=1e-5)


def test_sam_is_the_mean_of_the_pixels_angles(rng: np.random.Generator) -> None:
    one, two = rng.random((7, 20)), rng.random((7, 20))
    angles = []
    for a, b in zip(one.T, two.T, strict=True):
        angles.append(np.degrees(np.arccos(a @ b / np.sqrt((a @ a) * (b @ b)))))
    assert sam(one, two) == pytest.approx(np.mean(angles), rel=1e-10)


def test_sam_leaves_black_pixels_out() -> None:
    one = np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    two = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    assert sam(one, two) == pytest.approx(45)


def test_stf_error_is_relative_to_the_reference(rng: np.random.Generator) -> None:
    reference = rng.random((5, 40))
    assert stf_error(reference, reference) == 0
    assert stf_error(1.1 * reference, reference) == pytest.approx(0.1)
    assert stf_error(reference, 1.25 * reference) == pytest.approx(0.2)
    estimate = rng.random((5, 40))
    squares = ((estimate - reference) ** 2).sum() / (reference**2).sum()
    assert stf_error(estimate, reference) == pytest.approx(np.sqrt(squares))


# --- the baseline ---------------------------------------------------------------------------------


def test_ridge_equals_augmented_least_squares(rng: np.random.Generator) -> None:
    inputs = np.hstack([rng.random((50, 5)), np.ones((50, 1))])
    targets = rng.random((50, 8))
    penalty = 0.03 * np.mean(inputs[:, :-1] ** 2)
    augmented = np.vstack([inputs / np.sqrt(50), np.sqrt(penalty) * np.eye(6)[:5]])
    right = np.vstack([targets / np.sqrt(50), np.zeros((5, 8))])
    expected = np.linalg.lstsq(augmented, right, rcond=None)[0]
    (found,) = ridge_maps(inputs[:, :-1], targets, [0.03])
    np.testing.assert_allclose(found.weights.T, expected, rtol=1e-8)


def test_fitted_ridge_is_better_than_the_mean_spectrum_and_repeatable() -> None:
    library = tiny_library()
    found = fit_ridge(library, P4M, seed=3, scenes=20, size=8)
    again = fit_ridge(library, P4M, seed=3, scenes=20, size=8)
    np.testing.assert_array_equal(found.weights, again.weights)
    assert found.weights.shape == (len(GRID), len(P4M) + 1)
    spectra = library.spectra.T.astype(float)
    image = (P4M.srf(GRID) @ spectra).astype(np.float32)
    constant = np.broadcast_to(spectra.mean(1, keepdims=True), spectra.shape)
    assert rmse(found(image), spectra) < 0.35 * rmse(constant, spectra)
