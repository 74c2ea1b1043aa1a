"""X-steps that expect each pixel's own variance: the laws of the network with them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.helpers.models import (
    CONFIG,
    P4M,
    double_stf,
    expected_stf,
    stages_of,
    tiny_model,
    tiny_msi,
    tiny_network,
)
from uavssr.model import PGUNet, load_model
from uavssr.model.solvers import wiener_by_pixel
from uavssr.model.stages import VARIANCE_FACTOR
from uavssr.model.state import ObservationModel, Stf

PIXEL = replace(CONFIG, prior_variance="pixel")


@cache
def network_of() -> PGUNet:
    network = tiny_network(PIXEL).double().requires_grad_(False)
    for number, stage in enumerate(stages_of(network)):
        assert stage.log_factor is not None
        stage.log_factor.add_(0.5 - number)  # as after training
    return network


def msi_of(size: int = 16) -> Tensor:
    return tiny_msi(P4M, size, size).double()


def stf_of() -> Stf:
    return double_stf(expected_stf())


def posterior(msi: Tensor, seen: ObservationModel) -> tuple[Tensor, Tensor]:
    """The mixture's mean and variance, both (1, r, H, W)."""
    parts = network_of().mixture.posterior(
        msi.flatten(2), seen.mixing, seen.offset, seen.component_noise
    )
    mean, variance = (part.unflatten(-1, msi.shape[-2:]) for part in parts)
    return mean, variance


def close(one: Tensor, two: Tensor) -> None:
    torch.testing.assert_close(one, two, rtol=0, atol=1e-9)


def test_stage_expects_the_posterior_variance_times_its_factor() -> None:
    """Z-Net reads the X-step's result, what it leaves of the image, and the deviation."""
    network, msi = network_of(), msi_of()
    result = network(msi, stf_of(), estimate_stf=False)
    seen, stage = network.observation_model(stf_of()), stages_of(network)[0]
    start, variance = posterior(msi, seen)
    assert stage.log_factor is not None
    misfit = (msi - torch.einsum("cr,brhw->bchw", seen.mixing[0], start)).flatten(2)
    explained, left = wiener_by_pixel(
        misfit - seen.offset[..., None],
        stage.log_factor.exp() * variance.flatten(2),
        seen.mixing,
        seen.noise * stage.log_alpha.exp(),
    )
    flat = start.flatten(2) + explained
    read = torch.cat([flat, left, variance.flatten(2).sqrt()], 1).mT
    shape = msi.shape[-2:]
    expected = stage.znet(flat.mT.unflatten(1, shape), stage.znet.stem(read).unflatten(1, shape))
    close(result.stage_coefficients[1], expected.permute(0, 3, 1, 2))


@pytest.mark.parametrize("stages", [0, 2])
def test_last_step_expects_the_posterior_variance_too(stages: int) -> None:
    network, msi = network_of(), msi_of()
    result = network(msi, stf_of(), estimate_stf=False, stages=stages)
    seen = network.observation_model(stf_of())
    _, variance = posterior(msi, seen)
    last = result.stage_coefficients[-1].flatten(2)
    misfit = msi.flatten(2) - seen.mixing @ last - seen.offset[..., None]
    explained, _ = wiener_by_pixel(
        misfit, VARIANCE_FACTOR * variance.flatten(2), seen.mixing, seen.final
    )
    close(result.coefficients.flatten(2), last + explained)


def test_a_tile_with_its_halo_equals_the_whole() -> None:
    network, msi, halo = network_of(), msi_of(36), network_of().halo()
    whole = network(msi, stf_of(), estimate_stf=False).coefficients
    tile = network(msi[..., 12 - halo :, 10 - halo :], stf_of(), estimate_stf=False).coefficients
    close(tile[..., halo:, halo:], whole[..., 12:, 10:])


def test_factor_and_noise_are_learned() -> None:
    network = tiny_network(PIXEL)
    network(tiny_msi(), expected_stf(), estimate_stf=False).coefficients.square().sum().backward()
    for stage in stages_of(network):
        for parameter in (stage.log_factor, stage.log_alpha):
            assert parameter is not None
            assert parameter.grad is not None
            assert parameter.grad != 0


def test_saved_network_is_loaded_with_its_factors(tmp_path: Path) -> None:
    network = tiny_network(PIXEL)
    with torch.no_grad():
        for stage in stages_of(network):
            assert stage.log_factor is not None
            stage.log_factor.fill_(0.3)
    loaded = load_model(tiny_model(tmp_path / "pixel", network=network)).network
    assert loaded.config == PIXEL
    msi, stf = tiny_msi(), expected_stf()
    with torch.inference_mode():
        results = [each(msi, stf, estimate_stf=False).coefficients for each in (network, loaded)]
    assert torch.equal(*results)
