"""Bags of spectra: determined by their seeds, of documented shapes, observed by their cameras."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.models import GRID, tiny_library, tiny_network
from uavssr.data import batches as module
from uavssr.data.batches import BAG_SPECTRA, SNR_RANGE_DB, SpectraBagBatch, SpectraBags
from uavssr.data.random_cameras import BAND_COUNTS
from uavssr.data.scenes import simulate_batch
from uavssr.model.basis import SpectralBasis
from uavssr.model.response import ResponseFamily

LIBRARY = tiny_library()


def scenes(rng: np.random.Generator, count: int, side: int) -> np.ndarray:
    return simulate_batch(LIBRARY, rng, count, side)


def filled(*, count: int = 6, seed: int = 0) -> SpectraBags:
    return SpectraBags.fill(scenes, tiny_network().basis, count=count, seed=seed)


@pytest.fixture(scope="module")
def bags() -> SpectraBags:
    return filled()


def tensors_of(batch: SpectraBagBatch) -> dict[str, Tensor]:
    family = {f"family.{f.name}": getattr(batch.family, f.name) for f in fields(ResponseFamily)}
    return {"msi": batch.msi, "theta": batch.theta, "rows": batch.rows, **family}


def test_bags_are_a_function_of_their_seed() -> None:
    one, again, other = (filled(seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.coefficients, again.coefficients)
    assert not torch.equal(one.coefficients, other.coefficients)


def test_many_bags_are_filled_in_rounds_of_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as are asked for, each of another scene, though they are drawn a few at a time."""
    asked: list[int] = []

    def counted(rng: np.random.Generator, count: int, side: int) -> np.ndarray:
        asked.append(count)
        return rng.random((count, len(GRID), side, side), np.float32)

    monkeypatch.setattr(module, "_SCENES_AT_ONCE", 4)
    found = SpectraBags.fill(counted, SpectralBasis.identity(GRID), count=9, seed=0)
    assert asked == [4, 4, 1]
    assert found.coefficients.shape == (9, BAG_SPECTRA, len(GRID))
    assert len(found.coefficients.flatten(1).unique(dim=0)) == 9


def test_spectra_of_a_bag_are_pixels_of_one_scene() -> None:
    """With E = I the coefficients are the spectra: each pixel but once, all of the same scene."""

    def numbered(_: np.random.Generator, count: int, side: int) -> np.ndarray:
        pixel = np.arange(side * side, dtype=np.float32).reshape(side, side) / 1000
        scene = np.arange(count, dtype=np.float32)[:, None, None]
        values = np.broadcast_to((scene + pixel)[:, None], (count, len(GRID), side, side))
        return np.ascontiguousarray(values)

    spectra = SpectraBags.fill(numbered, SpectralBasis.identity(GRID), count=3, seed=0).coefficients
    torch.testing.assert_close(spectra, spectra[..., :1].expand_as(spectra))
    for number, bag in enumerate(spectra[..., 0]):
        assert torch.equal(bag.floor(), torch.full((BAG_SPECTRA,), float(number)))
        assert len(bag.unique()) == BAG_SPECTRA


def test_bags_of_small_scenes_hold_all_their_pixels() -> None:
    basis = tiny_network().basis
    for side, count in ((9, 81), (10, BAG_SPECTRA)):
        bags = SpectraBags.fill(scenes, basis, count=2, seed=0, side=side)
        assert bags.coefficients.shape[:2] == (2, count)


def test_coefficients_are_those_of_the_basis(bags: SpectraBags) -> None:
    rng = np.random.default_rng([0, module._FILL_STREAM])
    spectra = torch.from_numpy(scenes(rng, 6, module.BAG_SCENE_SIDE)).flatten(2)
    drawn = spectra[..., rng.permutation(spectra.shape[-1])[:BAG_SPECTRA]]
    torch.testing.assert_close(bags.coefficients.mT, bags.basis.project(drawn), rtol=0, atol=1e-4)


def test_a_draw_is_a_function_of_seed_step_and_shard(bags: SpectraBags) -> None:
    places = [(0, 5, 0), (0, 6, 0), (1, 5, 0), (0, 5, 1)]

    def draw(seed: int, step: int, shard: int) -> dict[str, Tensor]:
        return tensors_of(bags.draw(seed=seed, step=step, shard=shard, count=4))

    drawn = [draw(*place) for place in places]
    np.random.default_rng().random(10)
    torch.manual_seed(99)
    for name, value in draw(*places[0]).items():
        assert torch.equal(value, drawn[0][name]), name
    for other in drawn[1:]:
        same = other["msi"].shape == drawn[0]["msi"].shape
        assert not same or not torch.equal(other["msi"], drawn[0]["msi"])


