"""Standard errors and quality flags of a tile: the maps in its record, and their rendering."""

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

ERROR_MAPS: Final = "error_maps"
"""Name of these maps in a record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorMaps:
    """Computes the maps of a tile; all fields are fixed for a scene."""

    uncertainty: CubeUncertainty
    """Standard errors of the cube for the scene's STF."""
    saturation: Tensor
    """(c,) reflectance of the largest number that each band can hold; infinite for floats."""
    prior_driven: bool
    """Whether the response of some band follows from its prior alone, hardly from the image."""

    def maps(self, msi: Tensor, coefficients: Tensor) -> Tensor:
        """(q + 1, h, w) variance maps and flags, from Y (c, h, w) and A (r, h, w)."""
        variance = self.uncertainty.maps(msi[None], coefficients[None])[0]
        outlier = self.uncertainty.outliers(msi[None])[0]
        full = (msi >= self.saturation[:, None, None]).any(0)
        flags = Quality.OUTLIER * outlier.float() + Quality.SATURATED * full.float()
        flags = flags + Quality.PRIOR_DRIVEN * float(self.prior_driven)
        return torch.cat([variance, flags[None]])


def saturation(summary: InputSummary) -> Float32Array:
    """(c,) reflectance of the largest number of each band's type; infinite where it is a float."""
    largest = [
        float(np.iinfo(band.dtype).max) * band.scale
        if np.issubdtype(np.dtype(band.dtype), np.integer)
        else np.inf
        for band in summary.bands
    ]
    # slightly less, as reflectance was rounded to float32
    return np.array(largest, np.float32) * np.float32(1 - 1e-6)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRender:
    """Renders the maps as standard errors in a cube's number type: steps of 0.0001, or float32."""

    uncertainty: CubeUncertainty
    """Standard errors of the cube for the scene's STF."""
    dtype: CubeDtype
    """Number type of the file."""
    bands: Sequence[int] | None = None
    """Indices of the wavelengths that the file holds; None for all."""

    @torch.inference_mode()
    def __call__(self, maps: Float32Array, valid: BoolArray) -> npt.NDArray[Any]:
        """(C, h, w) in the file's type."""
        device = self.uncertainty.expansion.device
        sigma = self.uncertainty.expand(torch.tensor(maps[:-1], device=device)).cpu().numpy()
        if self.bands is not None:
            sigma = sigma[list(self.bands)]
        return quantise(sigma, valid, dtype=self.dtype, where="standard errors")


def render_flags(maps: Float32Array, valid: BoolArray) -> npt.NDArray[Any]:
    """Flags (1, h, w) uint16 of the maps of a tile, 0 where invalid."""
    flags = maps[-1].astype(np.uint16) | np.uint16(Quality.DATA)
    return np.where(valid, flags, 0).astype(np.uint16)[None]
