"""The parametric STF stage whatever its weights: what a scene may change, and that it is right."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.models import (
    CONFIG,
    P4M,
    double,
    double_stf,
    expected_stf,
    response_stages_of,
    tiny_materials,
    tiny_network,
)
from uavssr.errors import IncompleteRun
from uavssr.model import stages as module
from uavssr.model.likelihood import StfLikelihood, r_step_mixture
from uavssr.model.materials import MATERIALS_PER_SCENE, Materials
from uavssr.model.mixture import SpectralMixture
from uavssr.model.pgunet import PGUNet
from uavssr.model.response import GAIN
from uavssr.model.stages import (
    EFFECTIVE_SAMPLES,
    HALF_DIVERSITY_EXCESS,
    estimate_common_factor,
    material_diversity,
)
from uavssr.model.state import Stf
from uavssr.sensors import SENSORS, Sensor

CAMERAS = ("rgb", "p4m", "rededge-mx-dual")  # 3, 5 and 10 bands


@cache
def network_of() -> PGUNet:
    return tiny_network().double().requires_grad_(False)


def stf_of(sensor: Sensor = P4M) -> Stf:
    return double_stf(expected_stf(sensor))


def materials_of(sensor: Sensor = P4M, *, seed: int = 0) -> Materials:
    return double(tiny_materials(sensor, seed=seed))


def close(one: Tensor, two: Tensor, atol: float = 1e-9) -> None:
    torch.testing.assert_close(one, two, rtol=0, atol=atol)


def assert_same_stf(one: Stf, two: Stf) -> None:
    for name in ("theta", "theta_se", "rows"):
        close(getattr(one, name), getattr(two, name))


# --- materials are a set --------------------------------------------------------------------------


@pytest.mark.parametrize("name", CAMERAS)
def test_the_order_of_materials_does_not_matter(name: str) -> None:
    sensor, network = SENSORS[name], network_of()
    found = materials_of(sensor)
    order = torch.randperm(MATERIALS_PER_SCENE, generator=torch.Generator().manual_seed(0))
    shuffled = Materials(values=found.values[:, order], weight=found.weight[:, order])
    stages = network.estimate_stf(found, stf_of(sensor))
    for one, two in zip(stages, network.estimate_stf(shuffled, stf_of(sensor)), strict=True):
        assert_same_stf(one, two)


def test_materials_of_no_weight_do_not_matter() -> None:
    """An image of few colours leaves clusters empty."""
    network, found = network_of(), materials_of()
    more = Materials(
        values=torch.cat([found.values, torch.full((1, 5, 5), 0.9).double()], 1),
        weight=torch.cat([found.weight, torch.zeros(1, 5).double()], 1),
    )
    assert_same_stf(
        network.estimate_stf(more, stf_of())[-1], network.estimate_stf(found, stf_of())[-1]
    )


def test_scenes_of_materials_do_not_see_each_other() -> None:
    network, scenes = network_of(), [materials_of(seed=seed) for seed in range(3)]
    together = Materials(
        values=torch.cat([each.values for each in scenes]),
        weight=torch.cat([each.weight for each in scenes]),
    )
    family = stf_of().family
    stacked = {
        name: getattr(family, name).repeat(3, *[1] * (getattr(family, name).dim() - 1))
        for name in ("curves", "centre", "fwhm", "prior", "spread")
    }
    found = network.estimate_stf(together, Stf.from_prior(replace(family, **stacked)))[-1]
    for i, scene in enumerate(scenes):
        alone = network.estimate_stf(scene, stf_of())[-1]
        for name in ("theta", "theta_se", "rows"):
            close(getattr(found, name)[i], getattr(alone, name)[0])


# --- what a scene may change ----------------------------------------------------------------------


def test_a_stage_that_does_not_trust_the_scene_keeps_the_prior_exactly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "EFFECTIVE_SAMPLES", 0.0)
    stf = stf_of()
    for estimate in network_of().estimate_stf(materials_of(), stf):
        assert torch.equal(estimate.theta, stf.theta)
        assert torch.equal(estimate.theta_se, stf.theta_se)


def test_an_untrained_stage_is_the_r_step_alone() -> None:
    """And keeps the posterior deviation that the R-step leaves."""
    network, materials = tiny_network(asleep=True).double().requires_grad_(False), materials_of()
    stages = network.estimate_stf(materials, stf_of())
    assert len(stages) == CONFIG.response_stages + 1
    for before, after in pairwise(stages):
        seen, family = network.observation_model(before, stf_uncertainty=False), before.family
        likelihood = StfLikelihood.of(materials, network.mixture, seen)
        samples = EFFECTIVE_SAMPLES * material_diversity(likelihood.coefficients, materials.weight)
        theta, share = r_step_mixture(
            before.theta, family.prior, family.spread, likelihood, samples
        )
        close(after.theta, theta)
        close(after.theta_se, family.spread * (1 - share).sqrt())


def test_pnet_changes_no_more_than_the_share_of_the_image_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever its output: the image's share of the variance bounds the change."""
    network, materials = tiny_network().double().requires_grad_(False), materials_of()
    for stage in response_stages_of(network):
        stage.pnet.head.weight.zero_()
        stage.pnet.head.bias.fill_(-60.0).narrow(0, 3, 3).fill_(60.0)
    monkeypatch.setattr(module, "EFFECTIVE_SAMPLES", 1e-6)
    stf = stf_of()
    for estimate in network.estimate_stf(materials, stf)[1:]:
        assert ((estimate.theta - stf.theta).abs() < 0.01 * stf.theta_se).all()
        assert (estimate.theta_se > 0.99 * stf.theta_se).all()


