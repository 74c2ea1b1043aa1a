"""The network's parts in float32 on every device against float64 on the CPU."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from tests.helpers.models import (
    double,
    double_stf,
    expected_stf,
    moved,
    moved_stf,
    tiny_materials,
    tiny_msi,
    tiny_network,
)
from uavssr.model.pgunet import PGUNet
from uavssr.model.solvers import wiener_by_pixel, x_step
from uavssr.model.state import ObservationModel, Stf

CPU = torch.device("cpu")
COUNT = 1e-4
"""Reflectance of one stored number."""


@cache
def network(device: torch.device = CPU) -> PGUNet:
    return tiny_network().requires_grad_(False).to(device)


@cache
def exact_network() -> PGUNet:
    return tiny_network().requires_grad_(False).double()


def stf() -> Stf:
    """An STF with some knowledge of the camera: a tenth of the prior's width."""
    prior = expected_stf()
    return replace(prior, theta_se=0.1 * prior.theta_se)


def observation() -> ObservationModel:
    return network().observation_model(stf())


def close(result: Tensor, exact: Tensor, atol: float) -> None:
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.cpu().double(), exact, rtol=0, atol=atol)


def test_mixture_posterior(device: torch.device) -> None:
    msi, seen = tiny_msi().flatten(2), observation()
    inputs = (msi, seen.mixing, seen.offset, seen.component_noise)
    exact = double(network().mixture).posterior(*(tensor.double() for tensor in inputs))
    mixture = moved(network().mixture, device)
    result = mixture.posterior(*(tensor.to(device) for tensor in inputs))
    for part, exact_part in zip(result, exact, strict=True):
        close(part, exact_part, 1e-3)


def test_x_step(device: torch.device) -> None:
    msi, seen = tiny_msi().flatten(2), observation()
    prior = torch.randn(1, seen.mixing.shape[-1], msi.shape[-1], generator=torch.manual_seed(0))
    inputs = (msi, prior, seen.mixing, seen.offset, seen.noise)
    exact = x_step(*(tensor.double() for tensor in inputs))
    close(x_step(*(tensor.to(device) for tensor in inputs)), exact, 1e-4)


def test_wiener_by_pixel(device: torch.device) -> None:
    msi, seen = tiny_msi().flatten(2), observation()
    generator = torch.manual_seed(0)
    variance = torch.rand(1, seen.mixing.shape[-1], msi.shape[-1], generator=generator)
    inputs = (msi, variance, seen.mixing, seen.noise)
    exact = wiener_by_pixel(*(tensor.double() for tensor in inputs))
    for part, exact_part in zip(
        wiener_by_pixel(*(tensor.to(device) for tensor in inputs)), exact, strict=True
    ):
        close(part, exact_part, 1e-3)


def test_stf_of_given_materials(device: torch.device) -> None:
    materials = tiny_materials()
    exact = exact_network().estimate_stf(double(materials), double_stf(stf()))[-1]
    estimates = network(device).estimate_stf(moved(materials, device), moved_stf(stf(), device))
    tolerance = 0.02 * exact.theta_se  # of each parameter in its own unit
    assert ((estimates[-1].theta.cpu() - exact.theta).abs() < tolerance).all()
    close(estimates[-1].rows, exact.rows, 1e-5)


@pytest.mark.parametrize(("bfloat16", "counts"), [(False, 1), (True, 4)])
def test_cube_with_the_stf_held(device: torch.device, *, bfloat16: bool, counts: float) -> None:
    msi = tiny_msi()
    exact = exact_network()(msi.double(), double_stf(stf()), estimate_stf=False)
    held = moved_stf(stf(), device)
    result = network(device)(msi.to(device), held, estimate_stf=False, bfloat16=bfloat16)
    cube = network(device).basis.expand(result.coefficients)
    close(cube, exact_network().basis.expand(exact.coefficients), counts * COUNT)
