"""How honest standard errors of cubes are, and the factor that makes their intervals so.

Must not train weights or open files.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor

from uavssr.data import Batch
from uavssr.model import PGUNet, Stf

NINETY: Final = 1.6449
"""Half-width of a 90 % interval in standard errors."""
_SMOOTH: Final = 9
"""Bands over which the factor is averaged: it is a property of the prior, not of a band."""


@torch.no_grad()
def standardised(network: PGUNet, batch: Batch, start: Stf, *, blind: bool) -> Tensor:
    """|error| / standard error (C, n) of every pixel of a batch, one camera a scene."""
    found = []
    for i in range(len(batch.msi)):
        one = start.of_camera(i)
        result = network(batch.msi[i : i + 1], one, estimate_stf=blind)
        doubt = network.cube_uncertainty(result.stf)
        sigma = doubt.expand(doubt.maps(batch.msi[i : i + 1], result.coefficients))[0]
        error = network.basis.expand(result.coefficients)[0] - batch.hsi[i]
        found.append((error.abs() / sigma.clamp_min(1e-6)).flatten(1))
    return torch.cat(found, 1)


def coverage(scores: Tensor) -> float:
    """Share of |error| / standard error that lies in the nominal 90 % interval."""
    return float((scores < NINETY).float().mean())


@torch.no_grad()
def fit_sigma_scale(network: PGUNet, batches: Iterable[Batch]) -> Tensor:
    """The factor (C,) on standard errors with which 90 % intervals hold 90 % of the errors.

    Args:
        network: with its present factor, which the new one replaces.
        batches: scenes with the truth, seen by cameras of which the data sheet is known.
    """
    scores = [
        standardised(network, batch, Stf.from_prior(batch.family), blind=True) for batch in batches
    ]
    quantile = torch.stack([band.quantile(0.9) for band in torch.cat(scores, 1)])
    edge = _SMOOTH // 2
    padded = torch.nn.functional.pad(quantile[None, None], (edge, edge), mode="replicate")
    smooth = torch.nn.functional.avg_pool1d(padded, _SMOOTH, 1)[0, 0]
    return network.sigma_scale * smooth / NINETY
