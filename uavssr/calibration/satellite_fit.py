"""A camera's STF from its image and a satellite's view of the same cells.

The image's materials give the camera's parameters a normal posterior (`PGUNet.estimate_stf`), in
which the factor common to all bands is open; the cells' likelihood joins it in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from uavssr.calibration.satellite_likelihood import (
    GROWTH_SPREAD,
    CellLikelihood,
    CellValues,
    ThetaNormal,
)
from uavssr.model import (
    GAIN,
    Materials,
    PGUNet,
    ResponseFamily,
    Stf,
    stf_covariance,
)

MIN_VARIANCE: Final = 1e-10
"""Least variance of a parameter: a profile may hold one as exact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SatelliteFit:
    """An STF from an image and a satellite's cells."""

    stf: Stf
    """The STF (S = 1); theta_se and common_se follow from the joint posterior."""
    covariance: Tensor
    """(3c, 3c) posterior covariance of theta, the common factor included."""
    learned: Tensor
    """(c, 3) share of the prior variance of shift, stretch and gain that is removed, 0..1."""
    learned_blind: Tensor
    """(c, 3) the same of the image alone."""
    error: Tensor
    """(b,) logarithm of the satellite's factor e for each band."""
    error_se: Tensor
    """(b,) standard errors of these."""
    growth: float
    """g of a crop of NDVI 1 from flight to satellite: the near infrared times 1 + g."""
    growth_se: float
    """Standard error of g."""
    misfit: float
    """Mean squared misfit of the cells over its variance: 1 for spectra that the prior expects."""


@torch.no_grad()
def fit_satellite(
    network: PGUNet,
    family: ResponseFamily,
    materials: Materials,
    cells: CellValues,
    error: float,
    growth_spread: float = GROWTH_SPREAD,
) -> SatelliteFit:
    """Estimate an STF (S = 1) from an image's materials and a satellite's cells.

    Args:
        network: gives the prior of spectra and the blind estimate.
        family: the camera's data sheet or profile with its prior.
        materials: of the image, see `find_materials`.
        cells: at least one.
        error: systematic error of the satellite, standard deviation of a band's log factor.
        growth_spread: standard deviation of a crop's growth between flight and satellite.
    """
    prior = _with_common(_flat(family.prior), _flat(family.spread).square().diag(), family.common)
    likelihood = CellLikelihood(
        network=network, family=family, cells=cells, error=error, growth_spread=growth_spread
    )
    first = likelihood.posterior(prior, None)
    level = (first.theta.mean - prior.mean).view(-1, 3)[:, GAIN].mean()
    blind = _blind(network, family, materials, float(level))
    posterior = likelihood.posterior(blind, first)
    fitted, satellite = posterior.theta, posterior.satellite
    satellite_se = satellite.covariance.diagonal().sqrt()
    variance = prior.covariance.diagonal()
    image_alone, joint = (
        (1 - part.covariance.diagonal() / variance).clamp(0, 1).view(-1, 3)
        for part in (blind, fitted)
    )
    return SatelliteFit(
        stf=_as_stf(family, fitted),
        covariance=fitted.covariance,
        learned=joint,
        learned_blind=image_alone,
        error=satellite.mean[:-1],
        error_se=satellite_se[:-1],
        growth=float(satellite.mean[-1]),
        growth_se=float(satellite_se[-1]),
        misfit=posterior.misfit,
    )


def _flat(theta: Tensor) -> Tensor:
    """Parameters (3c,) of one camera (1, c, 3), float64."""
    return theta[0].double().flatten()


def _with_common(mean: Tensor, covariance: Tensor, common: Tensor) -> ThetaNormal:
    """The distribution with a factor common to all gains, of standard deviation `common` (1,)."""
    wider = covariance + MIN_VARIANCE * torch.eye(len(mean), dtype=torch.float64)
    wider[GAIN::3, GAIN::3] += float(common[0]) ** 2
    return ThetaNormal(mean=mean, covariance=wider)


def _blind(
    network: PGUNet, family: ResponseFamily, materials: Materials, level: float
) -> ThetaNormal:
    """What the image alone tells at a common factor exp(level), which is then open again."""
    shift = torch.zeros_like(family.prior)
    shift[..., GAIN] = level
    nothing = torch.zeros_like(family.common)
    known = replace(family, prior=family.prior + shift, common=nothing)
    stf = network.estimate_stf(materials, Stf.from_prior(known))[-1]
    covariance = stf_covariance(network, materials, stf)
    return _with_common(_flat(stf.theta - shift), covariance, family.common)


def _as_stf(family: ResponseFamily, fitted: ThetaNormal) -> Stf:
    """The STF of a posterior: what gains share becomes the common factor's standard error."""
    theta, variance = (part.view(-1, 3) for part in (fitted.mean, fitted.covariance.diagonal()))
    gains, bands = fitted.covariance[GAIN::3, GAIN::3], len(theta)
    # the mean covariance of two bands' gains
    shared = (gains.sum() - gains.trace()) / max(bands * (bands - 1), 1)
    shared = shared.clamp_min(0).minimum(gains.diagonal().min())
    own = variance.clone()
    own[:, GAIN] -= shared
    theta_se = own.clamp_min(0).sqrt()
    parts = (part.to(family.prior)[None] for part in (theta, theta_se))
    return Stf.of(family, *parts, common_se=shared.sqrt().to(family.prior)[None])
