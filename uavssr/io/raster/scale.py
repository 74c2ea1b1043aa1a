"""What the stored numbers mean as reflectance, by the caller's word or by evidence in the file.

A wrong scale gives a plausible cube of wrong spectra, so what is ambiguous is refused. Reads
no files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from uavssr.errors import InputRefused, UsageError
from uavssr.io.raster.band_metadata import BandMetadata
from uavssr.io.raster.request import Request
from uavssr.sensors import BoolArray, Float32Array, FloatArray, Sensor

LOW: Final = 0.02
"""A scene of reflectance has a 99.9 % quantile above this."""
HIGH: Final = 2.0
"""And not above this."""
BRIGHTEST: Final = 1.2
"""No field has more than 1 % of its pixels brighter than this in any band."""
MICASENSE_FULL: Final = 32768
"""The number that means 100 % in MicaSense's and Metashape's reflectance maps of type uint16."""

_SCALE_LENGTH: Final = 40
"""Characters that a scale may have; no number worth giving needs more."""

_BLACK: Final = 0.001
"""A scene whose brightest pixels reflect less was not given its scale."""
_CANDIDATES: Final = ("1", "1/255", "0.01", "0.001", "0.0001", "1/32768", "1/65535")
_NAMED: Final = (
    *("reflectance_scale_factor", "reflectance_scale", "scale_factor"),
    *("quantification_value", "boa_quantification_value"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """How the stored numbers of the sampled valid pixels spread, an array (band,) each."""

    median: FloatArray
    """50 % quantiles."""
    q99: FloatArray
    """99 % quantiles."""
    q999: FloatArray
    """99.9 % quantiles."""

    @classmethod
    def of(cls, numbers: npt.NDArray[np.generic]) -> Quantiles:
        """The spread of valid numbers (band, pixel)."""
        step = max(1, numbers.shape[1] // 200_000)
        values = numbers[:, ::step].astype(np.float64)
        median, q99, q999 = np.quantile(values, (0.5, 0.99, 0.999), axis=1)
        return cls(median=median, q99=q99, q999=q999)

    @property
    def bright(self) -> float:
        """The largest band's 99.9 % quantile."""
        return float(self.q999.max())


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Reflectance = stored number x factor + offset, a value per band."""

    factors: tuple[float, ...]
    """Per band."""
    offsets: tuple[float, ...]
    """Per band."""
    evidence: str
    """Why, for the card."""
    warnings: tuple[str, ...] = ()
    """ErrorMaps that do not stop the run."""

    def reflectance(self, numbers: npt.NDArray[np.generic]) -> Float32Array:
        """Stored numbers (band, y, x) as reflectance.

        In float32 where that holds the stored numbers exactly, else by way of float64.
        """
        exact = numbers.dtype.itemsize <= 2 or numbers.dtype == np.float32
        wide = np.dtype("f4" if exact else "f8")
        factors, offsets = np.array([self.factors, self.offsets], wide)[:, :, None, None]
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(numbers.astype(wide) * factors + offsets).astype(np.float32)

    def masked(
        self, numbers: npt.NDArray[np.generic], valid: BoolArray
    ) -> tuple[Float32Array, BoolArray]:
        """Reflectance (band, y, x), NaN where invalid, and the pixels (y, x) valid and finite."""
        reflectance = self.reflectance(numbers)
        kept = valid & np.isfinite(reflectance).all(0)
        reflectance[:, ~kept] = np.nan
        return reflectance, kept


def parse_scale(text: float | str) -> float:
    """A scale as a number or a fraction of two numbers ("1/32768").

    Raises:
        UsageError: not a positive finite number.
    """
    shown = str(text)[: _SCALE_LENGTH + 1]
    try:
        parts = [float(part) for part in shown.split("/")]
    except ValueError:
        parts = []
    if len(shown) > _SCALE_LENGTH or len(parts) not in (1, 2):
        raise UsageError(f"--scale {shown!r} is no number", remedy="e.g. --scale 1/32768")
    if not all(math.isfinite(part) and part > 0 for part in parts):
        raise UsageError(f"--scale {shown} must be positive and finite")
    value = parts[0] / parts[1] if len(parts) > 1 else parts[0]
    if not math.isfinite(value) or value <= 0:
        raise UsageError(f"--scale {shown} must be positive and finite")
    return value


def resolve_scale(
    given: float | str | None,
    bands: Sequence[BandMetadata],
    tags: Mapping[str, str],
    sensor: Sensor,
    spread: Quantiles,
    request: Request,
) -> Scale:
    """The scale: as given, else GDAL's tags, else a range or a producer's tag that leaves no doubt.

    Raises:
        InputRefused: ambiguous, or what the evidence gives cannot be reflectance.
    """
    if given is not None:
        return _given(parse_scale(given), bands, spread)
    _refuse_radiance(tags, request.paths[0])
    found = (
        _from_gdal(bands)
        or _from_range(bands, spread)
        or _from_named_tag(bands, tags)
        or _from_metashape(bands, tags, spread)
        or _from_micasense(bands, sensor, spread)
    )
    if found is None:
        raise _ambiguous(bands, spread, request)
    doubt = _doubt(found, spread)
    if doubt:
        raise InputRefused(
            f"scale {found.factors[0]:g} ({found.evidence}) cannot be right: {doubt}",
            path=request.paths[0],
            remedy=f"give the true one, as in: {request.command(scale='NUMBER')}",
        )
    return found


def resolve_cube_scale(
    given: float | str | None,
    bands: Sequence[BandMetadata],
    tags: Mapping[str, str],
    spread: Quantiles,
    path: Path,
) -> Scale:
    """The scale of a cube: as given, else GDAL's tags, a range or a tag that names it.

    Raises:
        InputRefused: ambiguous, or what the evidence gives cannot be reflectance.
    """
    if given is not None:
        return _given(parse_scale(given), bands, spread)
    _refuse_radiance(tags, path)
    found = _from_gdal(bands) or _from_range(bands, spread) or _from_named_tag(bands, tags)
    doubt = "" if found is None else _doubt(found, spread)
    if found is None or doubt:
        fact = (
            f"no evidence what its {bands[0].dtype} numbers mean as reflectance; their 99.9 % "
            f"quantile is {spread.bright:.6g}"
            if found is None
            else f"scale {found.factors[0]:g} ({found.evidence}) cannot be right: {doubt}"
        )
        raise InputRefused(
            fact, path=path, remedy="give what a number means in reflectance, such as 1/10000"
        )
    return found


def _refuse_radiance(tags: Mapping[str, str], path: Path) -> None:
    if re.search(r"\bradiance\b", tags.get("description", ""), re.IGNORECASE):
        raise InputRefused(
            f"its description says radiance: {tags['description']!r}",
            path=path,
            remedy="convert it to reflectance first, or give --scale if it is reflectance",
        )


def _uniform(bands: Sequence[BandMetadata], factor: float, evidence: str) -> Scale:
    count = len(bands)
    return Scale(factors=(factor,) * count, offsets=(0.0,) * count, evidence=evidence)


def _given(factor: float, bands: Sequence[BandMetadata], spread: Quantiles) -> Scale:
    plain = _uniform(bands, factor, "as given")
    doubt = _doubt(plain, spread, dark=LOW)
    warnings = [f"scale {factor:g} as given is doubtful: {doubt}"] if doubt else []
    tagged = _from_gdal(bands)
    if tagged is not None and (tagged.factors, tagged.offsets) != (plain.factors, plain.offsets):
        warnings.append(f"scale {factor:g} as given replaces the file's own scale tags")
    return Scale(
        factors=plain.factors, offsets=plain.offsets, evidence="as given", warnings=tuple(warnings)
    )


def _from_gdal(bands: Sequence[BandMetadata]) -> Scale | None:
    factors, offsets = tuple(b.scale for b in bands), tuple(b.offset for b in bands)
    if all(f == 1 for f in factors) and not any(offsets):
        return None
    return Scale(factors=factors, offsets=offsets, evidence="GDAL scale and offset tags")


def _from_range(bands: Sequence[BandMetadata], spread: Quantiles) -> Scale | None:
    if not _is_float(bands) or not LOW < spread.bright <= HIGH:
        return None
    return _uniform(
        bands, 1.0, f"{bands[0].dtype} with a 99.9 % quantile of {spread.bright:.3g}: reflectance"
    )


def _from_named_tag(bands: Sequence[BandMetadata], tags: Mapping[str, str]) -> Scale | None:
    """A tag that names the scale; with an additive offset beside it, it is not the whole truth."""
    if any(key.endswith("add_offset") for key in tags):
        return None
    for key in _NAMED:
        try:
            value = parse_scale(tags.get(key, ""))
        except UsageError:
            continue
        # ENVI and Sentinel-2 give the number that means one, others what to multiply with.
        return _uniform(bands, value if value <= 1 else 1 / value, f"tag {key}={tags[key]}")
    return None


def _from_metashape(
    bands: Sequence[BandMetadata], tags: Mapping[str, str], spread: Quantiles
) -> Scale | None:
    software = tags.get("tifftag_software", "")
    if not re.search("agisoft|metashape", software, re.IGNORECASE) or not _fits_full(bands, spread):
        return None
    return _uniform(
        bands,
        1 / MICASENSE_FULL,
        f"written by {software}, whose uint16 reflectance has 32768 = 100 %; "
        f"99 % quantile {float(spread.q99.max()) / MICASENSE_FULL:.2f}",
    )


def _from_micasense(
    bands: Sequence[BandMetadata], sensor: Sensor, spread: Quantiles
) -> Scale | None:
    """The producer's convention, where the one rival (10000 = 100 %) is out of the question."""
    bright = float(spread.q99.max())
    rival_fails = bright * 1e-4 > BRIGHTEST
    if not sensor.title.startswith("MicaSense") or not rival_fails or not _fits_full(bands, spread):
        return None
    found = _uniform(
        bands,
        1 / MICASENSE_FULL,
        f"uint16 of a MicaSense camera: 32768 = 100 % by convention; the 99 % quantile {bright:.0f}"
        f" is then {bright / MICASENSE_FULL:.2f}, and {bright * 1e-4:.2f} with 10000 = 100 %",
    )
    doubt = "scale 1/32768 follows MicaSense's convention, no tag states it; --scale settles it"
    return Scale(
        factors=found.factors, offsets=found.offsets, evidence=found.evidence, warnings=(doubt,)
    )


