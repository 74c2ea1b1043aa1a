"""Laws of the compared methods that are closed forms, against independent formulas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from tests.helpers.patches import smooth_scene, tiny_patches
from uavssr.data import Batch
from uavssr.evaluation.baselines import (
    BASELINES,
    CameraImage,
    FitSettings,
    Moments,
    match_moments,
    partial_least_squares,
    sparse_codes,
    wiener_estimate,
)
from uavssr.evaluation.baselines.mixture import MixtureMethod
from uavssr.evaluation.baselines.pixelwise import data_sheet_rows, expected_noise, map_pixels
from uavssr.model import ResponseFamily
from uavssr.sensors import WavelengthGrid

GRID, FAMILY = tiny_patches().grid, tiny_patches().family
ROWS = data_sheet_rows(FAMILY)
CAMERA_BANDS, BANDS = ROWS.shape
PIXELWISE = ["ridge", "plsr", "wiener", "mixture", "a+"]


@dataclass(frozen=True, kw_only=True)
class PixelTable:
    """Given pixels in the form that methods learn from."""

    values: np.ndarray
    """(n, c)."""
    spectra: np.ndarray
    """(n, C)."""
    grid: WavelengthGrid = GRID
    family: ResponseFamily = FAMILY

    def draw(self, seed: Sequence[int], count: int, *, size: int | None = None) -> Batch:
        raise NotImplementedError

    def validation(self) -> Batch:
        raise NotImplementedError

    def pixels(self, seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        order = np.random.default_rng(seed).permutation(len(self.values))[:count]
        return self.values[order].astype(np.float32), self.spectra[order].astype(np.float32)


def gaussian_spectra(rng: np.random.Generator, count: int) -> np.ndarray:
    """Spectra (n, C) of a Gaussian in a subspace of five smooth curves, mean .4."""
    place = np.linspace(0, np.pi, BANDS)
    curves = np.stack([np.cos(k * place) for k in range(5)])
    return 0.4 + 0.05 * rng.normal(size=(count, 5)) @ curves


def predict(name: str, table: PixelTable, values: np.ndarray) -> np.ndarray:
    """Spectra (n, C) that a method makes of camera values (n, c)."""
    method = BASELINES[name].fit(table, FitSettings())
    msi = values.T[:, None].astype(np.float32)
    return method.predict(CameraImage(msi=msi, family=FAMILY)).cube[:, 0].T


@pytest.mark.parametrize("name", ["ridge", "plsr"])
def test_regression_recovers_an_exactly_linear_map(name: str) -> None:
    rng = np.random.default_rng(1)
    weights, constant = rng.normal(size=(BANDS, CAMERA_BANDS)), rng.normal(size=BANDS)
    values = rng.uniform(0.1, 0.9, (3000, CAMERA_BANDS))
    spectra = values @ weights.T + constant
    table = PixelTable(values=values[:2000], spectra=spectra[:2000])
    assert predict(name, table, values[2000:]) == pytest.approx(spectra[2000:], abs=1e-4)


def test_partial_least_squares_agree_with_scikit_learn() -> None:
    """For each number of components, against its power iterations."""
    decomposition = pytest.importorskip("sklearn.cross_decomposition", reason="no scikit-learn")
    rng = np.random.default_rng(6)
    values = rng.normal(size=(300, 4)) @ rng.normal(size=(4, 4)) + 1
    spectra = values @ rng.normal(size=(4, 20)) + np.square(values[:, :1]) + rng.normal(size=20)
    fits = partial_least_squares(values, spectra)
    assert len(fits) == 4
    for number, fit in enumerate(fits, start=1):
        reference = decomposition.PLSRegression(number, scale=False, tol=1e-14, max_iter=10_000)
        expected = reference.fit(values, spectra).predict(values)
        assert np.allclose(fit(values.T).T, expected, atol=1e-6)


def test_all_components_are_least_squares_and_dependent_bands_add_none() -> None:
    rng = np.random.default_rng(7)
    values, spectra = rng.normal(size=(200, 3)), rng.normal(size=(200, 6))
    fits = partial_least_squares(np.column_stack([values, values @ [1.0, 2.0, -1.0]]), spectra)
    assert len(fits) == 3
    extended = np.column_stack([values, np.ones(200)])
    expected = extended @ np.linalg.lstsq(extended, spectra, rcond=None)[0]
    found = fits[-1](np.column_stack([values, values @ [1.0, 2.0, -1.0]]).T).T
    assert found == pytest.approx(expected, abs=1e-8)


def test_sparse_codes_find_the_atoms_that_signals_are_made_of() -> None:
    rng = np.random.default_rng(8)
    atoms = np.linalg.qr(rng.normal(size=(12, 12)))[0][:8]
    codes = np.zeros((40, 8))
    for row in codes:
        row[rng.permutation(8)[:3]] = rng.choice([-1, 1], 3) * rng.uniform(1, 2, 3)
    assert sparse_codes(codes @ atoms, atoms, 3) == pytest.approx(codes, abs=1e-6)


def test_anchored_regression_beats_ridge_on_piecewise_linear_data() -> None:
    """A map of its own for pixels that are dark in the first band, another for the others."""
    rng = np.random.default_rng(9)
    weights = rng.normal(size=(2, BANDS, CAMERA_BANDS))
    kinds = rng.integers(0, 2, 3000)
    values = rng.uniform(0.4, 0.9, (3000, CAMERA_BANDS))
    values[:, 0] *= np.where(kinds, 0.1, 1)
    values[:, -1] *= np.where(kinds, 1, 0.1)
    spectra = np.einsum("nkc,nc->nk", weights[kinds], values)
    table = PixelTable(values=values[:1500], spectra=spectra[:1500])
    error = {
        name: np.abs(predict(name, table, values[1500:]) - spectra[1500:]).mean()
        for name in ("a+", "ridge")
    }
    assert error["a+"] < error["ridge"] / 10


def test_anchored_regression_follows_the_brightness() -> None:
    spectra = gaussian_spectra(np.random.default_rng(10), 400)
    table = PixelTable(values=spectra @ ROWS.T, spectra=spectra)
    assert predict("a+", table, 2 * table.values) == pytest.approx(
        2 * predict("a+", table, table.values), rel=1e-5
    )


def test_wiener_estimate_is_the_posterior_mean_in_its_precision_form() -> None:
    """(S^-1 + R^T N^-1 R)^-1 (S^-1 m + R^T N^-1 y), in float64."""
    rng = np.random.default_rng(2)
    factor = rng.normal(size=(BANDS, BANDS))
    mean, covariance = rng.uniform(size=BANDS), factor @ factor.T / BANDS + 0.1 * np.eye(BANDS)
    noise, values = rng.uniform(0.01, 0.1, CAMERA_BANDS), rng.uniform(size=(CAMERA_BANDS, 50))
    prior, data = np.linalg.inv(covariance), ROWS.T / noise
    expected = np.linalg.solve(prior + data @ ROWS, (prior @ mean)[:, None] + data @ values)
    assert wiener_estimate(mean, covariance, ROWS, noise)(values) == pytest.approx(
        expected, abs=1e-10
    )


def test_wiener_leaves_errors_that_the_image_does_not_predict() -> None:
    """The law of a posterior mean: its errors are uncorrelated with the observations."""
    rng = np.random.default_rng(3)
    spectra = gaussian_spectra(rng, 60_000)
    noise = expected_noise(spectra.T @ spectra / len(spectra), ROWS)
    values = spectra @ ROWS.T + np.sqrt(noise) * rng.normal(size=(len(spectra), CAMERA_BANDS))
    estimate = predict("wiener", PixelTable(values=values, spectra=spectra), values)
    errors, centred = spectra - estimate, values - values.mean(0)
    correlation = errors.T @ centred / len(spectra) / np.outer(errors.std(0), values.std(0))
    assert np.abs(correlation).max() < 5 / np.sqrt(len(spectra))


def test_mixture_of_one_gaussian_is_wiener() -> None:
    rng = np.random.default_rng(4)
    spectra = gaussian_spectra(rng, 4000)
    table = PixelTable(values=spectra @ ROWS.T, spectra=spectra)
    one = MixtureMethod(name="one", knows="data sheet", components=1).fit(table, FitSettings())
    msi = (spectra[:200] @ ROWS.T).T[:, None].astype(np.float32)
    cube = one.predict(CameraImage(msi=msi, family=FAMILY)).cube[:, 0].T
    # fit_mixture adds a thousandth to the variance
    assert cube == pytest.approx(predict("wiener", table, table.values[:200]), abs=1e-4)


def test_mixture_beats_wiener_where_spectra_are_of_two_kinds() -> None:
    rng = np.random.default_rng(5)
    place = np.linspace(0, np.pi, BANDS)
    kinds = np.stack([np.cos(3 * place), np.cos(9 * place)])[rng.integers(0, 2, 2000)]
    spectra = 0.4 + 0.1 * rng.uniform(1, 2, (2000, 1)) * kinds
    table = PixelTable(values=spectra @ ROWS.T, spectra=spectra)
    error = {
        name: np.square(predict(name, table, table.values) - spectra).mean()
        for name in ("wiener", "mixture")
    }
    assert error["mixture"] < error["wiener"] / 2


@pytest.mark.parametrize("name", PIXELWISE)
def test_image_in_parts_gives_the_same_cube(name: str) -> None:
    data = tiny_patches()
    method = BASELINES[name].fit(data, FitSettings())
    msi = data.validation().msi[0].numpy()
    whole = method.predict(CameraImage(msi=msi, family=data.family)).cube
    parts = [
        method.predict(CameraImage(msi=part, family=data.family)).cube
        for part in np.array_split(msi, 3, axis=1)
    ]
    assert np.concatenate(parts, axis=1) == pytest.approx(whole, abs=1e-6)


def test_more_pixels_than_fit_into_one_part_are_mapped_in_order() -> None:
    msi = np.arange(2 * 150 * 150, dtype=np.float32).reshape(2, 150, 150)
    cube = map_pixels(lambda values: np.vstack([values, values.sum(0)]), msi)
    assert np.array_equal(cube, np.concatenate([msi, msi.sum(0, keepdims=True)]))


def band_error(rows: np.ndarray, true: np.ndarray, moments: Moments) -> float:
    """Root mean square error of the bands of spectra, relative to the bands."""
    second = moments.covariance + np.outer(moments.mean, moments.mean)
    power = [np.trace(each @ second @ each.T) for each in (rows - true, true)]
    return float(np.sqrt(power[0] / power[1]))


@pytest.mark.parametrize("seed", range(4))
def test_responses_are_found_where_image_and_spectra_have_the_same_moments(seed: int) -> None:
    """Where they act on spectra: the images determine no more of them."""
    rng = np.random.default_rng(seed)
    scenes = [smooth_scene(rng, GRID, 40).reshape(BANDS, -1) for _ in range(4)]
    moments = Moments.of(np.hstack(scenes).T.astype(float))
    theta = rng.normal(size=(1, CAMERA_BANDS, 3)) * FAMILY.spread.numpy()
    true = FAMILY.rows(torch.from_numpy(theta).float())[0].double().numpy()
    image = Moments(mean=true @ moments.mean, covariance=true @ moments.covariance @ true.T)
    found = match_moments(ROWS, moments, image, GRID)
    assert (found >= 0).all()
    assert band_error(found, true, moments) < band_error(ROWS, true, moments) / 2


def test_data_sheet_stays_where_its_moments_are_those_of_the_image() -> None:
    scene = smooth_scene(np.random.default_rng(3), GRID, 40).reshape(BANDS, -1).astype(float)
    moments, image = Moments.of(scene.T), Moments.of((ROWS @ scene).T)
    found = match_moments(ROWS, moments, image, GRID)
    assert band_error(found, ROWS, moments) < 0.01


def test_image_of_one_colour_is_given_a_finite_response() -> None:
    method = BASELINES["xie"].fit(tiny_patches(), FitSettings())
    msi = np.full((CAMERA_BANDS, 4, 4), 0.3, np.float32)
    prediction = method.predict(CameraImage(msi=msi, family=FAMILY))
    assert np.isfinite(prediction.cube).all()
    assert np.isfinite(prediction.rows).all()
