"""The reflectances of a formula on a cube's bands, and the variance of a formula."""

from __future__ import annotations

import numpy as np
import pytest

from uavssr.errors import InputRefused
from uavssr.indices import (
    Formula,
    camera_term_weights,
    formula_variance,
    load_indices,
    term_range,
    term_weights,
)
from uavssr.sensors import HEADWALL_NANO, WavelengthGrid, load_sensor

COARSE = WavelengthGrid.regular("coarse", 400.0, 1000.0, 41)


@pytest.mark.parametrize("grid", [HEADWALL_NANO, COARSE], ids=lambda grid: grid.name)
def test_a_straight_spectrum_has_the_middle_of_each_range(grid: WavelengthGrid) -> None:
    for index in load_indices().values():
        weights = term_weights(index.formula, grid)
        middles = [np.mean(term_range(term)) for term in index.formula.terms]
        np.testing.assert_allclose(weights @ grid.centres, middles, atol=0.05)
        np.testing.assert_allclose(weights.sum(1), 1)
        assert (weights >= 0).all()


def test_a_wavelength_is_interpolated_between_its_neighbours() -> None:
    grid = WavelengthGrid("three", np.array([660.0, 670.0, 680.0]), np.full(3, 5.0))
    np.testing.assert_allclose(term_weights(Formula("R664"), grid), [[0.6, 0.4, 0]])
    np.testing.assert_allclose(term_weights(Formula("R680"), grid), [[0, 0, 1]])


def test_a_broad_band_is_the_mean_over_its_range() -> None:
    grid = WavelengthGrid.regular("fine", 400.0, 1000.0, 601)
    x = np.where((grid.centres >= 620) & (grid.centres <= 690), 1.0, 0.0)
    assert term_weights(Formula("R"), grid) @ x == pytest.approx(1)
    square = term_weights(Formula("R"), grid) @ (grid.centres - 655) ** 2
    assert square == pytest.approx(70**2 / 12, rel=0.01)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("R399 / R670", "399 nm lies outside visible, 400-700 nm"),
        ("R701", "701 nm lies outside visible"),
        ("N - R", "band N, 760-900 nm, lies outside visible"),
    ],
)
def test_a_term_outside_the_grid_is_refused(text: str, message: str) -> None:
    grid = WavelengthGrid.regular("visible", 400.0, 700.0, 31)
    with pytest.raises(InputRefused, match=message):
        term_weights(Formula(text), grid)


@pytest.mark.parametrize("text", ["R570", "G"])
def test_a_term_between_distant_bands_is_refused(text: str) -> None:
    grid = WavelengthGrid("gappy", np.array([500.0, 510, 550, 600, 610]), np.full(5, 5.0))
    with pytest.raises(InputRefused, match=r"between bands of gappy that are [45]0 nm apart"):
        term_weights(Formula(text), grid)
    assert term_weights(Formula("R550"), grid).tolist() == [[0, 0, 1, 0, 0]]


def test_variance_is_that_of_samples() -> None:
    rng = np.random.default_rng(3)
    formula = Formula("(N - R) / (N + R)")
    mean, factor = np.array([0.5, 0.06]), 0.003 * rng.normal(size=(2, 2))
    samples = mean[:, None] + factor @ rng.normal(size=(2, 100_000))
    _, gradient = formula.value_and_gradient(mean)
    variance = formula_variance(gradient, factor @ factor.T)
    assert variance == pytest.approx(formula.value(samples).var(), rel=0.02)
    maps = np.broadcast_to((factor @ factor.T)[..., None], (2, 2, 7))
    several = formula_variance(np.repeat(gradient[:, None], 7, 1), maps)
    np.testing.assert_allclose(several, variance)


OF_CAMERA = {
    "sentinel2a": "B b2, G b3, R b4, RE1 b5, RE2 b6, RE3 b7, N b8, N2 b8a",
    "landsat9": "A b1, B b2, G b3, R b4, N b5",
    "m3m": "G green, R red, RE2 rededge, N nir",
}
"""The camera's band for each broad band: of satellites that of the Awesome Spectral Indices."""


@pytest.mark.parametrize(
    ("camera", "term", "role"),
    [(camera, *pair.split()) for camera, pairs in OF_CAMERA.items() for pair in pairs.split(", ")],
)
def test_a_broad_band_is_the_response_of_the_camera(camera: str, term: str, role: str) -> None:
    sensor = load_sensor(camera)
    weights = camera_term_weights(Formula(f"{term} / ({term} + 0.1)"), sensor, HEADWALL_NANO)
    row = sensor.srf(HEADWALL_NANO)[[sensor.roles.index(role)]]
    np.testing.assert_allclose(weights, row, atol=1e-12)


def test_terms_of_a_camera_are_in_the_order_of_the_formula() -> None:
    sensor = load_sensor("sentinel2a")
    weights = camera_term_weights(Formula("(N - R) / (N + R)"), sensor, HEADWALL_NANO)
    rows = [sensor.roles.index(role) for role in ("b8", "b4")]
    np.testing.assert_allclose(weights, sensor.srf(HEADWALL_NANO)[rows])


@pytest.mark.parametrize(
    ("text", "message"),
    [("R800 / N", "has wavelengths"), ("RE1 / N", r"m3m has no band RE1 \(695-715 nm\)")],
)
def test_a_term_that_a_camera_lacks_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputRefused, match=message):
        camera_term_weights(Formula(text), load_sensor("m3m"), HEADWALL_NANO)
