"""The losses: zero at the truth, larger with larger errors, smallest for right standard errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.models import draw_batch, tiny_library, tiny_network
from uavssr.data.batches import Batch, SpectraBagBatch, SpectraBags
from uavssr.data.scenes import simulate_batch
from uavssr.model.materials import find_materials
from uavssr.model.pgunet import PGUNet
from uavssr.model.state import Stf
from uavssr.spectra.library import SpectralLibrary
from uavssr.training.loss import bag_loss, image_loss, stf_loss


@pytest.fixture(scope="module")
def library() -> SpectralLibrary:
    return tiny_library()


def case_of(library: SpectralLibrary) -> tuple[PGUNet, Batch, Stf]:
    batch = draw_batch(library, seed=3, step=1, count=2, size=8)
    return tiny_network(), batch, Stf.from_prior(batch.family)


@pytest.mark.parametrize("blind", [True, False], ids=["blind", "fixed"])
def test_the_loss_is_zero_at_the_truth_and_grows_away_from_it(
    *, blind: bool, library: SpectralLibrary
) -> None:
    network, batch, start = case_of(library)
    truth = network.basis.project(batch.hsi.flatten(2)).unflatten(-1, (8, 8))
    inside = network.basis.expand(truth)
    rows = start.rows if not blind else batch.rows
    batch = replace(
        batch,
        hsi=inside,
        rows=rows,
        msi=torch.einsum("sbc,scyx->sbyx", rows, inside),
    )
    with torch.no_grad():
        result = network(batch.msi, start, estimate_stf=blind)
    exact = replace(start, theta=batch.theta, rows=rows)

    def loss(coefficients: Tensor, stf: Stf) -> tuple[float, dict[str, float]]:
        changed = replace(
            result,
            coefficients=coefficients,
            stf=stf,
            stage_coefficients=(truth, *(coefficients for _ in network.stages)),
            stage_stf=(start, *(stf for _ in network.stages if blind)),
        )
        total, parts = image_loss(network, batch, changed)
        return total.item(), parts

    best, parts = loss(truth, exact)
    prefix = "blind_" if blind else "known_"
    assert parts[prefix + "rmse"] < 1e-6
    assert parts[prefix + "misfit"] < 1e-5
    assert ("blind_nll" in parts) == blind
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    ladder = [best, *(loss(truth + step * noise, exact)[0] for step in (0.03, 0.1, 0.3))]
    assert ladder == sorted(ladder)
    assert ladder[-1] > best + 0.05
    if blind:
        assert parts["blind_stf"] == 0
        other = replace(exact, theta=batch.theta + batch.family.spread)
        assert loss(truth, other)[0] > best + 0.05
        total, parts = loss(truth, replace(exact, rows=1.1 * rows))
        assert parts["blind_stf"] == pytest.approx(0.1, rel=1e-4)
        assert parts["blind_misfit"] == pytest.approx(0.1, rel=1e-4)
        # the cube is the truth still: a tenth of the misfit and a fifth of the rows' error
        assert total - best == pytest.approx(0.1 * 0.1 + 0.2 * 0.1, rel=1e-3)


def test_every_stage_is_supervised_and_the_later_ones_more(library: SpectralLibrary) -> None:
    network, batch, start = case_of(library)
    with torch.no_grad():
        result = network(batch.msi, start, estimate_stf=False)
    truth = network.basis.project(batch.hsi.flatten(2)).unflatten(-1, (8, 8))
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))

    def loss(*scales: float) -> float:
        maps = [truth + scale * noise for scale in scales]
        changed = replace(
            result, coefficients=maps[-1], stage_coefficients=(result.coefficients, *maps[:-1])
        )
        return image_loss(network, batch, changed)[0].item()

    best = loss(0, 0, 0)
    costs = [loss(*scales) - best for scales in ((0.2, 0, 0), (0, 0.2, 0), (0, 0, 0.2))]
    assert 0.01 < costs[0] < costs[1] < costs[2]


def test_a_real_camera_has_no_loss_of_the_stf(library: SpectralLibrary) -> None:
    network, batch, start = case_of(library)
    with torch.no_grad():
        result = network(batch.msi, start, estimate_stf=True)
    total, parts = image_loss(network, batch, result)
    real, known = image_loss(network, replace(batch, theta=None, rows=None), result)
    assert set(parts) - set(known) == {"blind_nll", "blind_stf"}
    assert all(known[key] == parts[key] for key in known)
    expected = total.item() - 0.2 * (parts["blind_nll"] + parts["blind_stf"])
    assert real.item() == pytest.approx(expected, rel=1e-4)


# --- the STF --------------------------------------------------------------------------------------


def stage_of(start: Stf, seed: int, *, scale: float = 0.5) -> Stf:
    """An STF whose parameters and standard errors are random, of the order of the prior's."""
    generator = torch.Generator().manual_seed(seed)
    spread = start.family.spread
    away = torch.randn(spread.shape, generator=generator) * spread
    deviation = scale * spread * torch.randn(spread.shape, generator=generator).exp()
    return Stf.of(start.family, start.theta + away, deviation)


