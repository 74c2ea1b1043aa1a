"""The scale of a multispectral image: the user's, the file's, or the producer's convention."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from uavssr.errors import InputRefused
from uavssr.io.raster import MIN_BRIGHTEST, Request, Scale, ScaleEvidence, parse_scale
from uavssr.sensors import Sensor

_BRIGHTEST: Final = 1.2
"""Reflectance; no field has more than 1 % of its pixels brighter than this in any band."""
_FULL: Final = 32768
"""The uint16 number that MicaSense and Metashape write for a reflectance of 1."""
_PLAUSIBLE: Final = (0.002, 3.0)
"""Range of the 99.9 % quantile, in reflectance, for which a refusal proposes a scale."""
_PROPOSED: Final = ("1", "1/255", "0.01", "0.001", "0.0001", "1/32768", "1/65535")


def resolve_scale(
    given: float | str | None, evidence: ScaleEvidence, sensor: Sensor, request: Request
) -> Scale:
    """The scale: as given, else by the file's tags or range, else by a producer's convention.

    Raises:
        InputRefused: ambiguous, or the scale found cannot be that of reflectance.
    """
    if given is not None:
        return evidence.given(parse_scale(given))
    scale = evidence.stated() or _from_metashape(evidence) or _from_micasense(evidence, sensor)
    if scale is None:
        raise _ambiguous(evidence, request)
    if reason := evidence.implausible(scale):
        raise InputRefused(
            f"scale {scale.factors[0]:g} ({scale.evidence}) cannot be right: {reason}",
            path=evidence.path,
            remedy=f"give the true one, as in: {request.command(scale='NUMBER')}",
        )
    return scale


def _from_metashape(evidence: ScaleEvidence) -> Scale | None:
    software = evidence.tags.get("tifftag_software", "")
    if not re.search("agisoft|metashape", software, re.IGNORECASE) or not _fits_full(evidence):
        return None
    reason = (
        f"written by {software}, whose uint16 reflectance has 32768 = 100 %; "
        f"99 % quantile {float(evidence.quantiles.q99.max()) / _FULL:.2f}"
    )
    return Scale.uniform(1 / _FULL, len(evidence.bands), reason)


def _from_micasense(evidence: ScaleEvidence, sensor: Sensor) -> Scale | None:
    """MicaSense's convention, if the only other one, 10000 = 100 %, would be too bright."""
    brightest = float(evidence.quantiles.q99.max())
    other_fits = brightest * 1e-4 <= _BRIGHTEST
    if not sensor.title.startswith("MicaSense") or other_fits or not _fits_full(evidence):
        return None
    reason = (
        "uint16 of a MicaSense camera: 32768 = 100 % by convention; the 99 % quantile "
        f"{brightest:.0f} is then {brightest / _FULL:.2f}, and {brightest * 1e-4:.2f} with "
        "10000 = 100 %"
    )
    warning = "scale 1/32768 is MicaSense's convention, no tag states it; confirm it with --scale"
    return replace(Scale.uniform(1 / _FULL, len(evidence.bands), reason), warnings=(warning,))


def _fits_full(evidence: ScaleEvidence) -> bool:
    """Whether uint16 numbers are reflectance with 32768 = 100 %, and not raw counts up to 65535."""
    is_uint16 = all(band.dtype == "uint16" for band in evidence.bands)
    bright_enough = evidence.quantiles.brightest > MIN_BRIGHTEST * _FULL
    return is_uint16 and bright_enough and evidence.quantiles.q99.max() / _FULL <= _BRIGHTEST


def _ambiguous(evidence: ScaleEvidence, request: Request) -> InputRefused:
    brightest, dtype = evidence.quantiles.brightest, evidence.bands[0].dtype
    is_bytes = all(band.dtype == "uint8" for band in evidence.bands)
    reflectances = {
        text: brightest * parse_scale(text) for text in (("1/255",) if is_bytes else _PROPOSED)
    }
    low, high = _PLAUSIBLE
    fitting = {text: value for text, value in reflectances.items() if low < value <= high}
    fact = f"no evidence what {dtype} numbers mean as reflectance: their 99.9 % quantile is "
    fact += f"{brightest:.6g}"
    if fitting:
        fact += "; "
        fact += ", ".join(
            f"--scale {text} would make it {value:.2g}" for text, value in fitting.items()
        )
    example = "1/32768" if "1/32768" in fitting else next(iter(fitting), "NUMBER")
    return InputRefused(
        fact,
        path=evidence.path,
        remedy=f"give the scale, as in: {request.command(scale=example)}",
    )
