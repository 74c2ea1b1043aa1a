"""Joint errors of several bands against those of single bands, and against sampling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.helpers.models import CONFIG, double_stf, expected_stf, tiny_msi, tiny_network
from uavssr.model.band_errors import Direction
from uavssr.model.pgunet import PGUNet
from uavssr.model.state import Stf

BANDS = [4, 11, 18, 30]


def rows(network: PGUNet, bands: list[int]) -> torch.Tensor:
    return torch.eye(len(network.grid), dtype=network.mean.dtype)[bands]


@pytest.mark.parametrize("components", [1, 3])
def test_single_bands_have_the_standard_errors_of_the_cube(components: int) -> None:
    network, image = tiny_network(replace(CONFIG, components=components)), tiny_msi()
    network.sigma_scale.copy_(torch.linspace(1, 2, len(network.grid)))
    stf = replace(expected_stf(), common_se=torch.tensor([0.1]))
    coefficients = network(image, stf, estimate_stf=False).coefficients
    errors = network.cube_uncertainty(stf)
    sigma = errors.expand(errors.maps(image, coefficients))[0, BANDS].flatten(1)
    joint = network.band_errors(rows(network, BANDS), stf)
    own = joint.own(image.flatten(2))[0]
    shared = joint.shared(image.flatten(2), coefficients.flatten(2))[0]
    variance = own.diagonal().T + shared.square().sum(1)
    torch.testing.assert_close(variance.sqrt(), sigma, rtol=0.05, atol=1e-5)


def test_variance_along_a_direction_is_that_of_the_covariance() -> None:
    network, image = tiny_network(replace(CONFIG, components=3)), tiny_msi().flatten(2)
    joint = network.band_errors(rows(network, BANDS), expected_stf())
    torch.manual_seed(0)
    directions = [
        Direction(chosen, torch.randn(len(chosen), image.shape[-1])) for chosen in ([2], [3, 0, 1])
    ]
    own, along = joint.own(image)[0], joint.variances_along(image, directions)
    for variance, (chosen, weight) in zip(along, directions, strict=True):
        expected = torch.einsum("tn,tpn,pn->n", weight, own[chosen][:, chosen], weight)
        torch.testing.assert_close(variance, expected, rtol=1e-3, atol=1e-9)


def test_covariance_is_that_of_errors_of_drawn_pixels() -> None:
    network = tiny_network(replace(CONFIG, components=1), asleep=True).double()
    network.residual.zero_()
    network.requires_grad_(False)
    stf = double_stf(replace(expected_stf(), theta_se=torch.zeros(1, 5, 3)))
    stf = replace(stf, common_se=torch.zeros(1, dtype=torch.float64))
    seen = network.observation_model(stf)
    torch.manual_seed(0)
    factor = torch.linalg.cholesky(network.covariance[0])
    truth = network.mixture_mean[0][:, None] + factor @ torch.randn(6, 40_000, dtype=torch.float64)
    noise = seen.component_noise[0, 0].sqrt()[:, None] * torch.randn(5, 40_000).double()
    image = (seen.mixing[0] @ truth + seen.offset[0][:, None] + noise)[None]
    estimate = network(image[..., None], stf, estimate_stf=False).coefficients[..., 0]
    mix = torch.tensor([[1.0, -1, 0, 0], [0.5, 0.5, 0, 0], [0, 1, -2, 1]]).double()
    combinations = mix @ rows(network, BANDS)
    errors = combinations @ network.components @ (estimate[0] - truth)
    own = network.band_errors(combinations, stf).own(image[..., :10])[0]
    assert torch.allclose(own, own[..., :1])  # one component: the same at all pixels
    expected = np.cov(errors.numpy())
    deviation = np.sqrt(np.diag(expected))
    scaled = (own[..., 0].numpy() - expected) / np.outer(deviation, deviation)
    assert np.abs(scaled).max() < 0.03
    assert np.abs(expected[0, 1] / np.prod(deviation[:2])) > 0.1  # correlated


def test_shared_errors_are_the_change_by_the_stf() -> None:
    """What the shared part says of a gain's error is what another gain does to the cube."""
    network = tiny_network(replace(CONFIG, components=1), asleep=True).double()
    network.requires_grad_(False)
    stf = double_stf(expected_stf())
    image = tiny_msi().double()
    band, step = 2, 1e-4
    result = network(image, stf, estimate_stf=False, stages=0).coefficients
    joint = network.band_errors(rows(network, BANDS), stf)
    shared = joint.shared(image.flatten(2), result.flatten(2))[0]

    def cube(theta: torch.Tensor) -> torch.Tensor:
        # the gains of the closed forms are held, as theta_se is small
        moved = Stf.of(stf.family, theta, stf.theta_se)
        change = (moved.rows - stf.rows)[0] @ network.basis.extended
        a = torch.cat([result.flatten(2)[0], torch.ones(1, result[0, 0].numel()).double()])
        seen = image - (change @ a)[None].unflatten(-1, image.shape[-2:])
        coefficients = network(seen, stf, estimate_stf=False, stages=0).coefficients
        return network.basis.expand(coefficients)[0, BANDS].flatten(1)

    theta = stf.theta.clone()
    theta[0, band, 2] += step
    difference = (cube(stf.theta) - cube(theta)) / step * stf.theta_se[0, band, 2]
    torch.testing.assert_close(shared[:, band * 3 + 2], difference, rtol=5e-3, atol=1e-6)


def test_own_variance_is_the_diagonal_of_the_covariance() -> None:
    network = tiny_network()
    joint = network.band_errors(rows(network, BANDS), expected_stf())
    image = tiny_msi().flatten(2)
    diagonal = joint.own(image).diagonal(dim1=1, dim2=2).mT
    torch.testing.assert_close(joint.own_variance(image), diagonal)
