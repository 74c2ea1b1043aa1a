"""What known spectra tell of a cube: exact where they are, nothing where nothing is like them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.models import GRID, P4M, tiny_library, tiny_network, tiny_scene
from uavssr.data.random_cameras import draw_cameras
from uavssr.errors import IncompleteRun
from uavssr.model import correction as module
from uavssr.model.correction import Correction
from uavssr.model.response import ResponseFamily
from uavssr.model.state import Stf

NETWORK = tiny_network(asleep=True)
BASIS = NETWORK.basis
SPECTRA = torch.from_numpy(tiny_library().spectra[::3].copy())
SCENE = torch.from_numpy(tiny_scene(24, 24).reshape(len(GRID), -1).T.copy()).float()
STF = Stf.from_prior(ResponseFamily.of(P4M, GRID))


def seen(spectra: Tensor) -> Tensor:
    return spectra @ STF.rows[0].mT


def fitted(count: int = 12, *, seed: int = 0) -> tuple[Correction, Tensor, Tensor]:
    """A correction, and the references' msi and (random) estimates."""
    generator = torch.Generator().manual_seed(seed)
    spectra = SPECTRA[:count]
    estimate = torch.randn(count, BASIS.rank, generator=generator)
    variance = torch.full((count, len(GRID)), 4e-4)
    found = Correction.fit(seen(spectra), spectra, estimate, basis=BASIS, variance=variance)
    return found, seen(spectra), estimate


def as_image(pixels: Tensor) -> Tensor:
    """(1, c, n, 1) of pixels (n, c)."""
    return pixels.mT[None, :, :, None]


def test_correction_is_kriging_of_relative_residuals() -> None:
    """Oracle: the textbook form in float64, pixel by pixel."""
    found, msi, estimate = fitted()
    pixels = seen(SPECTRA[12:20])
    points = np.log(np.maximum(msi.double().numpy(), module.REFLECTANCE_FLOOR))
    others = np.log(np.maximum(pixels.double().numpy(), module.REFLECTANCE_FLOOR))
    unit = np.maximum(points.std(0), module.MIN_LOG_SPREAD)
    reach = found.length.double().numpy() / unit
    assert min(abs(reach.mean() - each) for each in module.LENGTH_SCALES) < 1e-4
    assert np.ptp(reach) < 1e-4
    spread = unit * reach.mean()

    def covariance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        distance = ((a[:, None] - b[None]) / spread) ** 2
        return np.asarray(np.exp(-distance.sum(-1) / 2))

    truth = BASIS.project(SPECTRA[:12].mT).mT.double().numpy()
    relative = (truth - estimate.double().numpy()) / msi.double().numpy().mean(1)[:, None]
    system = covariance(points, points) + found.noise * np.eye(len(points))
    gain = covariance(others, points) @ np.linalg.inv(system)
    expected = gain @ relative * pixels.double().numpy().mean(1)[:, None]
    got = found(as_image(pixels))[0, : BASIS.rank, :, 0].mT
    assert np.allclose(got, expected, atol=2e-4 * np.abs(expected).max())
    left = 1 + found.noise - np.einsum("nk,nk->n", gain, covariance(others, points))
    factor = found.variance_factor(as_image(pixels))[0, :, 0]
    assert np.allclose(factor, left.clip(max=found.max_factor), atol=1e-4)


def test_pixels_unlike_all_references_stay_as_they_are() -> None:
    found, msi, _ = fitted()
    outlier = torch.tensor([[1e9, 1e-9, 1e9, 1e-9, 1e9]])
    usual = found(as_image(msi)).abs().max() / msi.mean(1).max()
    assert found(as_image(outlier)).abs().max() < 1e-6 * usual * outlier.mean()
    factor = float(found.variance_factor(as_image(outlier)))
    assert factor == pytest.approx(min(1 + found.noise, found.max_factor))


def test_parts_of_an_image_are_corrected_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _, _ = fitted()
    image = seen(SPECTRA[:24]).mT.reshape(1, len(P4M), 4, 6)
    whole, factor = found(image), found.variance_factor(image)
    monkeypatch.setattr(module, "_MAX_ELEMENTS", 12 * 5)
    assert torch.allclose(found(image), whole, rtol=1e-4, atol=1e-4)
    assert torch.allclose(found.variance_factor(image), factor, rtol=1e-4)


def test_standard_errors_are_those_of_residuals_left_out_one_by_one() -> None:
    """The short form for leaving one out is that of really leaving it out."""
    found, _, _ = fitted(8)
    weight = found.weight.double()
    short = weight / found.inverse.double().diagonal()[:, None]
    system = found.inverse.double().inverse()
    residual = system @ weight
    for one in range(8):
        others = [k for k in range(8) if k != one]
        gain = system[one, others] @ system[others][:, others].inverse()
        assert torch.allclose(short[one], residual[one] - gain @ residual[others], atol=1e-4)
    assert found.sigma_scale.shape == (len(GRID),)
    assert (found.sigma_scale > 0).all()


