"""The STFs of classes of ground whose spectra are known, and whether they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from uavssr.calibration.fitting import Fit, Fitting
from uavssr.calibration.instrument import Instrument
from uavssr.model import GAIN, ClassEvidence, ContrastTest, DeviationPrior
from uavssr.sensors import BoolArray, FloatArray, IndexArray

OWN_SPREAD: Final = 0.3
"""Prior standard deviation of a class's own log gain: wide, not to shrink it."""
CLASS_MISFIT: Final = 0.02
"""Standard deviation of an error of a class's log gain in a band that all of its spectra share.

The shape of the response, blur and errors of registration act on classes differently. With this,
one STF on development scenes is called different as rarely as stated (`benchmarks/land_cover.py`).
"""
NULL_SETS: Final = 1999
"""Draws of errors under one STF."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KnownGround:
    """References of one class: k spectra, and what an image of c bands shows of them."""

    spectra: FloatArray
    """(k, C) reflectance on the cube's wavelengths."""
    msi: FloatArray
    """(k, c) reflectance in the image."""
    patterns: FloatArray
    """(k, c, q) misregistration patterns, reflectance per pixel."""

    def fitting(self, instrument: Instrument, used: BoolArray) -> Fitting:
        """The fit of an instrument to these references alone."""
        arrays = (self.spectra, self.msi, self.patterns)
        spectra, msi, patterns = (torch.as_tensor(np.array(part, float)) for part in arrays)
        return Fitting(
            instrument=instrument,
            spectra=spectra,
            msi=msi,
            patterns=patterns,
            used=torch.as_tensor(used),
        )


def pooled_ground(classes: Sequence[KnownGround]) -> KnownGround:
    """The references of all classes."""
    return KnownGround(
        spectra=np.concatenate([each.spectra for each in classes]),
        msi=np.concatenate([each.msi for each in classes]),
        patterns=np.concatenate([each.patterns for each in classes]),
    )


def known_ground_test(
    instrument: Instrument, classes: Sequence[KnownGround], used: BoolArray
) -> ContrastTest:
    """The test of the log gains (K, b) of K classes with known spectra in the b used bands.

    They are relative to the mean of the bands. All other parameters are those of all classes
    together, so that another centre of a class shows as a gain.
    """
    common = pooled_ground(classes).fitting(instrument, used).run()
    scores = [_score(each, instrument, common, used) for each in classes]
    curvature = np.stack([information for _, information in scores])
    prior = _prior(instrument, common, used, size=curvature.shape[-1])
    evidence = ClassEvidence(
        gradient=np.stack([gradient for gradient, _ in scores]),
        curvature=curvature,
        null=_null(curvature, prior.deviating, CLASS_MISFIT / _scale(instrument, used)),
    )
    return ContrastTest.of(evidence, prior)


def _score(
    ground: KnownGround, instrument: Instrument, common: Fit, used: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """Gradient (m,) and curvature (m, m) at the common fit; outliers are those of the class."""
    fitting = ground.fitting(instrument, used)
    gradient, curvature = fitting.score(common.z, fitting.run())
    return gradient.numpy().ravel(), torch.block_diag(*curvature).numpy()


def _scale(instrument: Instrument, used: BoolArray) -> FloatArray:
    """(b,) logarithm of the gain per unit of z, of the used bands."""
    return np.asarray(instrument.family.spread[0, :, GAIN].numpy()[used])


def _prior(instrument: Instrument, common: Fit, used: BoolArray, *, size: int) -> DeviationPrior:
    """All parameters in prior standard deviations; compared are logarithms of gains."""
    bands, scale = np.flatnonzero(used), _scale(instrument, used)
    width = size // len(used)  # parameters of a band, P + q
    pull = torch.nn.functional.pad(-common.z, (0, width - common.z.shape[1]))
    return DeviationPrior(
        common=np.eye(size),
        deviating=bands * width + GAIN,
        own=np.diag((scale / OWN_SPREAD) ** 2),
        compared=(np.eye(len(bands)) - 1 / len(bands)) * scale,
        pull=pull.numpy().ravel(),
    )


def _null(curvature: FloatArray, deviating: IndexArray, misfit: FloatArray) -> FloatArray:
    """(S, K, m) gradients under one STF: noise, and the errors that a class's spectra share.

    `misfit` (b,) are the standard deviations of these errors in units of z.
    """
    rng = np.random.default_rng(0)
    classes, size = curvature.shape[:2]
    # g = L n + H s,  H = L L^T; a tiny ridge for parameters without information
    ridge = 1e-9 * np.eye(size) * (1 + np.trace(curvature, axis1=1, axis2=2)[:, None, None])
    factor = np.linalg.cholesky(curvature + ridge)
    noise = np.einsum("kij,skj->ski", factor, rng.normal(size=(NULL_SETS, classes, size)))
    errors = misfit * rng.normal(size=(NULL_SETS, classes, len(misfit)))
    return np.asarray(noise + np.einsum("kij,skj->ski", curvature[:, :, deviating], errors))
