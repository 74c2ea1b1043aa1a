"""What a user should know of a calibration: skipped places, odd gains, offsets, misfits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import torch

from uavssr.calibration.fitting import Fit
from uavssr.calibration.references import Reference, counted
from uavssr.model import GAIN, Stf
from uavssr.sensors import BoolArray, FloatArray, Sensor

OUTLIER_WEIGHT: Final = 0.05
"""Weight in the fit below which a reference is an outlier."""
MAX_OUTLIER_SHARE: Final = 0.1
"""Share of outliers among the references above which a warning is given."""
MAX_GAIN_DEVIATIONS: Final = 5.0
"""Mean gain in prior standard deviations beyond which a warning names the scales."""
MAX_TYPICAL_MISFIT: Final = 0.25
"""Median misfit over brightness beyond which a warning says that the reference does not fit."""


def fit_warnings(
    sensor: Sensor, reference: Reference, stf: Stf, fit: Fit, covered: BoolArray
) -> Iterator[str]:
    """Sentences on skipped references, bands that it lacks, gains and offsets."""
    name, roles = reference.path.name, sensor.roles
    if reference.skipped:
        yield f"left out of {name}: {counted(reference.skipped)}"
    if not covered.all():
        rest = ", ".join(role for role, held in zip(roles, covered, strict=True) if not held)
        yield f"{name} does not cover {rest}: estimated from the image, with the others known"
    if not fit.converged:
        yield f"the fit to {name} did not converge, so its standard errors are too small"
    family = stf.family
    gains, prior, own = (
        part[0, covered, GAIN] for part in (stf.theta, family.prior, family.spread)
    )
    change, spread = gains - prior, torch.hypot(own, family.common)
    if abs(float((change / spread).mean())) > MAX_GAIN_DEVIATIONS:
        bright = float(change.exp().mean())
        yield f"{name} makes the camera {bright:.2g} times as bright as expected: check the scales"
    for index in np.flatnonzero(fit.has_offset.numpy() & covered):
        yield (
            f"band {roles[index]} has an additive offset of {fit.offset[index]:+.4f} +- "
            f"{fit.offset_se[index]:.4f} reflectance (haze, dark current), which an STF cannot "
            "hold: correct the image first"
        )


def misfit_warnings(
    name: str, weight: FloatArray, seen: FloatArray, predicted: FloatArray
) -> Iterator[str]:
    """Sentences on references that the image (k, c) shows otherwise than predicted (k, c)."""
    size = np.square(predicted).mean(1).clip(1e-12)
    typical = float(np.median(np.sqrt(np.square(seen - predicted).mean(1) / size)))
    if typical > MAX_TYPICAL_MISFIT:
        yield f"{name} is {typical:.0%} off what the image shows: check coordinates and scale"
    if (outliers := int((weight < OUTLIER_WEIGHT).sum())) > MAX_OUTLIER_SHARE * len(seen):
        yield f"{outliers} of {len(seen)} places of {name} do not fit the others: check them"
