"""What the colours of classes of ground tell of their gains, without known spectra.

The spectra of a class are not independent draws from the prior, and the prior does not hold them
exactly. Both are expressed by one number: the ground of a class counts as `CLASS_SAMPLES` spectra
drawn from those components of the prior that its pixels look like.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from torch import Tensor

from uavssr.model.class_contrasts import ClassEvidence, ContrastTest, DeviationPrior
from uavssr.model.likelihood import StfLikelihood, gradients_of
from uavssr.model.materials import Materials
from uavssr.model.mixture import SpectralMixture
from uavssr.model.pgunet import PGUNet
from uavssr.model.response import GAIN, PARAMETERS
from uavssr.model.state import ObservationModel, Stf
from uavssr.sensors import FloatArray

CLASS_SAMPLES: Final = 2
"""Independent spectra that the ground of a class counts for.

With two, one STF was called different in 4 of 99 images of development scenes, with three in 15
(`benchmarks/land_cover.py`).
"""
NULL_DRAWS: Final = 1999
"""Draws of other ground under one STF."""
CLASS_GAIN_SPREAD: Final = 0.3
"""Prior standard deviation of a class's own log gain: wide, so that differences are not shrunk."""
COMMON_GAIN_SPREAD: Final = 0.1
"""The same of what all classes share in a band beside the scene's STF."""
CLASS_LEVEL_SPREAD: Final = 0.5
"""Standard deviation of the log brightness of a class's ground against the prior's."""
DRAWN_SPECTRA: Final = 2000
"""Spectra that are drawn for a class, of which each draw takes some."""


GAIN_STEPS: Final = 3
"""Gauss-Newton steps for the gains of classes."""


def class_gain_test(
    network: PGUNet, classes: Sequence[Materials], stf: Stf, *, samples: int = CLASS_SAMPLES
) -> ContrastTest:
    """The test of the log gains (K, c) of K classes; for the arguments see `class_gain_evidence`.

    In each step the likelihood is taken at the classes' own gains of the step before: ground that
    is seen through another gain looks like other ground.
    """
    bands = stf.theta.shape[1]
    gains = np.zeros((len(classes), bands))
    for _ in range(GAIN_STEPS):
        evidence = class_gain_evidence(network, classes, stf, gains, samples=samples)
        test = ContrastTest.of(evidence, class_gain_prior(bands))
        gains = test.deviation
    return test


@torch.no_grad()
def class_gain_evidence(
    network: PGUNet,
    classes: Sequence[Materials],
    stf: Stf,
    log_gains: FloatArray,
    *,
    samples: int = CLASS_SAMPLES,
) -> ClassEvidence:
    """The evidence of the materials of K classes on the log gains of c bands.

    The draws have a fixed seed.

    Args:
        network: the network, in float64 on the CPU.
        classes: materials of each class (S = 1).
        stf: the scene's (S = 1).
        log_gains: (K, c) of the classes beside the scene's, at which the likelihood is taken.
        samples: independent spectra that a class counts for.
    """
    seen = network.observation_model(stf, stf_uncertainty=False)
    gains = torch.arange(stf.theta.shape[1]) * PARAMETERS + GAIN
    generator = torch.Generator().manual_seed(0)
    gradients, curvatures, null = [], [], []
    for materials, own in zip(map(_corrected, classes, log_gains), log_gains, strict=True):
        likelihood = StfLikelihood.of(materials, network.mixture, seen)
        curvature = samples * likelihood.curvature[0, gains][:, gains]
        curvatures.append(curvature)
        # the gradient at d = 0 of the quadratic form through that at `own`: g + H d
        gradients.append(samples * likelihood.gradient[0, gains] + curvature @ torch.tensor(own))
        ground = _draw_ground(network.mixture, materials, seen, generator)
        single = gradients_of(ground, network.mixture, seen)[:, gains]
        sets = torch.randint(len(single), (NULL_DRAWS, samples), generator=generator)
        null.append(single[sets].sum(1))
    return ClassEvidence(
        gradient=torch.stack(gradients).numpy(),
        curvature=torch.stack(curvatures).numpy(),
        null=torch.stack(null, 1).numpy(),
    )


def _corrected(materials: Materials, log_gain: FloatArray) -> Materials:
    """The materials as seen without a class's own gains (c,)."""
    return replace(materials, values=materials.values * torch.tensor(-log_gain).exp())


def class_gain_prior(bands: int) -> DeviationPrior:
    """The prior of the log gains of c bands. A factor of all bands is brightness, not compared."""
    identity, ones = np.eye(bands), np.ones((bands, bands))
    level = CLASS_LEVEL_SPREAD**2 * ones
    return DeviationPrior(
        common=np.asarray(np.linalg.inv(COMMON_GAIN_SPREAD**2 * identity + level), float),
        deviating=np.arange(bands),
        own=np.asarray(np.linalg.inv(CLASS_GAIN_SPREAD**2 * identity + level), float),
        compared=identity - ones / bands,
        pull=np.zeros(bands),
    )


def _draw_ground(
    mixture: SpectralMixture,
    materials: Materials,
    seen: ObservationModel,
    generator: torch.Generator,
) -> Tensor:
    """`DRAWN_SPECTRA` values (n, c) of the components that a class looks like, under one STF."""
    # V_k = B C_k B^T + diag(noise_k) = L_k L_k^T,  y ~ N(B mu_k + b, V_k)
    mixing, noise = seen.mixing[0], seen.component_noise
    probability = mixture.component_posterior(materials.values.mT, seen.mixing, seen.offset, noise)
    share = (probability[0] * materials.weight).sum(1)
    system = mixing @ mixture.covariance @ mixing.T + torch.diag_embed(noise[0])
    factor = torch.linalg.cholesky(system)
    mean = mixture.mean @ mixing.T + seen.offset
    component = torch.multinomial(share, DRAWN_SPECTRA, replacement=True, generator=generator)
    normal = torch.randn((DRAWN_SPECTRA, mean.shape[1]), generator=generator, dtype=mean.dtype)
    return mean[component] + (factor[component] @ normal[..., None]).squeeze(-1)
