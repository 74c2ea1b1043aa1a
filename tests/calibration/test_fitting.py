"""The fit of an instrument to known spectra: what it recovers, how surely, what throws it off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.models import GRID, P4M, tiny_library
from uavssr.calibration import fitting as module
from uavssr.calibration.fitting import MAX_INDEPENDENT_PIXELS, REMAINING_SHIFT_PX, Fit, Fitting
from uavssr.calibration.instrument import Instrument
from uavssr.model.response import GAIN, PARAMETERS, SHIFT, ResponseFamily

BANDS = len(P4M)
INSTRUMENT = Instrument.of(ResponseFamily.of(P4M, GRID))


def truth(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((BANDS, INSTRUMENT.count), generator=generator, dtype=torch.float64)


def spectra(count: int, seed: int = 0) -> Tensor:
    """Mixtures of the tiny library's, as pixels of a scene are."""
    rng = np.random.default_rng(seed)
    library = tiny_library().spectra.astype(float)
    shares = rng.dirichlet(np.full(3, 0.5), count)
    chosen = rng.integers(len(library), size=(count, 3))
    return torch.as_tensor(np.einsum("kn,knc->kc", shares, library[chosen]))


def fitting(z: Tensor, known: Tensor, *, noise: float = 0.0, seed: int = 0) -> Fitting:
    seen = known @ INSTRUMENT.rows(z).T
    generator = torch.Generator().manual_seed(seed)
    seen = seen + noise * torch.randn(seen.shape, generator=generator, dtype=seen.dtype)
    return Fitting(
        instrument=INSTRUMENT,
        spectra=known,
        msi=seen,
        patterns=seen.new_zeros((*seen.shape, 0)),
        used=torch.ones(BANDS, dtype=torch.bool),
    )


def theta_error(fit: Fit, z: Tensor) -> np.ndarray:
    return (INSTRUMENT.theta(fit.z) - INSTRUMENT.theta(z)).numpy()


def test_exact_data_give_the_camera_back() -> None:
    z, known = truth(), spectra(400)
    fit = fitting(z, known).run()
    error = theta_error(fit, z)
    assert np.abs(error[:, SHIFT]).max() < 0.5
    assert np.abs(error[:, GAIN]).max() < 0.002
    unseen = spectra(200, seed=9)
    assert np.allclose(unseen @ INSTRUMENT.rows(fit.z).T, unseen @ INSTRUMENT.rows(z).T, atol=5e-4)


