"""The detailed response: what its parameters do, and that they leave the gain alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.helpers.models import GRID, P4M
from uavssr.calibration.instrument import Instrument
from uavssr.model.response import GAIN, PARAMETERS, ResponseFamily
from uavssr.sensors import FINE_NM, HEADWALL_NANO, SENSORS, SHAPE_SPREAD, Sensor, response_moments

STEEP = PARAMETERS


def instrument(sensor: Sensor = P4M) -> Instrument:
    return Instrument.of(ResponseFamily.of(sensor, GRID))


def parameters(seed: int, made: Instrument, *, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (made.family.curves.shape[1], made.count)
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64)


def zeros(made: Instrument) -> Tensor:
    return parameters(0, made, scale=0.0)


@pytest.mark.parametrize("name", ["p4m", "rgb", "rededge-mx-dual"])
def test_data_sheet_is_where_the_parameters_are_zero(name: str) -> None:
    made = instrument(SENSORS[name])
    expected = made.family.rows(made.family.prior)[0]
    assert np.allclose(made.rows(zeros(made)), expected, atol=1e-9)


@given(st.integers(0, 10_000))
def test_rows_sum_to_the_gain_whatever_the_other_parameters(seed: int) -> None:
    made = instrument()
    z = parameters(seed, made)
    gain = torch.exp(made.theta(z)[:, GAIN])
    assert np.allclose(made.rows(z).sum(-1), gain, rtol=1e-6)


@given(st.integers(0, 10_000))
def test_without_detail_rows_are_those_of_the_family(seed: int) -> None:
    made = instrument()
    z = parameters(seed, made)
    z[:, STEEP:] = 0
    assert np.allclose(made.rows(z), made.family.rows(made.theta(z)[None])[0], atol=1e-9)


def test_steepness_makes_the_generalised_gaussian_of_another_exponent() -> None:
    made = Instrument.of(ResponseFamily.of(P4M, HEADWALL_NANO))
    z = zeros(made)
    z[:, STEEP] = 1.0
    exponent = 4.0 * np.exp(SHAPE_SPREAD)  # that of the built-in P4M is 4
    curves = np.exp2(-(np.abs(2 * (FINE_NM - 560) / 32) ** exponent))
    expected = curves / curves.sum() @ HEADWALL_NANO.interpolation()
    assert np.allclose(made.rows(z)[1], expected, atol=1e-6)


def test_steepness_keeps_centre_and_width() -> None:
    made = Instrument.of(ResponseFamily.of(P4M, HEADWALL_NANO))
    z = zeros(made)
    z[:, STEEP] = 2.0
    found = response_moments(made.rows(z).numpy(), HEADWALL_NANO.centres)
    nominal = response_moments(made.rows(zeros(made)).numpy(), HEADWALL_NANO.centres)
    assert np.allclose(found[0], nominal[0], atol=0.2)
    assert np.allclose(found[1], nominal[1], atol=0.7)


def test_background_is_as_large_as_it_says_and_smooth() -> None:
    curves = instrument().background.numpy()
    assert np.sqrt((curves.sum(1) ** 2).sum()) == pytest.approx(1, rel=0.01)
    assert np.abs(np.diff(curves, axis=1)).max() < 0.02 * np.abs(curves).max()


def test_tangent_is_the_derivative_of_the_rows() -> None:
    made = instrument()
    z = parameters(3, made, scale=0.5)
    tangent, step = made.tangent(z), 1e-4
    for parameter in range(made.count):
        change = torch.zeros_like(z)
        change[:, parameter] = step
        slope = (made.rows(z + change) - made.rows(z - change)) / (2 * step)
        error = (tangent[:, parameter] - slope).norm() / made.rows(z).norm()
        assert error < 0.01, parameter


def test_parameters_are_counted_in_deviations_of_the_prior() -> None:
    family = ResponseFamily.of(P4M, GRID)
    made = Instrument.of(replace(family, prior=family.prior + 0.3, spread=family.spread * 2))
    z = parameters(1, made)
    spread = 2 * family.spread[0].double()
    spread[:, GAIN] = torch.hypot(spread[:, GAIN], family.common.double())  # its own, and common
    expected = 0.3 + z[:, :PARAMETERS] * spread
    assert np.allclose(made.theta(z), expected, atol=1e-6)
