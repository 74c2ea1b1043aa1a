"""Which pixels are valid: nodata, alpha, masks, and the fill values producers leave untagged.

Arrays only, axes (band, y, x). A pixel is valid only if it is so in every band.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from uavssr.sensors import BoolArray

Numbers = npt.NDArray[np.generic]

SIGNED_FILLS: Final = (-9999.0, -10000.0, -32767.0, -32768.0)
"""Values no reflectance takes in any scale, used as nodata with or without a tag."""
ABSURD: Final = 1e30
"""Larger numbers are a float's own nodata (3.4e38)."""
SATURATED: Final = 65535
"""Fill of uint16 files where it stands in every band at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidityRule:
    """What makes a pixel invalid in one input."""

    nodata: tuple[float | None, ...]
    """The nodata tag of each band."""
    has_mask: bool
    """Whether alpha or a mask band states validity."""

    @property
    def stated(self) -> bool:
        """Whether the file itself says which pixels are invalid."""
        return self.has_mask or any(value is not None for value in self.nodata)

    def valid(self, numbers: Numbers) -> BoolArray:
        """Where the stored numbers (band, y, x) are valid, (y, x); alpha and masks come on top."""
        valid = _finite(numbers)
        for band, value in zip(numbers, self.nodata, strict=True):
            if value is not None:
                valid &= ~_equals(band, value)
        valid &= ~_untagged_fill(numbers)
        if not self.stated:
            valid &= ~_border(numbers)
        return valid

    def observe(self, numbers: Numbers) -> set[str]:
        """Sentences on the untagged fill values that occur in these numbers."""
        seen = set()
        if _untagged_beside(numbers, self.nodata).any():
            seen.add("values such as -9999 that no nodata tag names are taken as invalid")
        if not self.stated and (numbers == 0).all(0).any():
            seen.add("no nodata tag: pixels that are 0 in every band are taken as invalid")
        if not self.stated and _all_saturated(numbers).any():
            seen.add("no nodata tag: pixels that are 65535 in every band are taken as invalid")
        return seen

    def describe(self, *, alpha: bool) -> str:
        """The rule for the card."""
        tags = sorted({f"{value:g}" for value in self.nodata if value is not None})
        parts = [f"nodata {', '.join(tags)}"] if tags else []
        parts += ["alpha 0"] if alpha else ["mask band 0"] if self.has_mask else []
        return ", ".join(parts) or "no nodata tag, alpha or mask: 0 in every band"


def _finite(numbers: Numbers) -> BoolArray:
    if numbers.dtype.kind != "f":
        return np.ones(numbers.shape[1:], bool)
    return np.asarray(np.isfinite(numbers).all(0))


def _equals(band: Numbers, value: float) -> BoolArray:
    """Compared in the stored type, as a float32 file's tag is kept as a rounded double."""
    if band.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return np.asarray(band == np.array(value).astype(band.dtype))
    if not float(value).is_integer():
        return np.zeros(band.shape, bool)
    return np.asarray(band == int(value))


def _untagged_fill(numbers: Numbers) -> BoolArray:
    return np.asarray(_fill_values(numbers).any(0))


def _fill_values(numbers: Numbers) -> BoolArray:
    if numbers.dtype.kind not in "fi" or numbers.dtype.itemsize < 2:
        return np.zeros(numbers.shape, bool)
    found = np.isin(numbers, np.array(SIGNED_FILLS, dtype=numbers.dtype))
    if numbers.dtype.kind == "f":
        found |= np.isfinite(numbers) & (np.abs(numbers) > ABSURD)
    return found


def _untagged_beside(numbers: Numbers, nodata: Sequence[float | None]) -> BoolArray:
    found = _fill_values(numbers)
    for i, value in enumerate(nodata):
        if value is not None:
            found[i] &= ~_equals(numbers[i], value)
    return found


def _border(numbers: Numbers) -> BoolArray:
    """Zero in every band, or saturated in every band: what mosaics leave outside the flight."""
    return np.asarray((numbers == 0).all(0)) | _all_saturated(numbers)


def _all_saturated(numbers: Numbers) -> BoolArray:
    if numbers.dtype != np.uint16:
        return np.zeros(numbers.shape[1:], bool)
    return np.asarray((numbers == SATURATED).all(0))
