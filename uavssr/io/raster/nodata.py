"""Valid pixels: the one rule for images and cubes, and the reasons why other pixels are invalid.

A pixel is valid only if it is valid in every band. Arrays only, axes (band, y, x), or (band, n)
where no neighbours matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from uavssr.sensors import BoolArray, Float32Array, NumberArray

ReasonArray = npt.NDArray[np.uint8]
"""Numbers of `Reason`, one for each pixel."""

LIMITS: Final = (-0.2, 5.0)
"""Reflectance that a pixel may have; noise in shadows and glints lie inside."""
BLED_PIXELS: Final = 8
"""Pixels beyond the edge of fill that resampling may have mixed with it: cubic convolution to half
the pixel size reaches so far."""
MARGIN: Final = BLED_PIXELS + 2
"""Pixels around a window that decide about those within, where fill has bled."""
_FILLS: Final = (-9999.0, -10000.0, -32767.0, -32768.0)
"""Usual fill values, taken as nodata without a tag: no reflectance in any scale."""
_LARGEST: Final = 1e30
"""Stored number; a larger absolute float is a fill value, such as 3.4e38."""
_FLOAT32: Final = (-float(np.finfo("f4").max), float(np.finfo("f4").max))
"""The limits of reflectance where none are set: finite numbers."""


class Reason(IntEnum):
    """Why a pixel is invalid."""

    VALID = 0
    """It is valid."""
    NODATA = 1
    """A nodata tag, a mask, alpha or NaN says so."""
    FILL = 2
    """A fill value that no tag names."""
    OUT_OF_RANGE = 3
    """A band is outside `LIMITS`."""
    INFINITE = 4
    """A band is infinite."""
    BLED = 5
    """Resampling has mixed it with fill nearby."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidityRule:
    """What makes a pixel of one input invalid."""

    nodata: tuple[float | None, ...]
    """The nodata tag of each band, None without one."""
    has_mask: bool
    """Whether an alpha or mask band states validity."""
    trusted: bool = False
    """Whether tags and masks alone count, as in a product of uavssr."""
    saturates: bool = False
    """Whether bright ground reaches the largest number of the type, which is then no fill."""
    zero_is_fill: bool = False
    """Whether 0 in every band is fill although a tag names another number."""
    bleeds: bool = False
    """Whether resampling has mixed fill into the pixels around it."""

    @property
    def margin(self) -> int:
        """Pixels around a window that must be read too."""
        return MARGIN if self.bleeds else 0

    @property
    def stated(self) -> bool:
        """Whether the file itself states invalid pixels, by a tag or a mask."""
        return self.has_mask or any(value is not None for value in self.nodata)

    def valid(
        self, numbers: NumberArray, reflectance: Float32Array, stated: BoolArray
    ) -> BoolArray:
        """Where pixels are valid (y, x).

        Args:
            numbers: (band, y, x) stored numbers, `margin` pixels around those that are asked for.
            reflectance: (band, y, x) that they mean.
            stated: (y, x) pixels that alpha and mask bands let be valid.
        """
        valid = stated & ~self.named(numbers) & ~self.fill(numbers) & self._inside(reflectance)
        if self.bleeds:
            valid &= ~near_fill(~valid)
        return np.asarray(valid)

    def reasons(
        self, numbers: NumberArray, reflectance: Float32Array, stated: BoolArray
    ) -> ReasonArray:
        """The `Reason` of each pixel (y, x) by itself; arguments as for `valid`."""
        infinite = np.isinf(numbers).any(0)
        out = ~self._inside(reflectance)
        # the same number in all bands that no surface has is fill, else a wild pixel
        fill = self.fill(numbers) | out & uniform(numbers)
        cases = (~stated | self.named(numbers), infinite, fill, out)
        chosen = (Reason.NODATA, Reason.INFINITE, Reason.FILL, Reason.OUT_OF_RANGE)
        return np.select(cases, chosen, Reason.VALID).astype(np.uint8)

    def named(self, numbers: NumberArray) -> BoolArray:
        """Which pixels hold a number that a nodata tag names, or NaN, in some band."""
        named = np.zeros(numbers.shape[1:], bool)
        if numbers.dtype.kind == "f":
            named |= np.isnan(numbers).any(0)
        for band, value in zip(numbers, self.nodata, strict=True):
            if value is not None:
                named |= _equals(band, value)
        return named

    def fill(self, numbers: NumberArray) -> BoolArray:
        """Which pixels hold a fill value, whatever the tags say."""
        if self.trusted:
            return np.zeros(numbers.shape[1:], bool)
        fill = _usual_fills(numbers).any(0)
        for border in self._border_values(numbers):
            fill |= (numbers == border).all(0)
        return np.asarray(fill)

    def describe(self, *, alpha: bool) -> str:
        """The rule in words, for the input summary.

        Args:
            alpha: whether the mask, if any, is an alpha band.
        """
        tags = sorted({f"{value:g}" for value in self.nodata if value is not None})
        parts = [f"nodata {', '.join(tags)}"] if tags else []
        parts += ["alpha 0"] if alpha else ["mask band 0"] if self.has_mask else []
        return ", ".join(parts) or "no nodata tag, alpha or mask: 0 in every band"

    def _inside(self, reflectance: Float32Array) -> BoolArray:
        """Which pixels have finite reflectance within the limits in every band."""
        low, high = _FLOAT32 if self.trusted else LIMITS
        # a NaN spoils the minimum, and compares as false
        return np.asarray((reflectance.min(0) >= low) & (reflectance.max(0) <= high))

    def _border_values(self, numbers: NumberArray) -> list[int]:
        """Numbers that mosaics hold in every band outside the flight."""
        values = [0] if self.zero_is_fill or not self.stated else []
        if numbers.dtype.kind in "iu" and len(numbers) > 1 and not self.saturates:
            values.append(int(np.iinfo(numbers.dtype.name).max))
        return values