def test_known_noise_gives_the_mode_and_the_inverse_curvature(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Slope and curvature by differences in numpy, at a noise that is held at 0.004."""
    monkeypatch.setattr(module, "EXPECTED_NOISE", (0.004, 0.0))
    monkeypatch.setattr(module, "EXPECTED_NOISE_COUNT", 1e12)
    monkeypatch.setattr(module, "POOLED_NOISE_COUNT", 1e12)
    monkeypatch.setattr(module, "_CONVERGED", 1e-6)
    made = fitting(truth(1), spectra(40), noise=0.004)
    fit = made.run()
    precision = fit.weight.numpy() / 0.004**2

    def seen(z: np.ndarray) -> np.ndarray:
        return (made.spectra @ INSTRUMENT.rows(torch.as_tensor(z)).T).numpy()

    z, step = fit.z.numpy(), 0.1
    unit = step * np.eye(INSTRUMENT.count)[:, None]
    design = np.stack([seen(z + each) - seen(z - each) for each in unit], -1) / (2 * step)
    slope = np.einsum("kcp,k,kc->cp", design, precision, made.msi.numpy() - seen(z)) - z
    curvature = np.einsum("kcp,k,kcq->cpq", design, precision, design) + np.eye(len(unit))
    assert np.allclose(fit.covariance, np.linalg.inv(curvature), rtol=1e-6, atol=1e-9)
    assert np.abs(np.linalg.solve(curvature, slope[..., None])).max() < 5e-3


def test_fit_that_is_cut_short_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """RELIABILITY row 54."""
    data = fitting(truth(), spectra(400), noise=0.002)
    assert data.run().converged
    monkeypatch.setattr(module, "_MAX_ITERATIONS", 1)
    assert not data.run().converged


def test_without_information_the_prior_stays() -> None:
    made = fitting(truth(), torch.zeros((30, len(GRID)), dtype=torch.float64))
    fit = made.run()
    assert np.allclose(fit.z, 0)
    assert np.allclose(fit.covariance, np.eye(INSTRUMENT.count)[None], atol=1e-9)


def test_one_spectrum_tells_the_gain_and_little_else() -> None:
    flat = torch.full((1, len(GRID)), 0.4, dtype=torch.float64)
    fit = fitting(truth(), flat).run()
    deviation = fit.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    assert (deviation[:, GAIN] < 0.4).all()
    assert np.allclose(deviation[:, SHIFT], 1)
    assert np.abs(theta_error(fit, truth())[:, GAIN]).max() < 0.02


def test_bands_that_are_not_used_stay_at_the_prior_and_do_not_matter() -> None:
    made = fitting(truth(2), spectra(60), noise=0.003)
    used = torch.tensor([True, False, True, True, True])
    spoiled = made.msi.clone()
    spoiled[:, 1] = 7.0
    fit = replace(made, msi=spoiled, used=used).run()
    assert np.allclose(fit.z[1], 0)
    assert np.allclose(fit.covariance[1], np.eye(INSTRUMENT.count), atol=1e-9)
    other = replace(made, msi=made.msi.clone(), used=used).run()
    assert np.allclose(fit.z, other.z, atol=1e-6)


def test_order_of_the_pixels_does_not_matter() -> None:
    made = fitting(truth(3), spectra(50), noise=0.003)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    turned = replace(
        made, spectra=made.spectra[order], msi=made.msi[order], patterns=made.patterns[order]
    )
    one, other = made.run(), turned.run()
    assert np.allclose(one.z, other.z, atol=1e-6)
    assert np.allclose(one.weight[order], other.weight, atol=1e-6)


def test_more_pixels_leave_smaller_errors_up_to_those_that_count_as_independent() -> None:
    def shift_error(count: int) -> float:
        fit = fitting(truth(), spectra(count), noise=0.004).run()
        return float(fit.covariance[:, SHIFT, SHIFT].sqrt().mean())

    most = int(MAX_INDEPENDENT_PIXELS)
    few, some, many = shift_error(30), shift_error(most), shift_error(4 * most)
    assert some < 0.6 * few
    assert many == pytest.approx(some, rel=0.15)


def test_nominal_intervals_hold_the_truth() -> None:
    covered = []
    for seed in range(12):
        z = truth(seed)
        fit = fitting(z, spectra(50, seed), noise=0.004, seed=seed).run()
        deviation = fit.covariance.diagonal(dim1=-2, dim2=-1).sqrt()[:, :PARAMETERS]
        covered.append(((fit.z - z)[:, :PARAMETERS].abs() < 1.645 * deviation).numpy())
    assert 0.84 <= np.mean(covered) <= 0.96


def test_a_third_of_mixed_pixels_does_not_spoil_the_fit() -> None:
    z = truth(4)
    made = fitting(z, spectra(120), noise=0.002)
    wrong = slice(0, 40)
    mixed = made.msi.clone()
    mixed[wrong] = (mixed[wrong] + mixed[60:100]) / 2
    clean = theta_error(made.run(), z)
    fit = replace(made, msi=mixed).run()
    error = theta_error(fit, z)
    assert np.abs(error[:, GAIN]).max() < np.abs(clean[:, GAIN]).max() + 0.01
    assert np.median(fit.weight[wrong]) < 0.3
    assert np.median(fit.weight[40:]) > 0.9


def test_offset_is_found_in_its_band_and_not_without_one() -> None:
    made = fitting(truth(5), spectra(150), noise=0.002)
    none = made.run()
    assert ((none.offset / none.offset_se).abs() < 3).all()
    hazy = made.msi.clone()
    hazy[:, 2] += 0.02
    fit = replace(made, msi=hazy).run()
    score = fit.offset / fit.offset_se
    assert score[2] > 3
    assert float(fit.offset[2]) == pytest.approx(0.02, rel=0.5)
    assert (score[[0, 1, 3, 4]].abs() < 3).all()


def test_patterns_take_up_what_misregistration_leaves() -> None:
    z, known = truth(6), spectra(200)
    made = fitting(z, known, noise=0.001)
    generator = torch.Generator().manual_seed(1)
    slope = 0.05 * torch.randn((*made.msi.shape, 1), generator=generator, dtype=torch.float64)
    moved = made.msi + 0.4 * slope[..., 0]
    assert REMAINING_SHIFT_PX >= 0.4
    without = theta_error(replace(made, msi=moved).run(), z)
    within = theta_error(replace(made, msi=moved, patterns=slope).run(), z)
    assert np.abs(within).mean() < 0.5 * np.abs(without).mean()
    clean = theta_error(made.run(), z)
    assert np.abs(within).mean() < 1.5 * np.abs(clean).mean() + 1e-3
