"""Producers' conventions for the scale of a multispectral image that states none."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from uavssr.io.raster import MIN_BRIGHTEST, Scale, ScaleEvidence, raw_counts_hint
from uavssr.sensors import Sensor

_BRIGHTEST: Final = 1.2
"""Reflectance; no field has more than 1 % of its pixels brighter than this in any band."""
_FULL: Final = 32768
"""The uint16 number that MicaSense and Metashape write for a reflectance of 1."""


def conventional_scale(evidence: ScaleEvidence, sensor: Sensor | None) -> Scale | None:
    """32768 = 100 % for uint16 numbers of Metashape or of a MicaSense camera; None for others.

    MicaSense's is taken only if the other usual one, 10000 = 100 %, would be too bright. Metashape
    writes raw counts in the same form, so numbers that may be counts are not taken for reflectance.
    """
    brightest = max(band.q99 for band in evidence.facts)
    is_uint16 = all(band.dtype == "uint16" for band in evidence.bands)
    # Else they are too dark, or raw counts up to 65535.
    fits = evidence.brightest > MIN_BRIGHTEST * _FULL and brightest / _FULL <= _BRIGHTEST
    if not is_uint16 or not fits or raw_counts_hint(evidence.facts):
        return None
    programs = [tags.get("tifftag_software", "") for tags in evidence.tags.values()]
    if all(re.search("agisoft|metashape", name, re.IGNORECASE) for name in programs):
        reason = (
            f"written by {programs[0]}, whose uint16 reflectance has 32768 = 100 %; "
            f"99 % quantile {brightest / _FULL:.2f}"
        )
        return _confirmed_by_user("Metashape", reason, len(evidence.bands))
    if not is_micasense(sensor) or brightest * 1e-4 <= _BRIGHTEST:
        return None
    reason = (
        "uint16 of a MicaSense camera: 32768 = 100 % by convention; the 99 % quantile "
        f"{brightest:.0f} is then {brightest / _FULL:.2f}, and {brightest * 1e-4:.2f} with "
        "10000 = 100 %"
    )
    return _confirmed_by_user("MicaSense", reason, len(evidence.bands))


def _confirmed_by_user(producer: str, reason: str, bands: int) -> Scale:
    """The scale with the warning that no tag states it."""
    warning = f"scale 1/32768 is {producer}'s convention, no tag states it; confirm it with --scale"
    return replace(Scale.uniform(1 / _FULL, bands, reason), warnings=(warning,))


def is_micasense(sensor: Sensor | None) -> bool:
    """Whether 32768 = 100 % is the usual scale of a camera's images."""
    return sensor is not None and sensor.title.startswith("MicaSense")
