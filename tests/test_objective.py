"""The loss: zero at the truth, growing away from it, and honest about standard errors."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.models import tiny_library, tiny_network
from uavssr.data.batches import Batch, draw_batch
from uavssr.data.library import SpectralLibrary
from uavssr.model.pgunet import PGUNet
from uavssr.model.state import Stf
from uavssr.objective import loss_of


@pytest.fixture(scope="module")
def library() -> SpectralLibrary:
    return tiny_library()


def case_of(library: SpectralLibrary) -> tuple[PGUNet, Batch, Stf]:
    batch = draw_batch(library, seed=3, step=1, count=2, size=8)
    return tiny_network(), batch, Stf.expected(batch.family)


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
        result = network(batch.msi, start, blind=blind)
    exact = replace(start, theta=batch.theta, rows=rows)

    def loss(coefficients: Tensor, stf: Stf) -> tuple[float, dict[str, float]]:
        changed = replace(
            result,
            coefficients=coefficients,
            stf=stf,
            stage_coefficients=(truth, *(coefficients for _ in network.stages)),
            stage_stf=(start, *(stf for _ in network.stages if blind)),
        )
        total, parts = loss_of(network, batch, changed)
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
        result = network(batch.msi, start, blind=False)
    truth = network.basis.project(batch.hsi.flatten(2)).unflatten(-1, (8, 8))
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))

    def loss(*scales: float) -> float:
        maps = [truth + scale * noise for scale in scales]
        changed = replace(
            result, coefficients=maps[-1], stage_coefficients=(result.coefficients, *maps[:-1])
        )
        return loss_of(network, batch, changed)[0].item()

    best = loss(0, 0, 0)
    costs = [loss(*scales) - best for scales in ((0.2, 0, 0), (0, 0.2, 0), (0, 0, 0.2))]
    assert 0.01 < costs[0] < costs[1] < costs[2]


def test_the_likelihood_rewards_honest_standard_errors(library: SpectralLibrary) -> None:
    """With errors of one prior deviation the best standard error is one prior deviation."""
    network, batch, start = case_of(library)
    with torch.no_grad():
        result = network(batch.msi, start, blind=True)
    batch = replace(batch, theta=batch.family.spread)

    def likelihood(factor: float) -> float:
        stf = replace(start, deviation=factor * batch.family.spread)
        changed = replace(result, stage_stf=(start, stf, stf))
        return loss_of(network, batch, changed)[1]["blind_nll"]

    assert likelihood(1.0) < min(likelihood(0.6), likelihood(1.6))
