"""A camera's profile from several flights with known spectra."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.models import GRID, P4M, tiny_library
from uavssr.calibration import Flight, calibrate, fit_camera
from uavssr.data.random_cameras import RandomCameras, draw_cameras
from uavssr.errors import InputRefused, UsageError
from uavssr.model import GAIN, SHIFT, ResponseFamily, SpectralBasis
from uavssr.sensors import (
    LEAK_SPREAD,
    SHAPE_SPREAD,
    BandPrior,
    FloatArray,
    Sensor,
    load_sensor,
    sensor_text,
)

SPECTRA = tiny_library().spectra.astype(float)
FAMILY = ResponseFamily.of(P4M, GRID)


def flights(
    seed: int, count: int, *, common: float = 0.1, own: float = 0.03
) -> tuple[list[Flight], RandomCameras, FloatArray]:
    """Flights of one random camera, the camera, and the log gains (F, c) of each."""
    rng = np.random.default_rng(seed)
    camera = draw_cameras(rng, [P4M], GRID)
    change = common * rng.normal(size=(count, 1)) + own * rng.normal(size=(count, len(P4M))) - 0.3
    made = []
    for number, gains in enumerate(change):
        chosen = rng.choice(len(SPECTRA), 40)
        seen = SPECTRA[chosen] @ camera.rows[0].T.astype(float) * np.exp(gains)
        noisy = seen * (1 + 0.02 * rng.normal(size=seen.shape))
        made.append(Flight(name=f"flight {number}", spectra=SPECTRA[chosen], msi=noisy))
    return made, camera, camera.theta[0, :, GAIN].astype(float) + change


def test_profile_predicts_the_gains_of_the_next_flight_as_surely_as_it_says() -> None:
    scores, spreads = [], []
    for seed in range(4):
        made, _, gains = flights(seed, 4)
        fit = fit_camera(P4M, made[:3], GRID, name="mine")
        priors = [band.prior for band in fit.sensor.bands]
        mean = np.array([prior.gain for prior in priors if prior])
        own = np.array([prior.gain_sd for prior in priors if prior])
        covariance = fit.sensor.common_gain_sd**2 + np.diag(own**2)
        error = gains[3] - mean
        scores.append(error @ np.linalg.solve(covariance, error))  # chi-square of 5
        spreads.append(fit.common_sd)
    assert 2 < np.mean(scores) < 10
    assert 0.06 < np.mean(spreads) < 0.14


def test_flights_together_tell_more_of_a_camera_than_one() -> None:
    basis, errors = SpectralBasis.identity(GRID), []
    for seed in range(3):
        made, camera, _ = flights(seed, 5)
        one = calibrate(FAMILY, made[0].spectra, made[0].msi, basis=basis).stf.rows[0].numpy()
        all_of_them = fit_camera(P4M, made, GRID, name="mine").sensor.srf(GRID)
        truth = camera.rows[0] / camera.rows[0].sum(1, keepdims=True)
        alone = one / one.sum(1, keepdims=True)
        errors.append([np.linalg.norm(rows - truth) for rows in (alone, all_of_them)])
    single, together = np.mean(errors, 0)
    assert together < 0.9 * single


def test_gains_of_the_known_flights_are_those_planted() -> None:
    made, _, gains = flights(3, 4)
    fit = fit_camera(P4M, made, GRID, name="mine")
    assert np.abs(fit.gain - gains).max() < 0.1
    assert np.abs((fit.gain - gains) / fit.gain_se).mean() < 2
    assert fit.flights == ("flight 0", "flight 1", "flight 2", "flight 3")


def test_profile_and_references_do_not_allow_the_same_leak_twice() -> None:
    """A profile's curves hold the leak; references then start from what is left to know of it."""
    basis, errors = SpectralBasis.identity(GRID), []
    made, camera, gains = flights(0, 4)
    profile = fit_camera(P4M, made[:3], GRID, name="mine").sensor
    bands = [(band, band.prior) for band in profile.bands if band.prior]
    assert all(prior.leak_sd < 0.8 * LEAK_SPREAD for _, prior in bands)
    forgets = [
        replace(band, prior=replace(prior, shape_sd=SHAPE_SPREAD, leak_sd=LEAK_SPREAD))
        for band, prior in bands
    ]
    truth = camera.rows[0] * np.exp(gains[3] - camera.theta[0, :, GAIN])[:, None]
    outside = P4M.srf(GRID) < 1e-4
    for sensor in (profile, replace(profile, bands=tuple(forgets))):
        family = ResponseFamily.of(sensor, GRID)
        found = calibrate(family, made[3].spectra[:5], made[3].msi[:5], basis=basis).estimate
        error, claimed = (found.stf - truth)[outside], found.stf_se[outside]
        errors.append(np.sqrt([np.square(part).mean() for part in (error, claimed)]))
    (once, claimed), (twice, wide) = errors
    assert claimed < 0.8 * wide
    assert once < min(twice, 1.2 * claimed)


