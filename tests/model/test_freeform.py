"""The free-form STF stage: closed form first, then curves; any order of bands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from tests.helpers.models import (
    CONFIG,
    GRID,
    expected_stf,
    tiny_library,
    tiny_materials,
    tiny_network,
)
from uavssr.data.batches import SpectraBags
from uavssr.data.scenes import simulate_batch
from uavssr.model.freeform import CurveNet, moment_parameters
from uavssr.model.likelihood import StfLikelihood
from uavssr.model.response import GAIN, SHIFT
from uavssr.model.solvers import SceneStatistics, r_step_free
from uavssr.training.loss import bag_loss

FREE = replace(CONFIG, stf="free")
HALF = float(GRID.centres[-1] - GRID.centres[0]) / 2


def test_untrained_stage_is_the_closed_form() -> None:
    network, materials, start = tiny_network(FREE, asleep=True), tiny_materials(), expected_stf()
    found = network.estimate_stf(materials, start)[1]
    seen = network.observation_model(start, stf_uncertainty=False)
    spectra = StfLikelihood.of(materials, network.mixture, seen).coefficients.mT
    statistics = SceneStatistics.of(
        materials.values.mT,
        spectra,
        seen.mixing,
        seen.offset,
        valid=materials.weight * materials.weight.shape[1],
    )
    expected = r_step_free(start.rows, network.basis.extended, statistics, torch.tensor(1.0))
    torch.testing.assert_close(found.rows, expected)
    assert torch.equal(found.theta_se, start.family.spread)  # it claims to know nothing


def test_measured_finds_the_gain_and_the_shift_of_a_family() -> None:
    family = expected_stf().family
    theta = torch.zeros(1, 5, 3)
    theta[..., GAIN] = torch.tensor([-0.1, 0.05, 0.0, 0.1, 0.02])
    theta[..., SHIFT] = torch.tensor([4.0, -6.0, 0.0, 3.0, -2.0])
    found = moment_parameters(family.rows(theta), family, HALF)
    torch.testing.assert_close(found[..., GAIN], theta[..., GAIN], atol=2e-3, rtol=0)
    torch.testing.assert_close(found[..., SHIFT], theta[..., SHIFT], atol=0.5, rtol=0)


def test_curves_are_read_one_by_one() -> None:
    torch.manual_seed(0)
    net = CurveNet(8).requires_grad_(False)
    net.head.weight.normal_()
    curves = torch.randn(1, 4, CurveNet.CHANNELS, 40)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(net(curves)[:, order], net(curves[:, order]))


def test_bags_train_the_rows() -> None:
    network, library = tiny_network(FREE, asleep=True).train(), tiny_library()
    bags = SpectraBags.fill(
        lambda rng, count, side: simulate_batch(library, rng, count, side),
        network.basis,
        count=20,
        seed=0,
    )
    batch = bags.draw(seed=0, step=0, shard=0, count=6)
    loss, figures = bag_loss(network, batch)
    loss.backward()
    slope = 0.0
    with torch.no_grad():
        for parameter in network.response_stages.parameters():
            if parameter.grad is not None:
                slope += float(parameter.grad.square().sum())
                parameter.sub_(1e-6 * parameter.grad)
    after, _ = bag_loss(network, batch)
    gained = float(loss.detach()) - float(after.detach())
    assert 0 < gained < 2e-6 * slope
    assert np.isfinite(list(figures.values())).all()
