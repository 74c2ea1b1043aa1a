"""Valid pixels: nodata tags, and the fill values that producers write without a tag.

A pixel is valid only if it is valid in every band. Arrays only, axes (band, y, x).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from uavssr.sensors import BoolArray, NumberArray

SIGNED_FILLS: Final = (-9999.0, -10000.0, -32767.0, -32768.0)
"""Numbers of usual fill values, taken as nodata without a tag: no reflectance in any scale."""
LARGEST: Final = 1e30
"""Stored number; a larger absolute float is a fill value, such as 3.4e38."""
SATURATED: Final = 65535
"""Fill value of uint16 files if all bands hold it in the same pixel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidityRule:
    """The numbers that make a pixel of one input invalid."""

    nodata: tuple[float | None, ...]
    """The nodata tag of each band, None without one."""
    has_mask: bool
    """Whether an alpha or mask band states validity."""

    @property
    def stated(self) -> bool:
        """Whether the file itself states invalid pixels, by a tag or a mask."""
        return self.has_mask or any(value is not None for value in self.nodata)

    def valid(self, numbers: NumberArray) -> BoolArray:
        """Where the stored numbers (band, y, x) are valid, (y, x), without alpha and masks."""
        valid = ~_fill_values(numbers).any(0)
        if numbers.dtype.kind == "f":
            valid &= np.isfinite(numbers).all(0)
        for band, value in zip(numbers, self.nodata, strict=True):
            if value is not None:
                valid &= ~_equals(band, value)
        for border in self._border_values(numbers):
            valid &= ~(numbers == border).all(0)
        return np.asarray(valid)

    def observe(self, numbers: NumberArray) -> set[str]:
        """Warnings, a sentence each, of untagged fill values in these numbers (band, y, x)."""
        warnings = [
            f"no nodata tag: pixels that are {border} in every band are taken as invalid"
            for border in self._border_values(numbers)
            if (numbers == border).all(0).any()
        ]
        fills = zip(_fill_values(numbers), numbers, self.nodata, strict=True)
        if any((fill & ~_equals(band, value)).any() for fill, band, value in fills):
            warnings.append("values such as -9999 that no nodata tag names are taken as invalid")
        return set(warnings)

    def describe(self, *, alpha: bool) -> str:
        """The rule in words, for the input summary.

        Args:
            alpha: whether the mask, if any, is an alpha band.
        """
        tags = sorted({f"{value:g}" for value in self.nodata if value is not None})
        parts = [f"nodata {', '.join(tags)}"] if tags else []
        parts += ["alpha 0"] if alpha else ["mask band 0"] if self.has_mask else []
        return ", ".join(parts) or "no nodata tag, alpha or mask: 0 in every band"

    def _border_values(self, numbers: NumberArray) -> tuple[int, ...]:
        """Values that mosaics hold in every band outside the flight, if no tag or mask says so."""
        if self.stated:
            return ()
        return (0, SATURATED) if numbers.dtype == np.uint16 else (0,)


def _equals(band: NumberArray, value: float | None) -> BoolArray:
    """Compare in the stored type: GDAL gives the tag of a float32 file as a rounded double."""
    if value is not None and band.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return np.asarray(band == np.array(value).astype(band.dtype))
    if value is None or not float(value).is_integer():
        return np.zeros(band.shape, bool)
    return np.asarray(band == int(value))


def _fill_values(numbers: NumberArray) -> BoolArray:
    """Which numbers (band, y, x) are fill values whatever the tags say."""
    if numbers.dtype.kind not in "fi" or numbers.dtype.itemsize < 2:
        return np.zeros(numbers.shape, bool)
    fills = np.isin(numbers, np.array(SIGNED_FILLS, dtype=numbers.dtype))
    if numbers.dtype.kind == "f":
        fills |= np.isfinite(numbers) & (np.abs(numbers) > LARGEST)
    return fills