def _fits_full(bands: Sequence[BandMetadata], spread: Quantiles) -> bool:
    """Whether uint16 numbers are reflectance with 32768 = 100 %, and not raw counts up to 65535."""
    is_uint16 = all(band.dtype == "uint16" for band in bands)
    bright = float(spread.q99.max()) / MICASENSE_FULL
    return is_uint16 and spread.bright > LOW * MICASENSE_FULL and bright <= BRIGHTEST


def _is_float(bands: Sequence[BandMetadata]) -> bool:
    return all(band.dtype.startswith("float") for band in bands)


def _doubt(scale: Scale, spread: Quantiles, *, dark: float = _BLACK) -> str:
    factors, offsets = np.array(scale.factors), np.array(scale.offsets)
    median = float(np.median(spread.median * factors + offsets))
    bright = float((spread.q999 * factors + offsets).max())
    if median > HIGH:
        return f"the scene's median reflectance would be {median:.3g}"
    if bright <= dark:
        return f"99.9 % of the scene would be below a reflectance of {bright:.2g}"
    return ""


def _ambiguous(bands: Sequence[BandMetadata], spread: Quantiles, request: Request) -> InputRefused:
    bright = spread.bright
    bytes_only = all(band.dtype == "uint8" for band in bands)
    candidates = ("1/255",) if bytes_only else _CANDIDATES
    made = [(text, bright * parse_scale(text)) for text in candidates]
    fitting = [(text, value) for text, value in made if LOW / 10 < value <= 1.5 * HIGH]
    would = ", ".join(f"--scale {text} would make it {value:.2g}" for text, value in fitting)
    example = fitting[0][0] if fitting else "NUMBER"
    if any(text == "1/32768" for text, _ in fitting):
        example = "1/32768"
    return InputRefused(
        f"no evidence what {bands[0].dtype} numbers mean as reflectance: their 99.9 % quantile is "
        f"{bright:.6g}{'; ' + would if would else ''}",
        path=request.paths[0],
        remedy=f"give the scale, as in: {request.command(scale=example)}",
    )
