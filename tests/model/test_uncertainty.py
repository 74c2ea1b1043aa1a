"""Standard errors of the cube against the Gaussian closed form in numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.helpers.models import (
    CONFIG,
    GRID,
    double_stf,
    expected_stf,
    tiny_library,
    tiny_msi,
    tiny_network,
)
from uavssr.data.batches import observe_batch
from uavssr.data.scenes import simulate_batch
from uavssr.evaluation.coverage import INTERVAL_90, fit_sigma_scale, standardised_errors
from uavssr.model import uncertainty
from uavssr.model.state import Stf

ONE = replace(CONFIG, components=1)


def exact(stf: Stf, network: object) -> np.ndarray:
    """(C, C) posterior covariance of a spectrum under the only component, in float64."""
    basis, mixture = network.basis, network.mixture
    seen = network.observation_model(stf, stf_uncertainty=False)
    E, C = basis.components.double().numpy(), mixture.covariance[0].double().numpy()
    B, noise = seen.mixing[0].double().numpy(), seen.component_noise[0, 0].double().numpy()
    P = np.linalg.inv(np.linalg.inv(C) + B.T @ np.diag(1 / noise) @ B)
    return E @ P @ E.T + np.diag(basis.residual.double().numpy() ** 2)


def test_sigma_is_that_of_the_gaussian_posterior() -> None:
    network, image = tiny_network(ONE).requires_grad_(False), tiny_msi()
    stf = replace(expected_stf(), theta_se=torch.zeros(1, 5, 3))
    errors = network.cube_uncertainty(stf)
    result = network(image, stf, estimate_stf=False)
    sigma = errors.expand(errors.maps(image, result.coefficients))[0]
    expected = np.sqrt(np.diag(exact(stf, network)))
    np.testing.assert_allclose(sigma[:, 3, 4], expected, rtol=2e-3)
    assert torch.allclose(sigma[:, 3, 4], sigma[:, 9, 1], rtol=1e-4)  # one component: everywhere


def test_standard_errors_of_the_stf_add_what_they_move_in_the_last_x_step() -> None:
    network, image = tiny_network(ONE).requires_grad_(False), tiny_msi()
    stf = expected_stf()
    result = network(image, stf, estimate_stf=False)
    errors = network.cube_uncertainty(stf)
    sigma = errors.expand(errors.maps(image, result.coefficients))[0, :, 5, 6].double().numpy()
    seen = network.observation_model(stf, stf_uncertainty=False)
    B = seen.mixing[0].double().numpy()
    E = network.basis.components.double().numpy()
    W = E @ B.T @ np.linalg.inv(B @ B.T + np.diag(seen.final[0].double().numpy()))
    a = np.append(result.coefficients[0, :, 5, 6].double().numpy(), 1)
    change = (seen.tangent[0].double().numpy() @ a) * stf.theta_se[0].double().numpy()
    expected = np.diag(exact(stf, network)) + (W**2) @ (change**2).sum(1)
    np.testing.assert_allclose(sigma, np.sqrt(expected), rtol=5e-3)


def test_few_maps_are_close_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    network, image, stf = tiny_network(), tiny_msi(), expected_stf()
    coefficients = network(image, stf, estimate_stf=False).coefficients

    def sigma() -> torch.Tensor:
        errors = network.cube_uncertainty(stf)
        return errors.expand(errors.maps(image, coefficients))

    kept = sigma()
    monkeypatch.setattr(uncertainty, "VARIANCE_MAPS", 1000)
    assert torch.allclose(kept, sigma(), rtol=0.05)


def test_scale_multiplies_the_standard_errors() -> None:
    network, image, stf = tiny_network(), tiny_msi(), expected_stf()
    coefficients = network(image, stf, estimate_stf=False).coefficients
    before = network.cube_uncertainty(stf)
    plain = before.expand(before.maps(image, coefficients))
    network.sigma_scale.copy_(torch.linspace(1, 2, len(GRID)))
    after = network.cube_uncertainty(stf)
    scaled = after.expand(after.maps(image, coefficients))
    expected = plain * network.sigma_scale[:, None, None]
    assert torch.allclose(scaled, expected, rtol=0.03)


def test_outliers_are_pixels_unlike_the_prior() -> None:
    network, stf = tiny_network(), expected_stf()
    errors = network.cube_uncertainty(stf)
    image = tiny_msi()
    usual = errors.outliers(image)
    assert usual.float().mean() < 0.05
    wild = image.clone()
    wild[0, ::2, 4, 4] = 1.4  # bright in every other band
    wild[0, 1::2, 4, 4] = 0.0
    assert errors.outliers(wild)[0, 4, 4]
    assert torch.equal(errors.outliers(wild)[0, 5], usual[0, 5])  # no pixel speaks for another


def test_fitted_scale_makes_intervals_hold_nine_tenths() -> None:
    network = tiny_network(asleep=True)
    network.sigma_scale.fill_(0.3)  # far too sure
    rng = np.random.default_rng(0)
    batches = [
        observe_batch(rng, simulate_batch(tiny_library(), rng, 3, 16), GRID) for _ in range(6)
    ]

    def covered() -> float:
        scores = [
            standardised_errors(network, each, Stf.from_prior(each.family)) for each in batches
        ]
        return (torch.cat(scores, 1) < INTERVAL_90).float().mean().item()

    assert covered() < 0.8
    network.sigma_scale.copy_(fit_sigma_scale(network, batches))
    assert 0.87 < covered() < 0.93


def test_float64_follows_the_input() -> None:
    network, stf = tiny_network(ONE).double(), double_stf(expected_stf())
    image = tiny_msi().double()
    errors = network.cube_uncertainty(stf)
    result = network(image, stf, estimate_stf=False)
    assert errors.expand(errors.maps(image, result.coefficients)).dtype == torch.float64
