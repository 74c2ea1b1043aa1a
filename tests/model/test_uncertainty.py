"""Standard errors of the cube against the Gaussian closed form in numpy."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

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
from uavssr.model import OUTLIER_QUANTILE, PGUNet, chi_square_quantile, uncertainty
from uavssr.model.stages import VARIANCE_FACTOR
from uavssr.model.state import Stf

ONE = replace(CONFIG, components=1)


def exact(stf: Stf, network: PGUNet) -> tuple[np.ndarray, np.ndarray]:
    """Covariance (C, C) of the cube's error under the only component, and what passes (C, c).

    By propagating the errors of the prior and of the noise through both linear steps, in float64.
    """
    basis, mixture = network.basis, network.mixture
    seen, sensor = (network.observation_model(stf, stf_uncertainty=s) for s in (True, False))
    E, C = basis.components.double().numpy(), mixture.covariance[0].double().numpy()
    B, noise = (part[0].double().numpy() for part in (seen.mixing, sensor.component_noise[:, 0]))
    assumed, final = (part[0].double().numpy() for part in (seen.component_noise[:, 0], seen.final))
    K = C @ B.T @ np.linalg.inv(B @ C @ B.T + np.diag(assumed))
    D = np.eye(len(C))
    if network.config.prior_variance == "pixel":
        D = VARIANCE_FACTOR * np.diag(np.diag(C - K @ B @ C))
    G = D @ B.T @ np.linalg.inv(B @ D @ B.T + np.diag(final))
    # A_hat - A for A = mu + a, Y = B A + b + n: first Z = mu + K (B a + n), then the last X-step
    of_prior, of_noise = K @ B - np.eye(len(C)), K
    of_prior, of_noise = of_prior - G @ B @ of_prior, of_noise + G - G @ B @ of_noise
    covariance = of_prior @ C @ of_prior.T + of_noise @ np.diag(noise) @ of_noise.T
    return E @ covariance @ E.T + np.diag(basis.residual.double().numpy() ** 2), E @ of_noise


@pytest.mark.parametrize("variance", ["unit", "pixel"])
def test_sigma_is_the_error_of_both_linear_steps(variance: Literal["unit", "pixel"]) -> None:
    config = replace(ONE, prior_variance=variance)
    network, image = tiny_network(config).requires_grad_(False), tiny_msi()
    stf = replace(expected_stf(), theta_se=torch.zeros(1, 5, 3), common_se=torch.zeros(1))
    errors = network.cube_uncertainty(stf)
    result = network(image, stf, estimate_stf=False)
    sigma = errors.expand(errors.maps(image, result.coefficients))[0]
    expected = np.sqrt(np.diag(exact(stf, network)[0]))
    np.testing.assert_allclose(sigma[:, 3, 4], expected, rtol=2e-3)
    assert torch.allclose(sigma[:, 3, 4], sigma[:, 9, 1], rtol=1e-4)  # one component: everywhere


def test_standard_errors_of_the_stf_add_what_passes_to_the_cube() -> None:
    network, image = tiny_network(ONE).requires_grad_(False), tiny_msi()
    stf = replace(expected_stf(), common_se=torch.tensor([0.1]))
    result = network(image, stf, estimate_stf=False)
    errors = network.cube_uncertainty(stf)
    sigma = errors.expand(errors.maps(image, result.coefficients))[0, :, 5, 6].double().numpy()
    a = np.append(result.coefficients[0, :, 5, 6].double().numpy(), 1)
    tangent = network.observation_model(stf).tangent[0].double().numpy()
    change = (tangent @ a) * stf.theta_se[0].double().numpy()
    covariance, passed = exact(stf, network)
    cube = network.basis.extended.double().numpy() @ a
    expected = np.diag(covariance) + passed**2 @ (change**2).sum(1) + (0.1 * cube) ** 2
    np.testing.assert_allclose(sigma, np.sqrt(expected), rtol=0.03)  # between the J wavelengths


def test_components_that_disagree_add_their_spread() -> None:
    network, image, stf = tiny_network(), tiny_msi(), expected_stf()
    errors = network.cube_uncertainty(stf)
    seen = network.observation_model(stf)
    share = network.mixture.component_posterior(
        image.flatten(2), seen.mixing, seen.offset, seen.component_noise
    )
    between = errors._between(image.flatten(2), share)[0]
    mixture = network.mixture
    B, offset = seen.mixing[0], seen.offset[0]
    means = []
    for k, (mean, C) in enumerate(zip(mixture.mean, mixture.covariance, strict=True)):
        system = B @ C @ B.T + torch.diag(seen.component_noise[0, k])
        misfit = image[0].flatten(1) - (B @ mean + offset)[:, None]
        means.append(
            errors.at[:, :-1] @ (mean[:, None] + C @ B.T @ torch.linalg.solve(system, misfit))
        )
    spread = torch.stack(means)
    expected = (share[0][:, None] * (spread - (share[0][:, None] * spread).sum(0)).square()).sum(0)
    assert expected.max() > 1e-4
    torch.testing.assert_close(between, expected, rtol=1e-3, atol=1e-7)


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
    usual, limit = errors.distance(image), chi_square_quantile(5, OUTLIER_QUANTILE)
    assert (usual > limit).float().mean() < 0.05
    wild = image.clone()
    wild[0, ::2, 4, 4] = 1.4  # bright in every other band
    wild[0, 1::2, 4, 4] = 0.0
    assert errors.distance(wild)[0, 4, 4] > limit
    assert torch.equal(errors.distance(wild)[0, 5], usual[0, 5])  # no pixel speaks for another


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