def test_larger_residuals_make_larger_standard_errors() -> None:
    spectra, variance = SPECTRA[:12], torch.full((12, len(GRID)), 1e-4)
    msi, truth = seen(spectra), BASIS.project(spectra.mT).mT
    error = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
    small, large = (
        Correction.fit(msi, spectra, truth + size * error, basis=BASIS, variance=variance)
        for size in (0.1, 1.0)
    )
    assert (large.sigma_scale > small.sigma_scale).all()


def test_what_the_basis_cannot_say_is_learned_too() -> None:
    """A dip that no training spectrum has, in every reference, is in the cube afterwards."""
    dip = torch.ones(len(GRID))
    dip[len(GRID) // 2] = 0.3
    known, rest = SCENE[::20] * dip, SCENE[7::20] * dip
    correction = NETWORK.fit_correction(STF, seen(known), known)
    image = as_image(seen(rest))
    with torch.inference_mode():
        before = NETWORK(image, STF, estimate_stf=False).coefficients
        after = NETWORK(image, STF, estimate_stf=False, correction=correction).coefficients
    cubes = [NETWORK.basis.expand(before), correction.basis.expand(after)]
    errors = [float((cube[0, :, :, 0].mT - rest).square().mean().sqrt()) for cube in cubes]
    assert after.shape[1] == correction.basis.rank > BASIS.rank
    assert errors[1] < 0.5 * errors[0]


def test_corrected_cube_still_explains_the_image() -> None:
    rng = np.random.default_rng(0)
    taken = draw_cameras(rng, [P4M], GRID)
    rows = torch.from_numpy(taken.rows)
    sure = torch.zeros_like(STF.theta_se)
    stf = Stf.of(STF.family, torch.from_numpy(taken.theta), sure, rows=rows)
    known, rest = SPECTRA[:20], SPECTRA[20:36]
    correction = NETWORK.fit_correction(stf, known @ rows[0].mT, known)
    image = (rest @ rows[0].mT).mT.reshape(1, len(P4M), 4, 4)

    def misfit(with_it: Correction | None) -> float:
        with torch.inference_mode():
            found = NETWORK(image, stf, estimate_stf=False, correction=with_it).coefficients
        basis = BASIS if with_it is None else with_it.basis
        cube = basis.expand(found)[0].flatten(1)
        return float((rows[0] @ cube - image[0].flatten(1)).square().mean().sqrt() / image.mean())

    assert misfit(correction) < 0.02
    assert misfit(correction) < 2 * misfit(None) + 1e-3


def test_references_that_tell_nothing_of_each_other_change_next_to_nothing() -> None:
    spectra, variance = SPECTRA, torch.full((len(SPECTRA), len(GRID)), 1e-4)
    truth = BASIS.project(spectra.mT).mT
    error = torch.randn(truth.shape, generator=torch.Generator().manual_seed(2))
    error = error * seen(spectra).mean(1, keepdim=True)
    found = Correction.fit(seen(spectra), spectra, truth + error, basis=BASIS, variance=variance)
    assert found.noise >= 3
    change = found(as_image(seen(spectra)))[0, : BASIS.rank, :, 0].mT
    assert change.square().mean() < 0.05 * error.square().mean()


def test_estimates_that_are_not_finite_are_refused() -> None:
    estimate = torch.full((12, BASIS.rank), float("nan"))
    with pytest.raises(IncompleteRun, match="NaN"):
        Correction.fit(
            seen(SPECTRA[:12]),
            SPECTRA[:12],
            estimate,
            basis=BASIS,
            variance=torch.ones(12, len(GRID)),
        )


def test_one_reference_is_enough_to_ask() -> None:
    known = SPECTRA[:1]
    correction = NETWORK.fit_correction(STF, seen(known), known)
    assert torch.isfinite(correction(as_image(seen(SPECTRA[:9])))).all()
    assert torch.isfinite(correction.sigma_scale).all()


def test_standard_errors_shrink_near_the_references() -> None:
    known = SCENE[::20]
    correction = NETWORK.fit_correction(STF, seen(known), known)
    image = as_image(seen(torch.cat([SCENE[7:8], SCENE[7:8] * 6])))
    with torch.inference_mode():
        found = NETWORK(image, STF, estimate_stf=False, correction=correction).coefficients
    near, far = correction.variance_factor(image)[0, :, 0]
    assert near < far
    uncertainties = [NETWORK.cube_uncertainty(STF, each) for each in (correction, None)]
    with_it, without = (d.expand(d.maps(image, found))[0, :, 0, 0] for d in uncertainties)
    expected = without * correction.sigma_scale * float(near) ** 0.5
    assert torch.allclose(with_it, expected.maximum(uncertainties[0].floor.sqrt()), rtol=0.05)
