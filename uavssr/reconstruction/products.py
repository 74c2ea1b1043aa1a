"""What becomes of a tile's maps: each product takes one stack of them into a file of its own.

Must not know how a file is laid out, or where maps come from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy.typing as npt
import torch
from torch import Tensor

from uavssr.errors import IncompleteRun
from uavssr.io.writers import NODATA, SCALE, CubeDtype, TileRecord, TileWriter
from uavssr.model import SpectralBasis
from uavssr.sensors import BoolArray, Float32Array
from uavssr.tiling import Window

Render = Callable[[Float32Array, BoolArray], npt.NDArray[Any]]
"""Maps (k, h, w) and the valid pixels (h, w) to numbers as a file stores them."""

_PIXELS: Final = {"cpu": 512, "cuda": 4096}
"""Pixels expanded at a time, so that what lies between two steps stays in the cache."""


class TileReceiver(Protocol):
    """What takes tiles; `Product` is one."""

    def add(self, window: Window, record: TileRecord) -> None:
        """Take a tile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A file that is made of one stack of each tile's maps."""

    maps: str
    """Name of the stack."""
    sink: TileWriter
    """The file."""
    render: Render | None = None
    """Makes what the file stores; None where the sink does that itself."""

    def add(self, window: Window, record: TileRecord) -> None:
        """Write a tile, unless it is empty: what is not written is nodata."""
        if self.maps not in record.maps:
            return
        stack, valid = record.maps[self.maps], record.valid
        if self.render is None:
            self.sink.write(window, stack, valid)
        else:
            self.sink.write_quantised(window, self.render(stack, valid))


@dataclass(frozen=True, slots=True, kw_only=True)
class CubeRender:
    """Coefficients A to the numbers of a cube, X = mean + E A, on the device of the basis.

    As uint16 they are those of `encoding.quantise` but for rounding at the half: clipped to
    0..65534 counts, 65535 where invalid. As float32 they are reflectance, NaN where invalid.
    """

    basis: SpectralBasis
    """E and the mean."""
    dtype: CubeDtype
    """What the file stores."""
    bands: Sequence[int] | None = None
    """Indices of the wavelengths that the file holds; None for all."""
    _affine: tuple[Tensor, Tensor] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        components, mean = self.basis.components, self.basis.mean[:, None]
        if self.bands is not None:
            chosen = list(self.bands)
            components, mean = components[chosen], mean[chosen]
        if self.dtype == "uint16":
            components, mean = components / SCALE, mean / SCALE + 0.5  # counts, then cut off
        object.__setattr__(self, "_affine", (components, mean))

    @torch.inference_mode()
    def __call__(self, coefficients: Float32Array, valid: BoolArray) -> npt.NDArray[Any]:
        """(C, h, w) in the file's type.

        Raises:
            IncompleteRun: a number would overflow.
        """
        components, mean = self._affine
        device = components.device
        # A copy: what is computed must not depend on how the array happens to lie in memory.
        flat = torch.tensor(coefficients, device=device).flatten(1)
        _check_range(flat, components)
        counts = self.dtype == "uint16"
        kind = torch.uint16 if counts else torch.float32
        stored = torch.empty((len(components), flat.shape[1]), dtype=kind, device=device)
        step = _PIXELS[device.type]
        for pixels, target in zip(flat.split(step, 1), stored.split(step, 1), strict=True):
            part = torch.addmm(mean, components, pixels)
            target.copy_(part.clamp_(0, NODATA - 0.5) if counts else part)
        if not valid.all():
            holes = torch.from_numpy(~valid.ravel()).to(device)
            if counts:  # every bit of 65535 is set, and or is quicker than a choice
                stored.view(torch.int16).bitwise_or_(-holes.to(torch.int16))
            else:
                stored.masked_fill_(holes, math.nan)
        numbers: npt.NDArray[Any] = stored.cpu().numpy()
        return numbers.reshape(-1, *valid.shape)


def _check_range(flat: Tensor, components: Tensor) -> None:
    largest = float(flat.abs().amax()) * float(components.abs().sum(1).amax())
    if not largest < torch.finfo(torch.float32).max / 2:
        raise IncompleteRun(
            f"coefficients of {float(flat.abs().amax()):.3g} are no reflectance",
            remedy="look at the input's values with uavssr inspect",
        )
