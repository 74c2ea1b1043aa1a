"""A reconstruction gives the same STF and the same cube on every device."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.helpers.fakes import FakeSource, irregular_mask, random_stf
from tests.helpers.models import (
    GRID,
    P4M,
    double,
    double_stf,
    moved_stf,
    tiny_msi,
    tiny_network,
)
from uavssr.model.response import ResponseFamily
from uavssr.reconstruction.pixels import fill_invalid
from uavssr.reconstruction.stf_estimates import estimate_scene_stf, fill_reflectance
from uavssr.reconstruction.tile_engine import COEFFICIENTS, TileEngine
from uavssr.tiling import TileGrid

COUNT = 1e-4
"""Reflectance of one stored number."""
HEIGHT, WIDTH, TILE = 61, 75, 32
STF = random_stf(ResponseFamily.of(P4M, GRID), seed=1)


def scene() -> FakeSource:
    image = tiny_msi(height=HEIGHT, width=WIDTH)[0].numpy()
    return FakeSource(image=image, sensor=P4M, mask=irregular_mask(HEIGHT, WIDTH, seed=0))


def exact_cube(source: FakeSource) -> np.ndarray:
    """The cube in float64 on the CPU, in one piece."""
    network = tiny_network()
    fill = fill_reflectance(network, STF)
    image = torch.from_numpy(fill_invalid(source.image, source.mask, fill))[None].double()
    network = network.double()
    coefficients = network(image, double_stf(STF), estimate_stf=False).coefficients
    return network.basis.expand(coefficients)[0].detach().numpy()


@pytest.mark.parametrize(("bfloat16", "counts"), [(False, 1), (True, 4)])
@pytest.mark.parametrize("batch", [1, 4])
def test_tiles_equal_the_whole_in_float64(
    device: torch.device, batch: int, *, bfloat16: bool, counts: float
) -> None:
    source, network = scene(), tiny_network().to(device)
    tiles = TileGrid(height=HEIGHT, width=WIDTH, tile=TILE, halo=network.halo())
    engine = TileEngine(
        network=network,
        source=source,
        tiles=tiles,
        scene_stf=moved_stf(STF, device),
        device=device,
        batch=batch,
        bfloat16=bfloat16,
    )
    exact, basis = exact_cube(source), double(tiny_network().basis)
    for group in engine.groups():
        for record in engine.compute(engine.read(group)):
            core = tiles[record.index].core
            cube = basis.expand(torch.from_numpy(record.maps[COEFFICIENTS]).double()).numpy()
            error = np.abs(cube - exact[:, core.rows, core.cols])[:, record.valid]
            assert error.max() < counts * COUNT


@pytest.mark.gpu
def test_scene_stf_on_a_gpu_is_that_of_the_cpu(gpu: torch.device) -> None:
    network = tiny_network().requires_grad_(False)
    here = estimate_scene_stf(network, scene(), device=torch.device("cpu")).stf
    there = estimate_scene_stf(network.to(gpu), scene(), device=gpu).stf
    change = (there.theta.cpu() - here.theta).abs()
    assert (change < 0.1 * here.theta_se).all()
    torch.testing.assert_close(there.rows.cpu(), here.rows, rtol=0, atol=1e-5)
