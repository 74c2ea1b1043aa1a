"""The estimator of tiles' own STFs for engines that are made without a plan."""

from __future__ import annotations

import torch

from tests.helpers.fakes import FakeSource
from uavssr.model import PGUNet, SceneColours, SceneStatistics, Stf
from uavssr.reconstruction.fitted_stf import FittedStf
from uavssr.reconstruction.stf_estimates import summarise_stf
from uavssr.reconstruction.tile_stfs import TileStfEstimator


def tile_stf_estimator(network: PGUNet, stf: Stf, source: FakeSource) -> TileStfEstimator:
    """The estimator of a scene whose STF is given; its colours are those of all valid pixels."""
    pixels = torch.from_numpy(source.image[:, source.mask].T)
    return TileStfEstimator(
        scene=fitted_stf(network, stf).numbers(),
        colours=SceneColours.fit(pixels),
        extended=network.basis.extended.numpy(),
    )


def fitted_stf(network: PGUNet, stf: Stf) -> FittedStf:
    """An STF as numbers too, as of a scene without any pixel."""
    rank, bands = network.config.rank, stf.rows.shape[1]
    nothing = SceneStatistics.of(
        torch.zeros(1, bands, 1),
        torch.zeros(1, rank, 1),
        torch.zeros(1, bands, rank),
        torch.zeros(1, bands),
    )
    estimate = summarise_stf(stf, nothing, network.basis, valid_fraction=1.0)
    return FittedStf(stf=stf, estimate=estimate)
