"""Pixels that are marked as not to be trusted, their counts, and maps of standard errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from uavssr.io.writers import Quality
from uavssr.model import (
    OUTLIER_QUANTILE,
    UNUSUAL_QUANTILE,
    CubeUncertainty,
    chi_square_quantile,
)
from uavssr.sensors import BoolArray, Float32Array

if TYPE_CHECKING:
    from uavssr.io.msi import InputSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelQuality:
    """Marks pixels and computes maps of standard errors; all fields are fixed for a scene."""

    uncertainty: CubeUncertainty
    """Standard errors of the cube for the scene's STF."""
    saturation: Tensor
    """(c,) reflectance of the largest number that each band can hold; infinite for floats."""
    prior_driven: bool
    """Whether the response of some band follows from its prior alone, hardly from the image."""

    def marks(self, msi: Tensor) -> dict[str, Tensor]:
        """(h, w) pixels of Y (c, h, w) that are unusual, outliers, saturated, as if all were valid.

        Unusual pixels and outliers are further from every component of the prior than nine tenths,
        or all but 1e-4, of its own pixels are.
        """
        distance, bands = self.uncertainty.distance(msi[None])[0], len(msi)
        return {
            "unusual": distance > chi_square_quantile(bands, UNUSUAL_QUANTILE),
            "outlier": distance > chi_square_quantile(bands, OUTLIER_QUANTILE),
            "saturated": (msi >= self.saturation[:, None, None]).any(0),
        }

    def error_maps(self, msi: Tensor, coefficients: Tensor, marks: dict[str, Tensor]) -> Tensor:
        """(q + 1, h, w) variance maps and flags, from Y (c, h, w), A (r, h, w) and `marks`."""
        variance = self.uncertainty.maps(msi[None], coefficients[None])[0]
        outlier, saturated = marks["outlier"].float(), marks["saturated"].float()
        flags = Quality.OUTLIER * outlier + Quality.SATURATED * saturated
        flags = flags + Quality.PRIOR_DRIVEN * float(self.prior_driven)
        return torch.cat([variance, flags[None]])


def count_marks(marks: dict[str, Tensor], valid: BoolArray) -> dict[str, int]:
    """Valid pixels (h, w) with each mark."""
    stack = torch.stack(list(marks.values()))
    counted = stack & torch.from_numpy(valid).to(stack.device)
    return dict(zip(marks, counted.sum((1, 2)).tolist(), strict=True))


def saturation(summary: InputSummary) -> Float32Array:
    """(c,) reflectance of the largest number of each band's type; infinite where it is a float."""
    largest = [
        float(np.iinfo(band.dtype).max) * band.scale + (band.offset or 0)
        if band.scale is not None and np.issubdtype(np.dtype(band.dtype), np.integer)
        else np.inf
        for band in summary.bands
    ]
    # slightly less, as reflectance was rounded to float32
    return np.array(largest, np.float32) * np.float32(1 - 1e-6)