def test_diversity_is_zero_for_one_spectrum_and_near_one_for_many() -> None:
    generator = torch.Generator().manual_seed(0)
    many = torch.randn(4, 40, 6, generator=generator).double()
    alike = many[:, :1].expand(-1, 40, -1)
    even = torch.full((4, 40), 1 / 40).double()
    close(material_diversity(alike, even), torch.zeros(4).double(), atol=1e-9)
    assert material_diversity(many, even).min() > 0.95
    between = [material_diversity(alike + step * many, even).mean() for step in (0, 0.01, 0.1, 1)]
    assert between == sorted(between)
    # of two directions that are alike strong the ratio is two
    pair = torch.tensor([[[1.0], [-1.0]]]).double()
    expected = torch.tensor([1 / (1 + HALF_DIVERSITY_EXCESS)], dtype=torch.float64)
    close(material_diversity(pair, torch.full((1, 2), 0.5).double()), expected)
    assert not material_diversity(many, torch.zeros_like(even)).any()


# --- a gain that is off ---------------------------------------------------------------------------


def drawn_scene(gain: Tensor, *, count: int = 3000) -> tuple[PGUNet, Materials, Stf]:
    """Materials drawn from the prior itself, and seen by a camera of which only gains may stray.

    The prior's spectra vary little about its components' means. Where bands tell less of each
    other, a gain comes out too large by the variance that is left over the band's power.
    """
    network = tiny_network(asleep=True).requires_grad_(False)
    wide = network.mixture
    mixture = SpectralMixture(
        weight=wide.weight, mean=wide.mean, covariance=0.003 * wide.covariance
    )
    network = PGUNet(CONFIG, network.basis, mixture).double().requires_grad_(False)
    family, mixture = stf_of().family, network.mixture
    gains = torch.tensor([0.0, 0.0, 1.0]).double() * family.spread
    start = Stf.from_prior(replace(family, spread=gains))
    theta = torch.zeros_like(family.prior)
    theta[..., GAIN] = gain
    seen = network.observation_model(Stf.of(family, theta, gains), stf_uncertainty=False)
    generator = torch.Generator().manual_seed(0)
    chosen = torch.multinomial(mixture.weight, count, replacement=True, generator=generator)
    draw = torch.randn(count, CONFIG.rank, 1, generator=generator).double()
    root = torch.linalg.cholesky(mixture.covariance)
    spectra = mixture.mean[chosen] + (root[chosen] @ draw)[..., 0]
    noise = torch.randn(count, len(P4M), generator=generator).double()
    values = spectra @ seen.mixing[0].T + seen.offset[0]
    values = values + seen.component_noise[0, chosen].sqrt() * noise
    return network, Materials(values=values[None], weight=torch.full((1, count), 1 / count)), start


