"""The wavelengths of a hyperspectral cube, and the fine axis of response curves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from uavssr.errors import InputRefused
from uavssr.sensors.arrays import FloatArray

FINE_NM: Final[FloatArray] = np.arange(330.0, 1081.0, 1.0)
"""(F,) wavelengths in nm, 330-1080 in steps of 1 nm, at which response curves are tabulated."""


@dataclass(frozen=True, slots=True, eq=False)
class WavelengthGrid:
    """The C bands of a hyperspectral cube: centres and widths in nm."""

    name: str
    """Name for files and messages."""
    centres: FloatArray
    """(C,) centre wavelengths in nm, increasing."""
    fwhm: FloatArray
    """(C,) full widths at half maximum in nm."""

    def __post_init__(self) -> None:
        if self.centres.ndim != 1 or self.centres.size < 2:
            raise InputRefused(f"grid {self.name}: two or more wavelengths are needed")
        if self.centres.shape != self.fwhm.shape or not np.all(np.diff(self.centres) > 0):
            raise InputRefused(f"grid {self.name}: wavelengths must increase, one width each")

    def __len__(self) -> int:
        return int(self.centres.size)

    def matches(self, other: WavelengthGrid, *, tolerance: float = 0.05) -> bool:
        """Whether both have the same centres within `tolerance` nm."""
        distance = np.abs(self.centres - other.centres) if len(self) == len(other) else np.inf
        return bool(np.all(distance <= tolerance))

    def nearest(self, nm: float) -> int:
        """Index of the band nearest to `nm`."""
        return int(np.abs(self.centres - nm).argmin())

    def interpolation(self) -> FloatArray:
        """Matrix H (F, C) of linear interpolation: x(FINE_NM) = H x(grid), constant past the ends.

        A response r (F,) on FINE_NM acts on a cube as r H, exactly so for spectra that are linear
        between the bands. Each row of H is the mean over a step of 1 nm: sampled at points, a flat
        response would become rippled on bands 2.2 nm apart. The array is read only.
        """
        return _interpolation(tuple(self.centres.tolist()))

    @classmethod
    def regular(cls, name: str, start: float, stop: float, count: int) -> WavelengthGrid:
        """`count` equally spaced bands from `start` to `stop` nm, as wide as their spacing."""
        centres = np.linspace(start, stop, count)
        return cls(name, centres, np.full(count, (stop - start) / (count - 1)))


@lru_cache(maxsize=8)
def _interpolation(centres: tuple[float, ...]) -> FloatArray:
    parts = 20  # points over which each step of 1 nm is averaged
    offsets = ((np.arange(parts) + 0.5) / parts - 0.5) * (FINE_NM[1] - FINE_NM[0])
    axis = np.array(centres)
    points = np.clip((FINE_NM[:, None] + offsets).ravel(), axis[0], axis[-1])
    # x(l) = x_i + (x_(i+1) - x_i) t,  t = (l - c_i) / (c_(i+1) - c_i)
    below = np.clip(np.searchsorted(axis, points, side="right") - 1, 0, len(axis) - 2)
    share = (1 / np.diff(axis))[below] * (points - axis[below])
    weights = np.zeros((points.size, axis.size))
    rows = np.arange(points.size)
    weights[rows, below], weights[rows, below + 1] = 1 - share, share
    matrix = weights.reshape(FINE_NM.size, parts, axis.size).mean(1)
    matrix.setflags(write=False)
    return matrix


HEADWALL_NANO: Final[WavelengthGrid] = WavelengthGrid(
    "headwall-nano", np.linspace(397.865, 1001.51, 270), np.full(270, 6.0)
)
"""The default output grid: 270 bands of the Headwall Nano-Hyperspec, 2.244 nm apart, 6 nm wide."""
