"""Plausibility of each band of an image: dead, constant and duplicated bands, odd levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from uavssr.errors import InputRefused
from uavssr.io.msi.band_roles import BandAssignment
from uavssr.io.raster import MIXED, BandFacts

_MIN_PIXELS: Final = 1000
"""Valid pixels from which a band is refused; a few pixels may be equal by chance."""
_VARIES: Final = 0.02
"""Reflectance from the 1 % to the 99 % quantile; noise and one step of bytes (1/255) are below."""
_BRIGHT: Final = 1.2
"""Reflectance; no ground is above it at the median, fresh snow reaches 1."""
_NEGATIVE: Final = 0.01
"""Share of negative pixels that is reported; noise and shade alone stay below it."""
_ZERO: Final = 0.05
"""Share of exact zeros that is reported; the ten development scenes had 1 % at most."""


def check_bands(assignment: BandAssignment, facts: Sequence[BandFacts]) -> list[str]:
    """Warnings, a sentence each, of bands whose reflectance is unlikely.

    Args:
        assignment: the c bands.
        facts: (c,) facts of their reflectance.

    Raises:
        InputRefused: a band has one number everywhere, or those of another band, and the rest of
            the image varies.
    """
    names = [
        f"{role} ({band.label})" if role else band.label
        for role, band in zip(assignment.roles, assignment.bands, strict=True)
    ]
    if all(band.constant for band in facts):
        return _constant_image(facts)
    varies = any(band.q99 - band.q01 > _VARIES for band in facts)
    brightest = max(band.q999 for band in facts)
    wrong, warnings = [], []
    for name, stored, band in zip(names, assignment.bands, facts, strict=True):
        fault = _fault(name, band, names)
        if fault and varies and band.pixels >= _MIN_PIXELS and not _coarse(band, stored.dtype):
            wrong.append(fault)
        elif fault:
            warnings.append(fault)
        warnings += _oddities(name, band, brightest)
    if wrong:
        raise InputRefused(
            "; ".join(wrong),
            path=assignment.bands[0].file,
            remedy="export the bands again, or leave them out: skip in --bands, and --sensor FILE "
            "of a camera without them",
        )
    return warnings


def _constant_image(facts: Sequence[BandFacts]) -> list[str]:
    """One warning for an image of one spectrum, as likely fill where its bands are equal."""
    levels = [band.median for band in facts]
    if len(set(levels)) == 1:
        return []
    return [f"all pixels have one reflectance: {', '.join(f'{level:.4g}' for level in levels)}"]


def _fault(name: str, band: BandFacts, names: Sequence[str]) -> str:
    """The reason why a band cannot be right; else empty."""
    if band.constant:
        return f"{name} has the reflectance {band.median:.4g} in every pixel"
    if band.same_as is not None:
        return f"{name} is the same as {names[band.same_as]} in every pixel"
    return ""


def _coarse(band: BandFacts, dtype: str) -> bool:
    """Whether a dark band hardly varies because the steps of bytes hide what it saw."""
    return dtype == "uint8" and band.q999 < _VARIES


def _oddities(name: str, band: BandFacts, brightest: float) -> list[str]:
    """What is unlikely but may be true, a sentence each."""
    if band.constant:
        return []
    oddities = []
    if band.median > _BRIGHT:
        oddities.append(f"the median reflectance of {name} is {band.median:.2g}")
    if band.q999 < MIXED * brightest:
        oddities.append(
            f"99.9 % of {name} is below a reflectance of {band.q999:.2g}, of the brightest band "
            f"below {brightest:.2g}: right over water only"
        )
    if band.negative >= _NEGATIVE:
        oddities.append(f"{band.negative:.1%} of {name} is below a reflectance of 0")
    if band.zero >= _ZERO:
        oddities.append(f"{band.zero:.1%} of {name} is exactly 0")
    return oddities