def test_flights_determine_the_bands_that_they_cover() -> None:
    made, _, gains = flights(4, 3)
    visible = replace(made[0], covered=np.arange(5) < 4)
    fit = fit_camera(P4M, [visible, *made[1:]], GRID, name="mine")
    assert fit.warnings == ("flight 0 does not cover nir, which the other flights determine",)
    assert fit.gain_se[0, 4] > 2 * fit.gain_se[0, :4].max()
    # what the others say of a flight's common factor holds for nir, too
    assert abs(fit.gain[0, 4] - gains[0, 4]) < 2 * fit.gain_se[0, 4] < 0.2


def test_profile_goes_through_its_file_unchanged(tmp_path: Path) -> None:
    sensor = fit_camera(P4M, flights(1, 3)[0], GRID, name="mine").sensor
    (tmp_path / "mine.yaml").write_text(sensor_text(sensor), encoding="utf-8")
    assert load_sensor(tmp_path / "mine.yaml") == sensor
    (tmp_path / "p4m.yaml").write_text(sensor_text(P4M), encoding="utf-8")
    assert load_sensor(tmp_path / "p4m.yaml") == P4M


def test_profile_is_the_prior_of_the_family() -> None:
    sensor = fit_camera(P4M, flights(2, 3)[0], GRID, name="mine").sensor
    family = ResponseFamily.of(sensor, GRID)
    priors = [band.prior for band in sensor.bands if band.prior]
    np.testing.assert_allclose(family.prior[0, :, GAIN], [p.gain for p in priors], rtol=1e-6)
    np.testing.assert_allclose(family.spread[0, :, SHIFT], [p.shift_sd for p in priors], rtol=1e-6)
    np.testing.assert_allclose(family.common, [sensor.common_gain_sd], rtol=1e-6)
    plain = ResponseFamily.of(P4M, GRID)
    assert (family.spread[..., SHIFT] < plain.spread[..., SHIFT]).all()


@pytest.mark.parametrize("field", ["shift_sd", "width_sd", "gain", "gain_sd", "leak_sd"])
def test_impossible_priors_are_refused(field: str) -> None:
    numbers = {"shift_sd": 1.0, "width_sd": 0.1, "gain": 0.0, "gain_sd": 0.1}
    with pytest.raises(InputRefused, match=f"{field} is 100"):
        BandPrior(**numbers | {field: 100.0})
    with pytest.raises(InputRefused, match="common_gain_sd is -1"):
        Sensor(name="a", bands=P4M.bands, common_gain_sd=-1)


def test_flights_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="needs a flight"):
        fit_camera(P4M, [], GRID, name="mine")
    bad = Flight(name="may", spectra=SPECTRA[:4], msi=np.ones((3, 5)))
    with pytest.raises(UsageError, match="may: 4 spectra do not go with"):
        fit_camera(P4M, [bad], GRID, name="mine")
