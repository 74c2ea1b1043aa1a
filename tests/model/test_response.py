"""The response family: what each parameter does to a curve, and its tangent."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.helpers.models import GRID, double
from uavssr.errors import InputRefused
from uavssr.model.response import GAIN, SHIFT, STRETCH, ResponseFamily
from uavssr.sensors import (
    FINE_NM,
    HEADWALL_NANO,
    SENSORS,
    Band,
    Sensor,
    WavelengthGrid,
    nominal_spread,
)

FINE = WavelengthGrid("fine", FINE_NM, np.ones_like(FINE_NM))
"""The axis of the curves themselves, so that a row is a curve."""
every_sensor = pytest.mark.parametrize("sensor", SENSORS.values(), ids=SENSORS)
WIDE = Sensor(name="wide", bands=(Band(role="a", centre=600, fwhm=90, shape=2),))
some_sensors = pytest.mark.parametrize(
    "sensor", [WIDE, *(SENSORS[name] for name in ("p4m", "rededge3", "sentinel2"))]
)


@cache
def family_of(sensor: Sensor, grid: WavelengthGrid = FINE) -> ResponseFamily:
    return double(ResponseFamily.of(sensor, grid))


def changed(family: ResponseFamily, parameter: int, value: float) -> Tensor:
    theta = torch.zeros_like(family.prior)
    theta[..., parameter] = value
    return theta


def moments(rows: Tensor, grid: WavelengthGrid = FINE) -> tuple[np.ndarray, np.ndarray]:
    """Centre of mass and standard deviation (nm) of each row."""
    weight = (rows[0] / rows[0].sum(-1, keepdim=True)).numpy()
    centre = weight @ grid.centres
    variance = (weight * (grid.centres - centre[:, None]) ** 2).sum(1)
    return centre, np.sqrt(variance)


@every_sensor
@pytest.mark.parametrize("grid", [HEADWALL_NANO, GRID], ids=lambda grid: grid.name)
def test_theta_zero_is_the_data_sheet(sensor: Sensor, grid: WavelengthGrid) -> None:
    family = ResponseFamily.of(sensor, grid)
    rows = family.rows(torch.zeros_like(family.prior))
    assert rows.dtype == torch.float32
    np.testing.assert_allclose(rows[0], sensor.srf(grid), atol=1e-5)
    np.testing.assert_allclose(rows[0].sum(-1), 1, atol=1e-5)


def test_family_holds_the_nominal_numbers_of_the_camera() -> None:
    sensor = SENSORS["rededge3"]
    family = ResponseFamily.of(sensor, GRID)
    np.testing.assert_allclose(family.centre[0], [band.centre for band in sensor.bands])
    widths = np.array([band.fwhm for band in sensor.bands])
    np.testing.assert_allclose(family.fwhm[0], widths)
    np.testing.assert_allclose(family.spread[0], nominal_spread(widths), rtol=1e-6)
    assert not family.prior.any()


def test_a_band_outside_the_grid_is_refused() -> None:
    short = WavelengthGrid.regular("short", 400, 800, 40)
    with pytest.raises(InputRefused, match="nir"):
        ResponseFamily.of(SENSORS["p4m"], short)


@some_sensors
@pytest.mark.parametrize("gain", [0.5, 1.25])
def test_gain_scales_the_row(sensor: Sensor, gain: float) -> None:
    family = family_of(sensor)
    nominal = family.rows(family.prior)
    torch.testing.assert_close(
        family.rows(changed(family, GAIN, np.log(gain))), gain * nominal, rtol=1e-12, atol=0
    )


@some_sensors
@pytest.mark.parametrize("shift", [-7.0, 0.25, 3.5])
def test_shift_moves_the_centre_by_as_many_nanometres(sensor: Sensor, shift: float) -> None:
    family = family_of(sensor)
    before, width = moments(family.rows(family.prior))
    after, same_width = moments(family.rows(changed(family, SHIFT, shift)))
    np.testing.assert_allclose(after - before, shift, atol=1e-3)
    # linear interpolation between samples 1 nm apart adds up to 1/4 nm2 to the variance
    assert (np.abs(same_width**2 - width**2) < 0.26 + 1e-3 * width**2).all()


@some_sensors
@pytest.mark.parametrize("stretch", [-0.3, 0.2])
def test_stretch_scales_the_width_about_the_centre(sensor: Sensor, stretch: float) -> None:
    family = family_of(sensor)
    before, width = moments(family.rows(family.prior))
    rows = family.rows(changed(family, STRETCH, stretch))
    after, scaled = moments(rows)
    change = np.abs(scaled**2 - (width * np.exp(stretch)) ** 2)
    assert (change < 0.26 + 1e-3 * width**2).all()
    np.testing.assert_allclose(after, before, atol=0.01)
    np.testing.assert_allclose(rows[0].sum(-1), 1)  # the gain stays


def test_whole_shift_moves_the_samples_themselves() -> None:
    """By 6 nm on a 1 nm grid no interpolation is left: the very same numbers, 6 places on."""
    family = family_of(SENSORS["p4m"])
    nominal, moved = family.rows(family.prior), family.rows(changed(family, SHIFT, 6.0))
    torch.testing.assert_close(moved[..., 6:], nominal[..., :-6], rtol=0, atol=1e-7)


def test_parameters_of_one_band_leave_the_others() -> None:
    family = family_of(SENSORS["p4m"])
    theta = torch.zeros_like(family.prior)
    theta[0, 2] = torch.tensor([4.0, 0.1, 0.2])
    differs = (family.rows(theta) - family.rows(family.prior)).abs().amax(-1)[0] > 1e-6
    assert differs.tolist() == [False, False, True, False, False]


def test_rows_of_a_batch_are_those_of_each_camera() -> None:
    sensors = [SENSORS["p4m"], SENSORS["altum"], SENSORS["rededge3"]]
    stacked = double(
        ResponseFamily.stack(
            curves=np.stack([sensor.response() for sensor in sensors]),
            centre=np.array([[band.centre for band in sensor.bands] for sensor in sensors]),
            fwhm=np.array([[band.fwhm for band in sensor.bands] for sensor in sensors]),
            grid=GRID,
            spread_factor=np.array([1.0, 0.5, 0.0]),
        )
    )
    theta = torch.randn(3, 5, 3, generator=torch.Generator().manual_seed(0)).double()
    rows = stacked.rows(0.1 * theta)
    for i, (sensor, factor) in enumerate(zip(sensors, (1.0, 0.5, 0.0), strict=True)):
        alone = double(ResponseFamily.of(sensor, GRID))
        torch.testing.assert_close(rows[i], alone.rows(0.1 * theta[i : i + 1])[0])
        torch.testing.assert_close(stacked.spread[i], factor * alone.spread[0])


def skewed_band() -> Band:
    """A measured curve with a steep left flank, a long right one, and a leak at 900 nm."""
    nm = np.arange(400.0, 1001.0, 2.0)
    main = np.where(nm < 550, np.exp(-(((nm - 550) / 8) ** 2)), np.exp(-(((nm - 550) / 25) ** 2)))
    leak = 0.03 * np.exp(-(((nm - 900) / 10) ** 2))
    return Band.from_curve("green", nm.tolist(), (main + leak).tolist())


def test_measured_curve_is_used_as_it_is() -> None:
    band = skewed_band()
    sensor = Sensor(name="measured", bands=(band, Band(role="nir", centre=840, fwhm=40)))
    family = family_of(sensor, GRID)
    rows = family.rows(family.prior)
    np.testing.assert_allclose(rows[0], sensor.srf(GRID), atol=1e-6)
    assert rows[0, 0, GRID.nearest(900)] > 20 * rows[0, 0, GRID.nearest(800)]
    before, width = moments(family_of(sensor).rows(family.prior))
    after, _ = moments(family_of(sensor).rows(changed(family, SHIFT, 5.0)))
    _, scaled = moments(family_of(sensor).rows(changed(family, STRETCH, 0.05)))
    np.testing.assert_allclose(after - before, 5, atol=1e-3)
    np.testing.assert_allclose(scaled, width * np.exp(0.05), rtol=0.01)


@given(
    shift=st.floats(-40, 40),
    stretch=st.floats(-0.8, 0.8),
    gain=st.floats(-1, 1),
    name=st.sampled_from(sorted(SENSORS)),
)
def test_rows_are_a_response_for_any_parameters(
    shift: float, stretch: float, gain: float, name: str
) -> None:
    family = ResponseFamily.of(SENSORS[name], GRID)
    rows = family.rows(family.prior + torch.tensor([shift, stretch, gain]))
    assert torch.isfinite(rows).all()
    assert rows.min() >= 0
    torch.testing.assert_close(
        rows.sum(-1), torch.full_like(rows[..., 0], np.exp(gain)), rtol=1e-4, atol=0
    )


# --- tangent --------------------------------------------------------------------------------------


def off_the_knots(family: ResponseFamily, seed: int = 0) -> Tensor:
    """Parameters at which no sample of a curve falls within 1e-4 nm of a knot where it matters."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(400):
        theta = torch.randn(family.prior.shape, generator=generator).double()
        theta = theta * torch.tensor([3.0, 0.1, 0.08]).double()
        shift, stretch, _ = theta.unbind(-1)
        axis, centre = torch.as_tensor(FINE_NM), family.centre[..., None]
        source = centre + (axis - centre - shift[..., None]) * torch.exp(-stretch)[..., None]
        near = (source - centre).abs() < 2 * family.fwhm[..., None]
        if (source - source.round()).abs()[near].min() > 1e-4:
            return theta
    raise AssertionError("no such parameters found")