def gains_of(stages: tuple[Stf, ...]) -> list[Tensor]:
    return [stf.theta[0, :, GAIN] for stf in stages[1:]]


GAINS = (
    torch.zeros(5).double(),
    torch.tensor([0, 0, 0.05, 0, 0]).double(),
    torch.tensor([0.05, -0.05, 0, 0.03, -0.05]).double(),
)
every_gain = pytest.mark.parametrize("gain", GAINS, ids=["none", "one band", "all bands"])


@every_gain
def test_wrong_gains_are_found_by_many_materials(
    gain: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To one per cent, of five."""
    monkeypatch.setattr(module, "EFFECTIVE_SAMPLES", 1e5)
    network, materials, start = drawn_scene(gain)
    found = gains_of(network.estimate_stf(double(materials), start))
    close(found[-1], gain, atol=0.01)
    assert (found[-1] - gain).norm() <= (found[0] - gain).norm() + 1e-3  # stages come nearer


@every_gain
def test_a_scene_moves_the_gains_towards_the_truth_without_overshooting(gain: Tensor) -> None:
    network, materials, start = drawn_scene(gain)
    for found in gains_of(network.estimate_stf(double(materials), start)):
        assert (found - gain).norm() < 0.75 * gain.norm() + 0.006
        moved = (found * gain.sign())[gain != 0]
        assert (moved < gain.abs()[gain != 0]).all()
        assert (moved > 0.15 * gain.abs()[gain != 0]).all()


# --- what is not finite ---------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_materials_that_are_not_finite_stop_the_run(bad: float) -> None:
    materials = materials_of()
    materials.values[0, 3, 2] = bad
    with pytest.raises(IncompleteRun, match="NaN or infinity for the STF"):
        network_of().estimate_stf(materials, stf_of())


def test_weights_that_are_not_finite_stop_the_run() -> None:
    network = tiny_network().requires_grad_(False)
    response_stages_of(network)[-1].pnet.head.bias.fill_(torch.nan)
    with pytest.raises(IncompleteRun, match="NaN or infinity for the STF"):
        network.estimate_stf(tiny_materials(), expected_stf())


def test_a_local_prior_tells_a_factor_common_to_all_bands() -> None:
    """A factor of 0.8 is found, none where there is none, and none where none may be."""
    network, stf = tiny_network(), expected_stf()
    stf = replace(stf, theta_se=0.1 * stf.theta_se, common_se=torch.full((1,), 0.2))
    rng = torch.Generator().manual_seed(0)
    mixture = replace(network.mixture, covariance=0.02 * network.mixture.covariance)  # of the place
    chosen = torch.randint(len(mixture.mean), (40,), generator=rng)
    spectra = network.basis.extended @ torch.cat([mixture.mean[chosen].T, torch.ones(1, 40)])
    network.covariance.copy_(mixture.covariance)
    materials = Materials(values=0.8 * (stf.rows @ spectra).mT, weight=torch.full((1, 40), 1 / 40))
    moved = estimate_common_factor(materials, mixture, stf, network.observation_model)
    common = float((moved.family.prior - stf.family.prior)[0, 0, GAIN])
    assert abs(common - np.log(0.8)) < 0.05
    assert float(moved.common_se) < 0.1
    same = estimate_common_factor(
        replace(materials, values=materials.values / 0.8), mixture, stf, network.observation_model
    )
    assert abs(float((same.family.prior - stf.family.prior)[0, 0, GAIN])) < 0.05
    known = replace(stf, common_se=torch.zeros(1))
    fixed = estimate_common_factor(materials, mixture, known, network.observation_model)
    torch.testing.assert_close(fixed.theta, known.theta, atol=1e-4, rtol=0)
