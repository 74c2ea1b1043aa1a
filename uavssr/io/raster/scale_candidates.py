"""Usual scales that a file without one may have, by the type and level of its numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from uavssr.io.raster.band_facts import BandFacts

_USUAL: Final = {
    "uint8": ("1/255",),
    "uint16": ("0.0001", "1/32768", "0.01"),
    "float32": ("0.01", "0.0001"),
    "float64": ("0.01", "0.0001"),
}
"""Scales by type; 32768 is no number of int16, and no program writes 255 or 32768 = 1 as floats."""
_OTHER_INTEGERS: Final = ("0.0001", "0.01")
_POSSIBLE: Final = (0.02, 2.0)
"""Reflectance: range of the 99.9 % quantile of a scale that a message lists."""
_LIKELY: Final = (0.25, 1.2)
"""Reflectance: range of the 99.9 % quantile of a scale that a message proposes.

In ten hyperspectral scenes seen by two cameras it was 0.34 to 0.92; water alone is darker.
"""
MIXED: Final = 1 / 50
"""Brightness of a band, relative to the brightest, below which its scale may be another one.

The lowest 99.9 % quantile was 1/15 of the brightest band's in the same scenes (blue over forest).
Only water in the near infrared may be below it.
"""
_BLACK_LEVEL: Final = 3000
"""Number below the black level of 16 bit counts: 4096 in a P4M, 3200 in a Mavic 3M.

With 32768 = 100 % it is 0.09, and in each of ten scenes 1 % of some band were below 0.04.
"""
_RAW_STEP: Final = 16
"""Step of counts of 12 bits that are stored as 16 bits."""


def possible_scales(dtype: str, brightest: float) -> dict[str, float]:
    """The usual scales of a type that may be right, each with the brightest reflectance then.

    Args:
        dtype: type of the stored numbers.
        brightest: 99.9 % quantile of the stored numbers of the brightest band.
    """
    values = {}
    for text in _USUAL.get(dtype, _OTHER_INTEGERS):
        one, _, whole = text.partition("/")
        values[text] = brightest * float(one) / float(whole or 1)
    low, high = _POSSIBLE
    return {text: value for text, value in values.items() if low < value <= high}


def likely_scale(dtype: str, facts: Sequence[BandFacts]) -> str:
    """The only usual scale that makes a usual scene of all bands, else the placeholder NUMBER."""
    if dtype == "uint16" and raw_counts_hint(facts):
        return "NUMBER"
    low, high = _LIKELY
    values = possible_scales(dtype, max(band.q999 for band in facts))
    likely = [text for text, value in values.items() if low <= value <= high]
    return likely[0] if len(likely) == 1 else "NUMBER"


def darkest_band(facts: Sequence[BandFacts]) -> int | None:
    """The band whose brightness hints at a scale of its own, None without one."""
    levels = [band.q999 for band in facts]
    return levels.index(min(levels)) if min(levels) < MIXED * max(levels) else None


def raw_counts_hint(facts: Sequence[BandFacts]) -> str:
    """The reason why uint16 numbers may be a camera's raw counts; else empty."""
    lowest, step = min(band.q01 for band in facts), math.gcd(*(band.step for band in facts))
    if lowest >= _BLACK_LEVEL:
        return f"no band has more than 1 % of numbers below {lowest:.0f}, as above a black level"
    if step and step % _RAW_STEP == 0:
        return f"all numbers are multiples of {step}, as raw counts are"
    return ""