def narrow_sensor() -> Sensor:
    bands = (Band(role="green", centre=560, fwhm=12), Band(role="red", centre=655, fwhm=9))
    return Sensor(name="narrow", bands=bands)


def test_rows_have_the_gradient_of_their_differences() -> None:
    family = family_of(narrow_sensor(), GRID)
    theta = off_the_knots(family).requires_grad_()
    assert torch.autograd.gradcheck(family.rows, theta, eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["p4m", "rgb"])  # wide against the curves' 1 nm axis
def test_tangent_equals_the_derivative_of_rows(name: str) -> None:
    family = family_of(SENSORS[name], GRID)
    theta = torch.randn(family.prior.shape, generator=torch.Generator().manual_seed(2)).double()
    theta = theta * family.spread
    tangent = family.tangent(theta)
    assert tangent.shape == (1, len(SENSORS[name]), 3, len(GRID))
    for parameter in (SHIFT, STRETCH, GAIN):
        direction = torch.zeros_like(theta)
        direction[..., parameter] = 1
        _, derivative = torch.autograd.functional.jvp(family.rows, theta, direction)
        error = (tangent[:, :, parameter] - derivative).norm(dim=-1)
        assert (error / derivative.norm(dim=-1)).max() < (1e-12 if parameter == GAIN else 0.05)


def test_tangent_predicts_the_change_of_rows() -> None:
    """To second order: half the step leaves a quarter of the error."""
    family = family_of(SENSORS["rgb"], GRID)
    theta = torch.zeros_like(family.prior)
    direction = torch.tensor([2.0, 0.04, 0.05]).double().expand_as(theta)
    change = (direction[..., None] * family.tangent(theta)).sum(2)
    nominal = family.rows(theta)

    def error(step: float) -> float:
        exact = family.rows(theta + step * direction) - nominal
        return (exact - step * change).norm().item()

    assert error(1.0) < 0.1 * change.norm().item()
    assert error(0.5) < 0.35 * error(1.0)


def test_tangent_is_constant_in_training() -> None:
    family = ResponseFamily.of(SENSORS["p4m"], GRID)
    assert not family.tangent(family.prior.clone().requires_grad_()).requires_grad


def test_family_moves_to_a_device_whole() -> None:
    family = ResponseFamily.of(SENSORS["p4m"], GRID)
    moved = family.to(torch.device("meta"))
    for name in ("curves", "centre", "fwhm", "prior", "spread", "interpolation"):
        assert getattr(moved, name).device.type == "meta"
        assert getattr(moved, name).shape == getattr(family, name).shape
