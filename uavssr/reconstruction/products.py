"""Products: files of which each is made of one stack of maps in every tile's record."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy.typing as npt
import torch
from torch import Tensor

from uavssr.errors import IncompleteRun
from uavssr.io.writers import NODATA, SCALE, CubeDtype, TileRecord, TileWriter
from uavssr.model import SpectralBasis
from uavssr.sensors import BoolArray, Float32Array
from uavssr.tiling import Window

Render = Callable[[Float32Array, BoolArray], npt.NDArray[Any]]
"""Converts maps (k, h, w) and valid pixels (h, w) to the numbers (C, h, w) that a file stores."""

_PIXELS: Final = {"cpu": 512, "cuda": 4096}
"""Pixels that are expanded at a time: few enough for the processor's cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A file that is made of one stack of maps in every tile's record."""

    maps: str
    """Name of the maps in the records."""
    sink: TileWriter
    """The file."""
    render: Render | None = None
    """Makes the numbers of the file; None if the sink takes the maps as they are."""

    def add(self, window: Window, record: TileRecord) -> None:
        """Write a tile; an empty tile is not written, which makes it nodata."""
        if self.maps not in record.maps:
            return
        stack, valid = record.maps[self.maps], record.valid
        if self.render is None:
            self.sink.write(window, stack, valid)
        else:
            self.sink.write_quantised(window, self.render(stack, valid))


@dataclass(frozen=True, slots=True, kw_only=True)
class CubeRender:
    """Renders coefficients A as the numbers of a cube, X = mean + E A, on the device of the basis.

    uint16: counts as `uavssr.io.writers.quantise` gives them but for rounding at the half, clipped
    to 0..65534, and 65535 where invalid. float32: reflectance, NaN where invalid.
    """

    basis: SpectralBasis
    """E and the mean."""
    dtype: CubeDtype
    """Number type of the file."""
    bands: Sequence[int] | None = None
    """Indices of the wavelengths that the file holds; None for all."""

    @property
    def _affine(self) -> tuple[Tensor, Tensor]:
        """E (C, r) and the mean (C, 1) of the file's wavelengths, in its units."""
        components, mean = self.basis.components, self.basis.mean[:, None]
        if self.bands is not None:
            rows = list(self.bands)
            components, mean = components[rows], mean[rows]
        if self.dtype == "uint16":  # counts; converting to integers rounds down, hence the half
            return components / SCALE, mean / SCALE + 0.5
        return components, mean

    @torch.inference_mode()
    def __call__(self, coefficients: Float32Array, valid: BoolArray) -> npt.NDArray[Any]:
        """(C, h, w) in the file's number type, of coefficients (r, h, w) and valid pixels (h, w).

        Raises:
            IncompleteRun: a number would overflow.
        """
        components, mean = self._affine
        device = components.device
        # a copy: the strides of the given array must not change the last digits
        flat = torch.tensor(coefficients, device=device).flatten(1)
        _check_range(flat, components)
        as_counts = self.dtype == "uint16"
        number_type = torch.uint16 if as_counts else torch.float32
        stored = torch.empty((len(components), flat.shape[1]), dtype=number_type, device=device)
        step = _PIXELS[device.type]
        for pixels, target in zip(flat.split(step, 1), stored.split(step, 1), strict=True):
            spectra = torch.addmm(mean, components, pixels)  # X = mean + E A
            target.copy_(spectra.clamp_(0, NODATA - 0.5) if as_counts else spectra)
        if not valid.all():
            invalid = torch.from_numpy(~valid.ravel()).to(device)
            if as_counts:  # all bits of 65535 are set, and OR is faster than a choice
                stored.view(torch.int16).bitwise_or_(-invalid.to(torch.int16))
            else:
                stored.masked_fill_(invalid, math.nan)
        numbers: npt.NDArray[Any] = stored.cpu().numpy()
        return numbers.reshape(-1, *valid.shape)


def _check_range(flat: Tensor, components: Tensor) -> None:
    largest = float(flat.abs().amax()) * float(components.abs().sum(1).amax())
    if not largest < torch.finfo(torch.float32).max / 2:
        raise IncompleteRun(
            f"coefficients of {float(flat.abs().amax()):.3g} are no reflectance",
            remedy="look at the input's values with uavssr inspect",
        )
