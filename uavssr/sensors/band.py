"""One camera band: its role, centre, width and spectral response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from uavssr.errors import InputRefused
from uavssr.sensors.arrays import FloatArray
from uavssr.sensors.wavelength_grid import FINE_NM

SHAPE_SPREAD: Final = 0.25
"""Prior standard deviation of the logarithm of a flat top's exponent."""
LEAK_SPREAD: Final = 0.025
"""Prior standard deviation of the share of a response that lies outside the band: root mean square
of a leak of up to 6 % in half of all bands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandPrior:
    """What earlier flights tell of a band's response: how it may differ from its nominal curve.

    Raises:
        InputRefused: a number is out of its range.
    """

    shift_sd: float
    """Standard deviation of the shift of the curve, nm."""
    width_sd: float
    """Standard deviation of the logarithm of its width."""
    gain: float
    """Mean logarithm of the gain."""
    gain_sd: float
    """Standard deviation of that logarithm, beside the factor that all bands share."""
    shape_sd: float = SHAPE_SPREAD
    """Standard deviation of the logarithm of the exponent of its edges."""
    leak_sd: float = LEAK_SPREAD
    """Standard deviation of the share of its response that lies outside the band."""

    def __post_init__(self) -> None:
        limits = {"shift_sd": (0, 50), "width_sd": (0, 1), "gain": (-3, 3), "gain_sd": (0, 2)}
        limits |= {"shape_sd": (0, 1), "leak_sd": (0, 1)}
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise InputRefused(f"{name} is {getattr(self, name)}, not {low} to {high}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """One camera band and its nominal spectral response function (SRF).

    Without a measured curve the response is a generalised Gaussian (flat-topped for shape > 2),
    `exp(-ln 2 |2 (nm - centre) / fwhm| ** shape)`, which is 1/2 at half the width for any shape.
    """

    role: str
    """Name in lower case, unique in its sensor: blue, green, rededge705 ..."""
    centre: float
    """Centre wavelength in nm."""
    fwhm: float
    """Full width at half maximum in nm (DJI's `WavelengthFWHM` tag holds half of it)."""
    shape: float = 4.0
    """Exponent of the generalised Gaussian: 2 is a Gaussian, large values a box."""
    curve: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """A measured curve as (wavelengths in nm, relative response), used instead of the shape."""
    prior: BandPrior | None = None
    """What earlier flights tell; by default `nominal_spread` holds."""
    nominal: float | None = None
    """Centre in nm of the data sheet, by which files name the band; None where it is `centre`."""

    def __post_init__(self) -> None:
        if self.role.lower().split() != [self.role] or "," in self.role:
            fact = f"band role must be lower case without blanks or commas, got {self.role!r}"
            raise InputRefused(fact)
        if not 350 <= self.centre <= 1050:
            raise InputRefused(
                f"band {self.role} is centred at {self.centre} nm, outside 350-1050 nm",
                remedy="give nanometres, and leave out bands beyond the output grid",
            )
        if not 0.5 <= self.fwhm <= 400:
            raise InputRefused(f"band {self.role} has a FWHM of {self.fwhm} nm, not 0.5-400 nm")
        if not 1 <= self.shape <= 50:
            raise InputRefused(f"band {self.role} has shape {self.shape}, not 1-50")

    @property
    def nominal_centre(self) -> float:
        """Centre in nm of the data sheet."""
        return self.centre if self.nominal is None else self.nominal

    def response(self, nm: FloatArray = FINE_NM) -> FloatArray:
        """The response (F,) at wavelengths `nm` (F,), with a sum of 1.

        Raises:
            InputRefused: the response is 0 at all of these wavelengths.
        """
        if self.curve is None:
            with np.errstate(under="ignore"):
                # r(nm) = 2 ** -|2 (nm - centre) / fwhm| ** shape
                values = np.exp2(-(np.abs(2 * (nm - self.centre) / self.fwhm) ** self.shape))
        else:
            values = np.interp(nm, self.curve[0], self.curve[1], left=0.0, right=0.0)
        if not values.sum() > 0:
            raise InputRefused(f"band {self.role} has no response at {nm[0]:g}-{nm[-1]:g} nm")
        return np.asarray(values / values.sum())

    @classmethod
    def from_curve(cls, role: str, nm: Sequence[float], response: Sequence[float]) -> Band:
        """A band from a relative response at increasing wavelengths; negative values become 0.

        Raises:
            InputRefused: fewer than three increasing wavelengths, or no finite positive response.
        """
        axis, values = np.asarray(nm, float), np.clip(np.asarray(response, float), 0, None)
        if axis.size < 3 or axis.size != values.size or not np.all(np.diff(axis) > 0):
            raise InputRefused(f"band {role}: a curve needs three or more increasing wavelengths")
        fine = np.interp(FINE_NM, axis, values, left=0.0, right=0.0)
        if not np.isfinite([axis, values]).all() or fine.sum() <= 0:
            raise InputRefused(f"band {role}: the curve has no finite response at 330-1080 nm")
        centre, fwhm, _ = response_moments(fine[None] / fine.sum(), FINE_NM)
        curve = (tuple(axis.tolist()), tuple(values.tolist()))
        return cls(role=role, centre=float(centre[0]), fwhm=float(fwhm[0]), curve=curve)


def response_moments(
    response: FloatArray, nm: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Centres (nm), FWHMs (nm) and gains, each (c,), of responses (c, F) at wavelengths `nm` (F,).

    The centre is the mean wavelength weighted with the response. The FWHM is the distance between
    the outermost crossings of half the maximum. The gain is the sum over the wavelengths.
    """
    # centre = sum(r nm) / sum(r)
    weight = np.clip(response, 0, None)
    weight = weight / np.maximum(weight.sum(-1, keepdims=True), 1e-12)
    widths = np.array([_half_maximum_width(row, nm) for row in weight])
    return weight @ nm, widths, response.sum(-1)


def _half_maximum_width(row: FloatArray, nm: FloatArray) -> float:
    """FWHM in nm, with crossings interpolated linearly between wavelengths."""
    half = row.max() / 2
    above = np.flatnonzero(row >= half)
    rise, fall = slice(max(above[0] - 1, 0), above[0] + 1), slice(above[-1], above[-1] + 2)
    left = np.interp(half, row[rise], nm[rise])
    right = np.interp(half, row[fall][::-1], nm[fall][::-1])
    return float(right - left)
