"""Coverage of the 90 % intervals of a cube, and the factor on standard errors that corrects it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import torch
from torch import Tensor

from uavssr.data import Batch
from uavssr.model import Correction, PGUNet, Reconstruction, Stf
from uavssr.sensors import Float32Array

INTERVAL_90: Final = 1.6449
"""Half-width of a 90 % interval of a normal distribution, in standard errors."""
_SMOOTHED_BANDS: Final = 9  # the factor belongs to the prior, not to single bands


@torch.no_grad()
def standardised_errors(network: PGUNet, batch: Batch, start: Stf) -> Tensor:
    """|error| / standard error (C, n) of all pixels of a batch; each scene has its own camera."""
    scores = []
    for i in range(len(batch.msi)):
        image = batch.msi[i : i + 1]
        result = network(image, start.of_camera(i), estimate_stf=True)
        uncertainty = network.cube_uncertainty(result.stf)
        sigma = uncertainty.expand(uncertainty.maps(image, result.coefficients))[0]
        error = network.basis.expand(result.coefficients)[0] - batch.hsi[i]
        scores.append((error.abs() / sigma.clamp_min(1e-6)).flatten(1))
    return torch.cat(scores, 1)


@torch.no_grad()
def cube_coverage(
    network: PGUNet,
    result: Reconstruction,
    image: Tensor,
    reference: Float32Array,
    correction: Correction | None = None,
) -> float:
    """Share of |error| < 1.6449 standard errors over all bands and pixels of one cube.

    Args:
        network: the network.
        result: its result for the image, with the correction with reference spectra, if any.
        image: (1, c, y, x).
        reference: (C, y x) the true spectra.
        correction: that correction.
    """
    uncertainty = network.cube_uncertainty(result.stf, correction)
    maps = uncertainty.maps(image, result.coefficients)
    sigma = uncertainty.expand(maps)[0].flatten(1).numpy()
    basis = network.basis if correction is None else correction.basis
    error = basis.expand(result.coefficients)[0].flatten(1).numpy() - reference
    return float((np.abs(error) < INTERVAL_90 * sigma).mean())


@torch.no_grad()
def fit_sigma_scale(network: PGUNet, batches: Iterable[Batch]) -> Tensor:
    """The factor (C,) on standard errors with which 90 % intervals hold 90 % of the errors.

    s_new = s q90(|error| / standard error) / 1.6449 per band, averaged over nine bands; s is the
    network's present factor.
    """
    scores = [
        standardised_errors(network, batch, Stf.from_prior(batch.family)) for batch in batches
    ]
    quantile = torch.stack([band.quantile(0.9) for band in torch.cat(scores, 1)])
    edge = _SMOOTHED_BANDS // 2
    padded = torch.nn.functional.pad(quantile[None, None], (edge, edge), mode="replicate")
    smooth = torch.nn.functional.avg_pool1d(padded, _SMOOTHED_BANDS, 1)[0, 0]
    return network.sigma_scale * smooth / INTERVAL_90
