"""Random cameras: they deviate from data sheets by the prior spread, and observe Y = R X."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.models import GRID, P4M, tiny_scene
from uavssr.data import RandomCameras, draw_cameras, observe
from uavssr.data.random_cameras import BAND_COUNTS, random_sensors
from uavssr.sensors import FINE_NM, SENSORS, Band, Sensor, nominal_spread

NO_NOISE = (400.0, 400.0)


def cameras_of(
    sensors: list[Sensor], spread_factor: float = 1.0, *, seed: int = 0
) -> RandomCameras:
    rng = np.random.default_rng(seed)
    return draw_cameras(rng, sensors, GRID, spread_factor=np.full(len(sensors), spread_factor))


def scenes_of(count: int = 2, size: int = 24) -> np.ndarray:
    return np.stack([tiny_scene(size, size, seed=seed) for seed in range(count)])


def test_sum_of_a_true_row_is_its_gain() -> None:
    cameras = cameras_of([SENSORS["rededge-mx-dual"]] * 20)
    np.testing.assert_allclose(cameras.rows.sum(-1), np.exp(cameras.theta[..., 2]), rtol=1e-5)
    assert cameras.rows.min() >= 0


@pytest.mark.parametrize("sensor", SENSORS.values(), ids=SENSORS)
def test_complete_knowledge_gives_the_data_sheet(sensor: Sensor) -> None:
    cameras = cameras_of([sensor] * 2, spread_factor=0.0)
    assert not cameras.theta.any()
    for rows in cameras.rows:
        np.testing.assert_allclose(rows, sensor.srf(GRID), atol=1e-6)


def test_a_measured_curve_is_the_data_sheet_too() -> None:
    nm = np.arange(500.0, 700.0)
    sides = np.where(nm < 560, 6, 30)
    curve = np.exp(-(((nm - 560) / sides) ** 2))
    sensor = Sensor(name="m", bands=(Band.from_curve("green", nm.tolist(), curve.tolist()),))
    np.testing.assert_allclose(
        cameras_of([sensor], spread_factor=0.0).rows[0], sensor.srf(GRID), atol=1e-6
    )


def test_true_parameters_have_the_spread_of_the_prior() -> None:
    """400 cameras of 5 bands: standard deviations within 5 %, means within 0.1 of one."""
    for spread_factor in (1.0, 0.4):
        cameras = cameras_of([P4M] * 400, spread_factor=spread_factor)
        expected = spread_factor * nominal_spread(np.array([band.fwhm for band in P4M.bands]))
        scaled = cameras.theta / expected
        np.testing.assert_allclose(scaled.std((0, 1)), 1, rtol=0.05)
        np.testing.assert_allclose(scaled.mean((0, 1)), 0, atol=0.1)
        assert abs(np.corrcoef(scaled[:, 0, 0], scaled[:, 1, 0])[0, 1]) < 0.15
        np.testing.assert_allclose(cameras.family.spread[0], expected, rtol=1e-6)


def test_true_rows_are_shifted_as_their_parameters_say() -> None:
    """The median over 300 cameras, since leaks and shapes move the centre of mass besides."""
    cameras = cameras_of([P4M] * 300)
    nominal = P4M.srf(GRID) @ GRID.centres
    centres = (cameras.rows / cameras.rows.sum(-1, keepdims=True)) @ GRID.centres
    slope = [
        np.median((centres[:, b] - nominal[b]) / cameras.theta[:, b, 0]) for b in range(len(P4M))
    ]
    np.testing.assert_allclose(slope, 1, atol=0.15)


def test_nominal_arrays_are_those_of_the_sensors() -> None:
    sensors = [P4M, SENSORS["altum"]]
    cameras = cameras_of(sensors)
    for i, sensor in enumerate(sensors):
        np.testing.assert_allclose(cameras.family.curves[i], sensor.response(), atol=1e-7)
        np.testing.assert_allclose(cameras.family.centre[i], [band.centre for band in sensor.bands])
        np.testing.assert_allclose(cameras.family.fwhm[i], [band.fwhm for band in sensor.bands])
    assert cameras.family.curves.shape == (2, 5, FINE_NM.size)
    kinds = {each.dtype for each in (cameras.theta, cameras.rows)}
    assert kinds == {np.dtype("float32")}


def test_cameras_are_a_function_of_the_generator() -> None:
    one, two, other = (cameras_of([P4M] * 3, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.rows, two.rows)
    assert not np.array_equal(one.rows, other.rows)
    assert not np.array_equal(one.rows[0], one.rows[1])


@pytest.mark.parametrize("bands", sorted(set(BAND_COUNTS)))
def test_random_sensors_fit_the_grid_and_the_number_of_bands(bands: int) -> None:
    sensors = random_sensors(np.random.default_rng(bands), 40, bands, GRID)
    assert len(sensors) == 40
    assert all(len(sensor) == bands for sensor in sensors)
    for sensor in sensors:
        np.testing.assert_allclose(sensor.srf(GRID).sum(1), 1)
        centres = [band.centre for band in sensor.bands]
        assert centres == sorted(centres)
    known = [sensor for sensor in sensors if sensor.name in SENSORS]
    has_known = any(len(sensor) == bands for sensor in SENSORS.values())
    assert bool(known) == has_known
    assert len(known) < 40


# --- observed images ------------------------------------------------------------------------------


def test_without_noise_and_shifts_the_image_is_the_product() -> None:
    scenes, cameras = scenes_of(), cameras_of([P4M] * 2)
    kept = scenes.copy()
    found = observe(
        np.random.default_rng(0), scenes, cameras.rows, snr_db=NO_NOISE, misregistration=0.0
    )
    assert found.dtype == np.float32
    expected = np.einsum("sbc,scyx->sbyx", cameras.rows.astype(float), scenes.astype(float))
    np.testing.assert_allclose(found, expected, atol=2e-6)
    np.testing.assert_array_equal(scenes, kept)


@pytest.mark.parametrize("snr_db", [20.0, 40.0])
def test_noise_has_the_level_of_the_signal_to_noise_ratio(snr_db: float) -> None:
    scenes, cameras = scenes_of(2, 60), cameras_of([P4M] * 2)
    clean, noisy = (
        observe(np.random.default_rng(0), scenes, cameras.rows, snr_db=(level, level))
        for level in (NO_NOISE[0], snr_db)
    )
    noise = noisy.astype(float) - clean
    rms = np.sqrt(np.square(clean.astype(float)).mean((2, 3)))
    found = 20 * np.log10(rms / noise.std((2, 3)))
    np.testing.assert_allclose(found, snr_db, atol=0.5)  # 3600 pixels: 0.1 dB is one sigma
    assert np.abs(noise.mean((2, 3)) / noise.std((2, 3))).max() < 0.08


def test_signal_to_noise_ratio_is_drawn_within_its_range_for_every_scene() -> None:
    scenes, cameras = scenes_of(1, 40).repeat(30, 0), cameras_of([P4M])
    rows = cameras.rows.repeat(30, 0)
    clean = observe(np.random.default_rng(0), scenes, rows, snr_db=NO_NOISE)
    noise = observe(np.random.default_rng(0), scenes, rows, snr_db=(25.0, 45.0)) - clean
    found = 20 * np.log10(np.sqrt(np.square(clean).mean((2, 3))) / noise.std((2, 3)))
    assert found.min() > 24.5
    assert found.max() < 45.5
    assert np.ptp(found.mean(1)) > 10
    assert np.ptp(found, axis=1).max() < 1  # one level for all bands of a scene


def plane(size: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """A scene whose bands are all 0.1 + 0.004 x + 0.007 y, and the nominal STF."""
    y, x = np.mgrid[:size, :size]
    ramp = (0.1 + 0.004 * x + 0.007 * y).astype(np.float32)
    scene = np.broadcast_to(ramp, (1, len(GRID), size, size)).copy()
    return scene, P4M.srf(GRID)[None].astype(np.float32)


def test_misregistration_moves_every_band_but_the_first() -> None:
    """On a plane a shift (d, r) adds -0.007 d - 0.004 r, away from the border."""
    scene, rows = plane()
    found = observe(np.random.default_rng(3), scene, rows, snr_db=NO_NOISE, misregistration=0.4)
    offset = (found[0] - scene[0, 0])[:, 3:-3, 3:-3]
    np.testing.assert_allclose(offset[0], 0, atol=2e-6)
    for band in offset[1:]:
        np.testing.assert_allclose(band, band.mean(), atol=2e-6)
        assert 1e-4 < abs(band.mean()) < 2 * (0.007 + 0.004)
    assert len({round(float(band.mean()), 6) for band in offset}) == len(P4M)


def test_misregistration_is_at_most_two_pixels() -> None:
    scene, rows = plane()
    found = observe(np.random.default_rng(3), scene, rows, snr_db=NO_NOISE, misregistration=100.0)
    offset = (found[0, 1:] - scene[0, 0])[:, 3:-3, 3:-3]
    whole = 0.007 * 2 * np.array([1, 1, -1, -1]) + 0.004 * 2 * np.array([1, -1, 1, -1])
    for band in offset.mean((1, 2)):
        assert np.abs(whole - band).min() < 1e-5


def test_misregistration_may_differ_between_scenes() -> None:
    scene, rows = plane()
    twice = np.concatenate([scene, scene])
    found = observe(
        np.random.default_rng(3),
        twice,
        rows.repeat(2, 0),
        snr_db=NO_NOISE,
        misregistration=np.array([0.0, 0.5]),
    )
    inner = (slice(None), slice(3, -3), slice(3, -3))
    np.testing.assert_allclose(found[0], twice[0, : len(P4M)], atol=2e-6)
    assert np.abs(found[1][inner] - twice[1, : len(P4M)][inner]).max() > 1e-4
