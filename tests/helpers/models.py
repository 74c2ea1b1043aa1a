"""A tiny network, library and camera image for the tests: seeded, and awake.

A fresh network's proximal heads are zero, so that half of its code has no effect; `awake` gives
them small random weights, as after training.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from scripts.spectra_sources.synthetic import manmade_spectra, water_spectra
from uavssr.data.batches import Batch
from uavssr.data.scenes import simulate_scene
from uavssr.data.training_data import TrainingData
from uavssr.model.basis import SpectralBasis
from uavssr.model.config import PGUNetConfig
from uavssr.model.materials import Materials, find_materials
from uavssr.model.mixture import SpectralMixture, fit_mixture
from uavssr.model.pgunet import PGUNet
from uavssr.model.response import ResponseFamily
from uavssr.model.stages import ResponseStage, Stage
from uavssr.model.state import Stf
from uavssr.model.weights import save_model
from uavssr.sensors import SENSORS, Sensor, WavelengthGrid
from uavssr.spectra.library import SpectralLibrary, concatenate

torch.set_num_threads(1)  # tensors are tiny, and more threads would only wait for each other

GRID = WavelengthGrid.regular("tiny", 400, 1000, 40)
P4M = SENSORS["p4m"]
CONFIG = PGUNetConfig(
    bands=len(GRID), rank=6, components=3, stages=2, response_stages=2, width=8, stf_width=8
)
Parts = TypeVar("Parts", ResponseFamily, SpectralBasis, SpectralMixture, Materials)


def tiny_library(seed: int = 0) -> SpectralLibrary:
    """30 waters, 40 paints and 40 more that are called canopy, none of them from a file."""
    rng = np.random.default_rng(seed)
    parts = []
    for kind, spectra in (
        ("water", water_spectra(30, rng, GRID)),
        ("manmade", manmade_spectra(40, rng, GRID)),
        ("canopy", manmade_spectra(40, rng, GRID)),
    ):
        names = np.full(len(spectra), kind)
        parts.append(SpectralLibrary(spectra=spectra, kind=names, source=names, grid=GRID))
    return concatenate(parts)


def tiny_network(
    config: PGUNetConfig = CONFIG, *, seed: int = 0, identity: bool = False, asleep: bool = False
) -> PGUNet:
    """A network in evaluation mode, with a basis and a mixture fitted to the tiny library.

    Args:
        config: sizes, of 40 bands; with `identity` the rank becomes 40 too.
        seed: of the weights.
        identity: the paper's full-band form, E = I.
        asleep: leave the heads at zero, as before training.
    """
    torch.manual_seed(seed)
    spectra = tiny_library().spectra.astype(float)
    if identity:
        config = replace(config, rank=config.bands)
        basis = SpectralBasis.identity(GRID)
    else:
        basis = SpectralBasis.fit(spectra, GRID, rank=config.rank)
    coefficients = basis.project(torch.as_tensor(spectra.T, dtype=torch.float32)).T
    mixture = fit_mixture(coefficients, components=config.components, iterations=20)
    network = PGUNet(config, basis, mixture)
    return (network if asleep else awake(network, seed=seed)).eval()


def awake(network: PGUNet, *, seed: int = 0) -> PGUNet:
    """Give the heads of Z-Net and P-Net random weights, and each stage an alpha of its own."""
    generator = torch.Generator().manual_seed(seed)

    def fill(parameter: nn.Parameter, deviation: float) -> None:
        parameter.add_(deviation * torch.randn(parameter.shape, generator=generator))

    with torch.no_grad():
        for stage in stages_of(network):
            fill(stage.znet.head.weight, 0.1)
            fill(stage.znet.head.bias, 0.05)
            fill(stage.log_alpha, 0.3)
        for stage in response_stages_of(network):
            fill(stage.pnet.head.weight, 0.3)
            fill(stage.pnet.head.bias, 0.3)
    return network


def stages_of(network: PGUNet) -> list[Stage]:
    return [stage for stage in network.stages if isinstance(stage, Stage)]


def response_stages_of(network: PGUNet) -> list[ResponseStage]:
    return [stage for stage in network.response_stages if isinstance(stage, ResponseStage)]


def tiny_model(folder: Path, *, name: str = "tiny", network: PGUNet | None = None) -> Path:
    """A model folder that `load_model` takes; returns it."""
    save_model(network or tiny_network(), folder, name=name, training={"seed": 0})
    return folder


def tiny_scene(height: int = 24, width: int = 24, *, seed: int = 0) -> np.ndarray:
    """A simulated cube (C, height, width) of reflectance on the tiny grid."""
    return simulate_scene(tiny_library(), np.random.default_rng(seed), height, width)


def draw_batch(
    library: SpectralLibrary, *, seed: int, step: int, shard: int = 0, count: int, size: int
) -> Batch:
    """A simulated batch of a library alone."""
    return TrainingData.of(library).draw(seed=seed, step=step, shard=shard, count=count, size=size)


def tiny_msi(sensor: Sensor = P4M, height: int = 24, width: int = 24, *, seed: int = 0) -> Tensor:
    """What a camera with a few per cent of gain errors sees of a tiny scene: (1, c, H, W)."""
    rng = np.random.default_rng([seed, 1])
    rows = sensor.srf(GRID) * np.exp(rng.normal(0, 0.05, (len(sensor), 1)))
    scene = tiny_scene(height, width, seed=seed)
    image = np.tensordot(rows, scene, 1) + rng.normal(0, 0.003, (len(sensor), height, width))
    return torch.as_tensor(image[None], dtype=torch.float32)


def tiny_materials(sensor: Sensor = P4M, *, seed: int = 0) -> Materials:
    """The materials of a tiny image (S = 1)."""
    return find_materials(tiny_msi(sensor, seed=seed).flatten(2), pooled=True)


def expected_stf(sensor: Sensor = P4M, *, spread_factor: float = 1.0) -> Stf:
    """The STF before any image, on the tiny grid."""
    family = ResponseFamily.of(sensor, GRID)
    return Stf.from_prior(replace(family, spread=spread_factor * family.spread))


def double(parts: Parts) -> Parts:
    """The same with float64 tensors."""
    found = {each.name: getattr(parts, each.name) for each in fields(parts)}
    return replace(
        parts, **{key: value.double() for key, value in found.items() if torch.is_tensor(value)}
    )


def moved(parts: Parts, device: torch.device) -> Parts:
    """The same on a device."""
    tensors = {each.name: getattr(parts, each.name) for each in fields(parts)}
    return replace(
        parts, **{key: value.to(device) for key, value in tensors.items() if torch.is_tensor(value)}
    )


def moved_stf(stf: Stf, device: torch.device) -> Stf:
    """The same STF on a device."""
    tensors = (stf.theta, stf.theta_se, stf.rows, stf.common_se)
    theta, theta_se, rows, common_se = (tensor.to(device) for tensor in tensors)
    return Stf.of(moved(stf.family, device), theta, theta_se, rows=rows, common_se=common_se)


def double_stf(stf: Stf) -> Stf:
    """The same STF with float64 tensors."""
    return Stf.of(double(stf.family), stf.theta.double(), stf.theta_se.double())
