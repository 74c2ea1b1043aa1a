"""A network whose spectral prior is joined by Gaussians fitted to spectra measured nearby."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from uavssr.model.mixture import SpectralMixture, fit_mixture
from uavssr.model.pgunet import PGUNet

LOCAL_PRIOR_WEIGHT: Final = 0.8
"""Weight of the local Gaussians in the prior; the rest stays for what was not measured."""
SPECTRA_PER_COMPONENT: Final = 16
"""Different spectra for each local Gaussian."""
MAX_LOCAL_COMPONENTS: Final = 24
"""Most local Gaussians."""
_MIN_FLOOR: Final = 1e-3
"""Least addition to the variances of the coefficients, in units of their unit variance."""


def add_local_prior(network: PGUNet, spectra: Tensor) -> PGUNet:
    """A copy of the network whose prior is 80 % Gaussians of these spectra, 20 % its own.

    One Gaussian for 16 different spectra, 24 at most, is fitted to the basis's coefficients. 1/n is
    added to their variances, so that few spectra are not taken for all there is.

    Args:
        network: on the CPU; not changed.
        spectra: (n, C) reflectance on the network's wavelengths.
    """
    different = len(torch.unique(spectra, dim=0))
    local = fit_mixture(
        network.basis.project(spectra.T.contiguous()).T.contiguous(),
        components=min(max(different // SPECTRA_PER_COMPONENT, 1), MAX_LOCAL_COMPONENTS),
        floor=max(_MIN_FLOOR, 1 / len(spectra)),
    )
    prior = mix(local, network.mixture, share=LOCAL_PRIOR_WEIGHT)
    adapted = copy.deepcopy(network)
    adapted.config = replace(
        network.config,
        components=len(prior.weight),
        local_components=network.config.local_components + len(local.weight),
    )
    adapted.weight, adapted.mixture_mean = prior.weight, prior.mean
    adapted.covariance = prior.covariance
    return adapted


def mix(first: SpectralMixture, second: SpectralMixture, *, share: float) -> SpectralMixture:
    """The mixture that is `first` with probability `share`, else `second`."""
    return SpectralMixture(
        weight=torch.cat([share * first.weight, (1 - share) * second.weight]),
        mean=torch.cat([first.mean, second.mean]),
        covariance=torch.cat([first.covariance, second.covariance]),
    )
