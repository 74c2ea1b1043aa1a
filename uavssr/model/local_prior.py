"""A network told what spectra to expect: its prior joined by Gaussians of local spectra.

Most of what a blind estimate does not know is which spectra the scene holds. A few tens of them,
measured anywhere nearby and at any time, tell more than a better network would.
"""

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
"""Different spectra for each of them ..."""
MAX_LOCAL_COMPONENTS: Final = 24
"""... up to so many."""
_MIN_FLOOR: Final = 1e-3


def add_local_prior(network: PGUNet, spectra: Tensor) -> PGUNet:
    """The same network whose spectral prior expects spectra like these, and its own less.

    One Gaussian for every 16 different spectra, 24 at most, is fitted by expectation maximisation
    in the basis's coefficients. 1/n of the coefficients' unit variance is added to the variances,
    so that few spectra are not taken for all there is. Basis and learned weights stay.

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
    prior = mixed(local, network.mixture, share=LOCAL_PRIOR_WEIGHT)
    adapted = copy.deepcopy(network)
    adapted.config = replace(network.config, components=len(prior.weight))
    adapted.weight, adapted.mixture_mean = prior.weight, prior.mean
    adapted.covariance = prior.covariance
    return adapted


def mixed(one: SpectralMixture, other: SpectralMixture, *, share: float) -> SpectralMixture:
    """The mixture that is `one` with probability `share`, else `other`."""
    return SpectralMixture(
        weight=torch.cat([share * one.weight, (1 - share) * other.weight]),
        mean=torch.cat([one.mean, other.mean]),
        covariance=torch.cat([one.covariance, other.covariance]),
    )
