"""The joint covariance of a blind STF."""

from __future__ import annotations

import torch

from tests.helpers.models import expected_stf, tiny_materials, tiny_network
from uavssr.model.materials import Materials
from uavssr.model.stf_covariance import stf_covariance


def test_covariance_has_the_standard_errors_on_its_diagonal_and_is_positive() -> None:
    network, materials = tiny_network(), tiny_materials()
    stf = network.estimate_stf(materials, expected_stf())[-1]
    covariance = stf_covariance(network, materials, stf)
    expected = stf.theta_se[0].double().flatten()
    torch.testing.assert_close(covariance.diagonal().sqrt(), expected)
    torch.testing.assert_close(covariance, covariance.T)
    assert torch.linalg.eigvalsh(covariance / torch.outer(expected, expected)).min() > 0
    assert (covariance - covariance.diagonal().diag()).abs().max() > 0


def test_constant_ground_correlates_nothing() -> None:
    network = tiny_network()
    values = torch.full((1, 4, 5), 0.2)
    materials = Materials(values=values, weight=torch.full((1, 4), 0.25))
    stf = network.estimate_stf(materials, expected_stf())[-1]
    covariance = stf_covariance(network, materials, stf)
    correlation = covariance / torch.outer(*[covariance.diagonal().sqrt()] * 2)
    torch.testing.assert_close(correlation, torch.eye(15).double(), atol=0.01, rtol=0)
