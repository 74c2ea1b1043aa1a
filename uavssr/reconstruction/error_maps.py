"""What is said of a tile besides its spectra: standard errors, and flags of quality.

One stack of maps a tile: those that standard errors are made of, and the flags. Must not know how
files are laid out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from uavssr.io.msi import InputSummary
from uavssr.io.writers import CubeDtype, Quality, quantise
from uavssr.model import CubeUncertainty
from uavssr.sensors import BoolArray, Float32Array

ERROR_MAPS: Final = "doubts"
"""Name of the stack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorMaps:
    """Makes the stack of a tile; everything here is fixed for a scene."""

    uncertainty: CubeUncertainty
    """Of the cube."""
    saturation: Tensor
    """(c,) reflectance of the largest number that each band can hold; infinite for floats."""
    prior_driven: bool
    """Whether the scene said next to nothing of some band's response."""

    def maps(self, msi: Tensor, coefficients: Tensor) -> Tensor:
        """(q + 1, h, w) of an image (c, h, w) and its coefficients (r, h, w)."""
        variance = self.uncertainty.maps(msi[None], coefficients[None])[0]
        strange = self.uncertainty.outliers(msi[None])[0]
        full = (msi >= self.saturation[:, None, None]).any(0)
        flags = Quality.OUTLIER * strange.float() + Quality.SATURATED * full.float()
        flags = flags + Quality.PRIOR_DRIVEN * float(self.prior_driven)
        return torch.cat([variance, flags[None]])


def saturation(summary: InputSummary) -> Float32Array:
    """(c,) reflectance of the largest number of each band's type; infinite where it is a float."""
    found = [
        float(np.iinfo(band.dtype).max) * band.scale
        if np.issubdtype(np.dtype(band.dtype), np.integer)
        else np.inf
        for band in summary.bands
    ]
    # A little less: reflectance went through single precision.
    return np.array(found, np.float32) * np.float32(1 - 1e-6)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRender:
    """The stack to standard errors as a cube stores them: steps of 0.0001, or float32."""

    uncertainty: CubeUncertainty
    """Of the cube."""
    dtype: CubeDtype
    """What the file stores."""
    bands: Sequence[int] | None = None
    """Indices of the wavelengths that the file holds; None for all."""

    @torch.inference_mode()
    def __call__(self, stack: Float32Array, valid: BoolArray) -> npt.NDArray[Any]:
        """(C, h, w) in the file's type."""
        device = self.uncertainty.expansion.device
        sigma = self.uncertainty.expand(torch.tensor(stack[:-1], device=device)).cpu().numpy()
        chosen = sigma if self.bands is None else sigma[list(self.bands)]
        return quantise(chosen, valid, dtype=self.dtype, where="standard errors")


def render_flags(stack: Float32Array, valid: BoolArray) -> npt.NDArray[Any]:
    """The stack to flags (1, h, w), 0 where there are no data."""
    flags = stack[-1].astype(np.uint16) | np.uint16(Quality.DATA)
    return np.where(valid, flags, 0).astype(np.uint16)[None]