def test_stf_loss_equals_its_formula(library: SpectralLibrary) -> None:
    """sum_k k / K mean(min(((t_k - t) / s_k)^2, 100) / 2 + ln(s_k / spread)) over the stages."""
    _, batch, start = case_of(library)
    stages = [stage_of(start, seed, scale=scale) for seed, scale in ((0, 0.5), (1, 1.0), (2, 0.1))]
    truth, spread = batch.theta.numpy(), start.family.spread.numpy()
    expected, clamped = 0.0, 0
    for k, stf in enumerate(stages, 1):
        score = ((stf.theta.numpy() - truth) / stf.theta_se.numpy()) ** 2
        clamped += (score > 100).sum()
        terms = np.minimum(score, 100) / 2 + np.log(stf.theta_se.numpy() / spread)
        expected += k / 3 * terms.mean()
    assert clamped > 0
    assert stf_loss((start, *stages), batch.theta).item() == pytest.approx(expected, rel=1e-4)
    assert stf_loss((start,), batch.theta) == 0  # the initial STF does not count


def test_a_known_camera_leaves_the_stf_loss_finite(library: SpectralLibrary) -> None:
    _, batch, start = case_of(library)
    known = replace(start.family, spread=torch.zeros_like(start.family.spread))
    loss = stf_loss((start, Stf.from_prior(known)), torch.zeros_like(batch.theta))
    assert torch.isfinite(loss)


def test_right_standard_errors_have_the_smallest_loss(library: SpectralLibrary) -> None:
    """With errors of one prior deviation the best standard error is one prior deviation."""
    _, batch, start = case_of(library)
    truth = batch.family.spread

    def likelihood(factor: float) -> float:
        stf = replace(start, theta_se=factor * batch.family.spread)
        return stf_loss((start, stf, stf), truth).item()

    assert likelihood(1.0) < min(likelihood(0.6), likelihood(1.6))


# --- bags -----------------------------------------------------------------------------------------


def bags_of(library: SpectralLibrary, network: PGUNet, *, count: int = 3) -> SpectraBagBatch:
    def scenes(rng: np.random.Generator, many: int, side: int) -> np.ndarray:
        return simulate_batch(library, rng, many, side)

    bags = SpectraBags.fill(scenes, network.basis, count=5, seed=0)
    return bags.draw(seed=0, step=0, shard=0, count=count)


def test_bags_train_the_stages_of_the_stf_only(library: SpectralLibrary) -> None:
    network = tiny_network().train()
    loss, figures = bag_loss(network, bags_of(library, network))
    loss.backward()
    assert figures["bags_nll"] == pytest.approx(loss.item())
    assert np.isfinite(list(figures.values())).all()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is not None) == name.startswith("response_stages."), name
        if parameter.grad is not None:
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.any(), name


def test_bag_loss_is_that_of_the_materials_of_each_bag(library: SpectralLibrary) -> None:
    network = tiny_network().requires_grad_(False)
    bags = bags_of(library, network)
    stages = network.estimate_stf(
        find_materials(bags.msi, pooled=False), Stf.from_prior(bags.family)
    )
    loss, figures = bag_loss(network, bags)
    torch.testing.assert_close(loss, stf_loss(stages, bags.theta))
    error, prior = (stages[-1].theta - bags.theta)[..., 2], bags.theta[..., 2]
    ratio = np.sqrt(np.mean(error.numpy() ** 2) / np.mean(prior.numpy() ** 2))
    assert figures["bags_gain"] == pytest.approx(ratio, rel=1e-5)


def test_a_few_steps_on_bags_lower_their_loss(library: SpectralLibrary) -> None:
    network = tiny_network(asleep=True).train()
    bags = bags_of(library, network, count=8)
    optimiser = torch.optim.Adam(network.response_stages.parameters(), lr=1e-2)
    losses = []
    for _ in range(15):
        optimiser.zero_grad()
        loss, _ = bag_loss(network, bags)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.02