def test_draws_do_not_depend_on_those_before(bags: SpectraBags) -> None:
    place = {"seed": 0, "shard": 0, "count": 3}
    drawn = [bags.draw(step=step, **place).msi for step in range(3)]
    assert torch.equal(filled().draw(step=2, **place).msi, drawn[2])


def test_a_draw_has_the_shapes_it_says(bags: SpectraBags) -> None:
    counts = set()
    for step in range(20):
        batch = bags.draw(seed=0, step=step, shard=0, count=3)
        count = batch.msi.shape[1]
        counts.add(count)
        assert batch.msi.shape == (3, count, BAG_SPECTRA)
        assert batch.theta.shape == batch.family.spread.shape == (3, count, 3)
        assert batch.rows.shape == (3, count, len(GRID))
        assert batch.family.curves.shape[:2] == (3, count)
        for name, value in tensors_of(batch).items():
            assert value.dtype == torch.float32, name
            assert torch.isfinite(value).all(), name
    assert len(counts) > 2
    assert counts <= set(BAND_COUNTS)


def test_cameras_of_bags_have_the_spread_of_the_prior(bags: SpectraBags) -> None:
    scores = [
        (batch.theta / batch.family.spread).flatten()
        for batch in (bags.draw(seed=0, step=step, shard=0, count=20) for step in range(10))
    ]
    assert torch.cat(scores).std().item() == pytest.approx(1, abs=0.05)


def test_what_is_seen_is_the_spectra_under_the_light_and_noise(
    bags: SpectraBags, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without light and noise it is what the true camera sees; with noise, at the ratio said."""
    place = {"seed": 0, "step": 3, "shard": 0, "count": 4}
    plain = {"ILLUMINATION_STD": 0.0, "BRIGHTNESS_LOG_STD": 0.0}
    for name, value in plain.items():
        monkeypatch.setattr(module, name, value)
    noisy = bags.draw(**place).msi
    monkeypatch.setattr(module, "SNR_RANGE_DB", (400.0, 400.0))
    batch = bags.draw(**place)
    level = batch.msi.square().mean(2).sqrt()
    ratio = 20 * torch.log10(level / (noisy - batch.msi).square().mean(2).sqrt())
    assert SNR_RANGE_DB[0] - 2 < ratio.min() < ratio.max() < SNR_RANGE_DB[1] + 2  # of 96 pixels
    # that of a constant spectrum is what a camera's row sums to: its gain
    white = torch.zeros_like(bags.coefficients[:1, :1]).expand(1, BAG_SPECTRA, -1)
    basis = replace(bags.basis, mean=torch.ones_like(bags.basis.mean))
    seen = SpectraBags(coefficients=white, basis=basis).draw(**place)
    for gain in (seen.theta[..., 2].exp(), seen.rows.sum(-1)):
        torch.testing.assert_close(seen.msi, gain[..., None].expand_as(seen.msi), rtol=1e-3, atol=0)
    # and what it sees is no more than a linear map of the spectra
    doubled = replace(bags, coefficients=2 * bags.coefficients).draw(**place).msi
    offset = replace(bags, coefficients=0 * bags.coefficients).draw(**place).msi
    torch.testing.assert_close(doubled - offset, 2 * (batch.msi - offset), rtol=0, atol=1e-4)


def test_light_is_smooth_and_the_same_for_all_spectra_of_a_scene() -> None:
    light = module._illumination(np.random.default_rng(0), 500, GRID)
    assert light.shape == (500, len(GRID))
    assert light.dtype == np.float32
    log = np.log(light)
    assert np.abs(np.diff(log, axis=1)).max() < 0.05  # from one band to the next, 15 nm on
    assert log.mean(1).std() == pytest.approx(module.BRIGHTNESS_LOG_STD, rel=0.1)
    colour = (log - log.mean(1, keepdims=True)).std()
    assert 0.5 * module.ILLUMINATION_STD < colour < 1.5 * module.ILLUMINATION_STD
