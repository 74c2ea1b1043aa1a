"""The scale from stored numbers to reflectance, and the evidence for it in a file.

A wrong scale gives a plausible cube of wrong spectra, so an ambiguous one is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from uavssr.errors import InputRefused, UsageError
from uavssr.io.raster.band_facts import BandFacts
from uavssr.io.raster.band_metadata import BandMetadata
from uavssr.io.raster.option_needed import OptionNeeded
from uavssr.io.raster.scale_candidates import (
    darkest_band,
    likely_scale,
    possible_scales,
    raw_counts_hint,
)
from uavssr.sensors import Float32Array, FloatArray, NumberArray

MIN_BRIGHTEST: Final = 0.02
"""Reflectance; the 99.9 % quantile of a scene is above it."""
_MAX_REFLECTANCE: Final = 2.0
"""Reflectance; the median of a band, and the 99.9 % quantile of float numbers, are below it."""
_MIN_MEDIAN: Final = -0.05
"""Reflectance; the median of a band is above it, even if a correction takes too much from water."""
_OTHER_SCALE: Final = 1 / 500
"""Brightness of a band, relative to the brightest, below which it must have another scale.

10,000 and 32,768 are usual; even in the near infrared, water and noise stay above it.
"""
_BLACK: Final = 0.001
"""Reflectance; a scene whose 99.9 % quantile is below it has another scale."""
_TAGS: Final = (
    *("reflectance_scale_factor", "reflectance_scale", "scale_factor"),
    *("quantification_value", "boa_quantification_value"),
)
_ONE_SCALE: Final = "export all bands with one scale and offset; --scale applies to all of them"
_MAX_LENGTH: Final = 40
"""Characters of a scale; a longer text is no sensible number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Reflectance = stored number x factor + offset, for each band."""

    factors: tuple[float, ...]
    """(band,) reflectance per stored number."""
    offsets: tuple[float, ...]
    """(band,) reflectance of the stored number 0."""
    evidence: str
    """The reason for this scale, for the input summary."""
    warnings: tuple[str, ...] = ()
    """Doubtful points, a sentence each, that do not stop the run."""

    @classmethod
    def uniform(cls, factor: float, bands: int, evidence: str) -> Scale:
        """The same factor and no offset for all bands."""
        return cls(factors=(factor,) * bands, offsets=(0.0,) * bands, evidence=evidence)

    @property
    def factors_text(self) -> str:
        """The factors in words, for messages."""
        texts = list(dict.fromkeys(f"{factor:g}" for factor in self.factors))
        return f"scale {texts[0]}" if len(texts) == 1 else f"scales {', '.join(texts)}"

    def reflectance(self, numbers: NumberArray) -> Float32Array:
        """Reflectance (band, y, x) of stored numbers (band, y, x).

        Computed in float32 if that holds every stored number exactly, else in float64.
        """
        exact = numbers.dtype.itemsize <= 2 or numbers.dtype == np.float32
        dtype = np.dtype("f4" if exact else "f8")
        factors, offsets = np.array([self.factors, self.offsets], dtype)[:, :, None, None]
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(numbers.astype(dtype) * factors + offsets).astype(np.float32)


def parse_scale(text: float | str) -> float:
    """A scale as a number or as a fraction of two numbers ("1/32768").

    Raises:
        UsageError: not a positive finite number.
    """
    shown = str(text)[: _MAX_LENGTH + 1]
    try:
        parts = [float(part) for part in shown.split("/")]
    except ValueError:
        parts = []
    if len(shown) > _MAX_LENGTH or len(parts) not in (1, 2):
        raise UsageError(f"scale {shown!r} is no number", remedy="give one, or a fraction: 1/32768")
    positive = all(0 < part < math.inf for part in parts)
    value = parts[0] / math.prod(parts[1:]) if positive else 0.0
    if not 0 < value < math.inf:
        raise UsageError(f"scale {shown} must be positive and finite", remedy="e.g. 1/32768")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleEvidence:
    """What a file says about its scale: types, tags and levels of the numbers."""

    bands: Sequence[BandMetadata]
    """The bands that are read."""
    tags: Mapping[Path, Mapping[str, str]]
    """Tags of each file of these bands, with keys in lower case."""
    facts: Sequence[BandFacts]
    """(band,) facts of the stored numbers."""
    path: Path
    """The file, for messages."""
    each_band: bool = False
    """Whether each band must be plausible, as in an image; a cube may have bands of noise."""

    @property
    def brightest(self) -> float:
        """The 99.9 % quantile of the brightest band."""
        return max(band.q999 for band in self.facts)

    def resolve(
        self,
        given: float | str | None,
        *,
        convention: Scale | None = None,
        remedy: str,
        unlikely: str = "",
    ) -> Scale:
        """The scale: as given, else by the file's tags or range, else a producer's convention.

        Args:
            given: the user's own.
            convention: used where the file itself states no scale.
            remedy: the way out of a refusal.
            unlikely: a scale that no refusal may propose.

        Raises:
            InputRefused: radiance.
            OptionNeeded: no evidence, files that state different scales, or a scale that cannot
                be that of reflectance.
        """
        scale = self._stated() or convention if given is None else self._given(parse_scale(given))
        example = self._example(unlikely)
        if scale is None:
            raise OptionNeeded(
                self._no_evidence(), path=self.path, remedy=remedy, options={"scale": example}
            )
        reason, wrong = self._impossible(scale), self._impossible_bands(scale)
        if not reason and given is None:
            reason = self._dark(scale, _BLACK)
        if not reason and not wrong:
            return scale
        fact = f"{scale.factors_text} ({scale.evidence}) cannot be right: "
        fact += "; ".join(wrong or [reason])
        if wrong and len(set(scale.factors)) == 1:
            raise InputRefused(fact, path=self.path, remedy=_ONE_SCALE)
        raise OptionNeeded(fact, path=self.path, remedy=remedy, options={"scale": example})

    def _given(self, factor: float) -> Scale:
        """The user's own scale, with warnings where the file speaks against it."""
        scale = Scale.uniform(factor, len(self.bands), "as given")
        dark, tagged = self._dark(scale, MIN_BRIGHTEST), self._from_gdal()
        warnings = [f"scale {factor:g} as given is implausible: {dark}"] if dark else []
        if tagged and (tagged.factors, tagged.offsets) != (scale.factors, scale.offsets):
            warnings.append(f"scale {factor:g} as given replaces the file's own scale tags")
        return replace(scale, warnings=tuple(warnings))

    def _stated(self) -> Scale | None:
        """The scale by GDAL's tags, by the range of float numbers, or by a tag that names it."""
        for path, tags in self.tags.items():
            if re.search(r"\bradiance\b", tags.get("description", ""), re.IGNORECASE):
                raise InputRefused(
                    f"its description says radiance: {tags['description']!r}",
                    path=path,
                    remedy="convert it to reflectance first, or give --scale if it is reflectance",
                )
        return self._from_gdal() or self._from_range() or self._from_tag()

    def _levels(self, scale: Scale) -> FloatArray:
        """Median and 99.9 % quantile (2, band) in reflectance."""
        levels = np.array([(band.median, band.q999) for band in self.facts]).T
        return np.asarray(levels * scale.factors + scale.offsets)

    def _impossible(self, scale: Scale) -> str:
        """The reason why a scale cannot be right for the scene; else empty."""
        median = float(np.median(self._levels(scale)[0]))
        if median <= _MAX_REFLECTANCE:
            return ""
        return f"the scene's median reflectance would be {median:.3g}"

    def _impossible_bands(self, scale: Scale) -> list[str]:
        """The reason for each band whose level cannot be reflectance, if others may be."""
        medians, brightest = self._levels(scale)
        top = max(brightest[medians <= _MAX_REFLECTANCE], default=0.0)
        mixed, wrong = len(set(scale.factors)) > 1, []
        for k, (band, facts) in enumerate(zip(self.bands, self.facts, strict=True)):
            of = f"{band.label} (scale {scale.factors[k]:g})" if mixed else band.label
            if not _MIN_MEDIAN <= medians[k] <= _MAX_REFLECTANCE:
                wrong.append(f"the median reflectance of {of} would be {medians[k]:.3g}")
            elif brightest[k] < _OTHER_SCALE * top and not facts.constant:
                wrong.append(
                    f"99.9 % of {of} would be below a reflectance of {brightest[k]:.2g}, of the "
                    f"brightest band below {top:.2g}"
                )
        return wrong if self.each_band and (mixed or len(wrong) < len(self.bands)) else []

    def _dark(self, scale: Scale, limit: float) -> str:
        """The reason why a scale is implausible if no band is above `limit`; else empty."""
        brightest = float(self._levels(scale)[1].max())
        if brightest > limit:
            return ""
        return f"99.9 % of the scene would be below a reflectance of {brightest:.2g}"

    def _no_evidence(self) -> str:
        """The fact that there is no evidence, with the usual scales that fit the numbers."""
        dtype = self.bands[0].dtype
        fact = f"no evidence what its {dtype} numbers mean as reflectance: their 99.9 % quantile "
        fact += f"is {self.brightest:.6g}"
        darkest = darkest_band(self.facts) if self.each_band else None
        if darkest is not None:
            level = f"{self.facts[darkest].q999:.6g} in {self.bands[darkest].label}"
            return f"{fact}, but {level}: do all bands have one scale?"
        if dtype == "uint16" and (hint := raw_counts_hint(self.facts)):
            return f"{fact}; {hint}: raw counts must be calibrated first"
        values = possible_scales(dtype, self.brightest)
        proposals = [f"scale {text} would make it {value:.2g}" for text, value in values.items()]
        return f"{fact}; {', '.join(proposals) or 'no usual scale fits them: are they raw counts?'}"

    def _example(self, unlikely: str) -> str:
        """A scale for an example: the only likely one, else a placeholder."""
        mixed = self.each_band and darkest_band(self.facts) is not None
        scale = likely_scale(self.bands[0].dtype, self.facts)
        return "NUMBER" if mixed or scale == unlikely else scale

    def _from_gdal(self) -> Scale | None:
        factors = tuple(band.scale for band in self.bands)
        offsets = tuple(band.offset for band in self.bands)
        if all(factor == 1 for factor in factors) and not any(offsets):
            return None
        return Scale(factors=factors, offsets=offsets, evidence="GDAL scale and offset tags")

    def _from_range(self) -> Scale | None:
        """Float numbers in the range of reflectance are reflectance."""
        is_float = all(band.dtype.startswith("float") for band in self.bands)
        if not is_float or not MIN_BRIGHTEST < self.brightest <= _MAX_REFLECTANCE:
            return None
        dtype = self.bands[0].dtype
        evidence = f"{dtype} with a 99.9 % quantile of {self.brightest:.3g}: reflectance"
        return Scale.uniform(1.0, len(self.bands), evidence)

    def _from_tag(self) -> Scale | None:
        """The scale by a tag, which all files of a set state alike."""
        (first, stated), *others = ((p, _tagged_scale(tags)) for p, tags in self.tags.items())
        for path, other in others:
            if other[0] != stated[0]:
                raise OptionNeeded(
                    f"states {other[1]}, but {first} states {stated[1]}",
                    path=path,
                    remedy=_ONE_SCALE,
                    options={"scale": "NUMBER"},
                )
        factor, evidence = stated
        return None if factor is None else Scale.uniform(factor, len(self.bands), evidence)


def _tagged_scale(tags: Mapping[str, str]) -> tuple[float | None, str]:
    """The scale by a tag that names it, unless an offset beside it has to be added; the tag."""
    for key in _TAGS:
        if any(name.endswith("add_offset") for name in tags):
            break
        try:
            value = parse_scale(tags.get(key, ""))
        except UsageError:
            continue
        # ENVI and Sentinel-2 give the number that means 1, others the factor.
        return value if value <= 1 else 1 / value, f"tag {key}={tags[key]}"
    return None, "no scale"
