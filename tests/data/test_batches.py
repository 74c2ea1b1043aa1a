"""Simulated batches: a function of seed, step and shard, of the shapes they say, and physical."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.models import GRID, draw_batch, tiny_library
from uavssr.data.batches import Batch
from uavssr.model.response import ResponseFamily
from uavssr.spectra.library import SpectralLibrary


@pytest.fixture(scope="module")
def library() -> SpectralLibrary:
    return tiny_library()


def draw(
    library: SpectralLibrary,
    step: int,
    *,
    seed: int = 3,
    shard: int = 0,
    count: int = 2,
    size: int = 8,
) -> Batch:
    return draw_batch(library, seed=seed, step=step, shard=shard, count=count, size=size)


def tensors_of(batch: Batch) -> dict[str, Tensor]:
    family = {f"family.{f.name}": getattr(batch.family, f.name) for f in fields(ResponseFamily)}
    return {"msi": batch.msi, "hsi": batch.hsi, "theta": batch.theta, "rows": batch.rows, **family}


def test_a_batch_is_a_function_of_seed_step_and_shard(library: SpectralLibrary) -> None:
    drawn = {
        (seed, step, shard): tensors_of(draw(library, step, seed=seed, shard=shard))
        for seed, step, shard in ((0, 5, 0), (0, 6, 0), (1, 5, 0), (0, 5, 1))
    }
    np.random.default_rng().random(10)
    torch.manual_seed(99)
    again = tensors_of(draw(library, 5, seed=0))
    assert again.keys() == drawn[0, 5, 0].keys()
    assert all(torch.equal(value, drawn[0, 5, 0][key]) for key, value in again.items())
    for other in ((0, 6, 0), (1, 5, 0), (0, 5, 1)):
        assert not torch.equal(drawn[other]["hsi"], drawn[0, 5, 0]["hsi"])


def test_a_batch_has_the_shapes_it_says(library: SpectralLibrary) -> None:
    counts = set()
    for step in range(20):
        batch = draw(library, step)
        count = batch.msi.shape[1]
        counts.add(count)
        assert batch.msi.shape == (2, count, 8, 8)
        assert batch.hsi.shape == (2, len(GRID), 8, 8)
        assert batch.theta.shape == (2, count, 3)
        assert batch.rows.shape == (2, count, len(GRID))
        assert batch.family.curves.shape[:2] == (2, count)
        assert all(each.dtype == torch.float32 for each in tensors_of(batch).values())
        assert all(torch.isfinite(each).all() for each in tensors_of(batch).values())
    assert len(counts) > 2


def test_the_image_of_a_batch_is_its_cube_seen_by_its_rows(library: SpectralLibrary) -> None:
    """Up to noise, at 25 dB or better, and up to shifts of the bands against each other."""
    for step in range(6):
        batch = draw(library, step, size=16, count=4)
        clean = torch.einsum("sbc,scyx->sbyx", batch.rows, batch.hsi)
        error = (batch.msi - clean).square().mean((2, 3)).sqrt()
        level = clean.square().mean((2, 3)).sqrt()
        assert (error[:, 0] / level[:, 0]).max() < 0.07  # the first band is never shifted
        assert (error / level).max() < 0.3