def near_fill(invalid: BoolArray) -> BoolArray:
    """Pixels (y, x) at most `BLED_PIXELS` beyond the edge of invalid areas of 3 x 3 or more.

    Single invalid pixels are not fill: their neighbours have been measured. Beyond the edges of
    the array lies fill.
    """
    return grown(areas_of(invalid), 1 + BLED_PIXELS)


def areas_of(mask: BoolArray) -> BoolArray:
    """The centres (y, x) of 3 x 3 pixels that all belong to the mask."""
    return ~grown(~mask, 1)


def grown(mask: BoolArray, pixels: int) -> BoolArray:
    """Pixels (y, x) with a pixel of the mask at most `pixels` rows and columns away."""
    for axis in (0, 1):
        padding = [(pixels, pixels) if a == axis else (0, 0) for a in (0, 1)]
        padded = np.pad(mask, padding)
        near = np.lib.stride_tricks.sliding_window_view(padded, 2 * pixels + 1, axis)
        mask = np.asarray(near.any(-1))
    return mask


def pixels_of(numbers: NumberArray, mask: BoolArray) -> NumberArray:
    """Numbers (band, n) of the pixels of a mask; those of a full mask are not copied."""
    return numbers.reshape(len(numbers), -1) if mask.all() else numbers[:, mask]


def uniform(numbers: NumberArray) -> BoolArray:
    """Which pixels hold the same number in all of several bands."""
    return np.asarray((numbers == numbers[:1]).all(0) & (len(numbers) > 1))


def _equals(band: NumberArray, value: float) -> BoolArray:
    """Compare in the stored type: GDAL gives the tag of a float32 file as a rounded double."""
    if band.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return np.asarray(band == np.array(value).astype(band.dtype))
    if not float(value).is_integer():
        return np.zeros(band.shape, bool)
    return np.asarray(band == int(value))


def _usual_fills(numbers: NumberArray) -> BoolArray:
    """Which numbers (band, y, x) are fill values whatever the tags say."""
    kind = numbers.dtype.kind
    if kind == "f":
        fills = np.isin(numbers, np.array(_FILLS, dtype=numbers.dtype))
        return np.asarray(fills | np.isfinite(numbers) & (np.abs(numbers) > _LARGEST))
    if kind != "i":
        return np.zeros(numbers.shape, bool)
    least = int(np.iinfo(numbers.dtype.name).min)
    known = [value for value in (*map(int, _FILLS), least) if value >= least]
    return np.isin(numbers, np.array(known, dtype=numbers.dtype))
