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
from uavssr.sensors import Float32Array, NumberArray

MIN_BRIGHTEST: Final = 0.02
"""Reflectance; the 99.9 % quantile of a scene is above it."""
_MAX_REFLECTANCE: Final = 2.0
"""Reflectance; the median of a scene, and the 99.9 % quantile of float numbers, are below it."""
_BLACK: Final = 0.001
"""Reflectance; a scene whose 99.9 % quantile is below it has another scale."""
_TAGS: Final = (
    *("reflectance_scale_factor", "reflectance_scale", "scale_factor"),
    *("quantification_value", "boa_quantification_value"),
)
_PLAUSIBLE: Final = (0.002, 3.0)
"""Range of the 99.9 % quantile, in reflectance, for which a refusal proposes a scale."""
_PROPOSED: Final = ("1", "1/255", "0.01", "0.001", "0.0001", "1/32768", "1/65535")
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
    tags: Mapping[str, str]
    """Tags of the dataset, with keys in lower case."""
    facts: Sequence[BandFacts]
    """(band,) facts of the stored numbers."""
    path: Path
    """The file, for messages."""

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
    ) -> Scale:
        """The scale: as given, else by the file's tags or range, else a producer's convention.

        Args:
            given: the user's own.
            convention: used where the file itself states no scale.
            remedy: the way out of a refusal.

        Raises:
            InputRefused: radiance.
            OptionNeeded: no evidence, or a scale that cannot be that of reflectance.
        """
        if given is not None:
            return self._given(parse_scale(given))
        scale = self._stated() or convention
        if scale is None:
            fact, example = self._candidates()
        elif reason := self._implausible(scale):
            fact = f"scale {scale.factors[0]:g} ({scale.evidence}) cannot be right: {reason}"
            example = "NUMBER"
        else:
            return scale
        raise OptionNeeded(fact, path=self.path, remedy=remedy, options={"scale": example})

    def _given(self, factor: float) -> Scale:
        """The user's own scale, with warnings where the file speaks against it."""
        scale = Scale.uniform(factor, len(self.bands), "as given")
        reason, tagged = self._implausible(scale, dark=MIN_BRIGHTEST), self._from_gdal()
        warnings = [f"scale {factor:g} as given is implausible: {reason}"] if reason else []
        if tagged and (tagged.factors, tagged.offsets) != (scale.factors, scale.offsets):
            warnings.append(f"scale {factor:g} as given replaces the file's own scale tags")
        return replace(scale, warnings=tuple(warnings))

    def _stated(self) -> Scale | None:
        """The scale by GDAL's tags, by the range of float numbers, or by a tag that names it."""
        if re.search(r"\bradiance\b", self.tags.get("description", ""), re.IGNORECASE):
            raise InputRefused(
                f"its description says radiance: {self.tags['description']!r}",
                path=self.path,
                remedy="convert it to reflectance first, or give --scale if it is reflectance",
            )
        return self._from_gdal() or self._from_range() or self._from_tag()

    def _implausible(self, scale: Scale, *, dark: float = _BLACK) -> str:
        """The reason why a scale cannot be right: too bright, or not above `dark`; else empty."""
        factors, offsets = np.array(scale.factors), np.array(scale.offsets)
        medians, bright = np.array([(band.median, band.q999) for band in self.facts]).T
        median = float(np.median(medians * factors + offsets))
        brightest = float((bright * factors + offsets).max())
        if median > _MAX_REFLECTANCE:
            return f"the scene's median reflectance would be {median:.3g}"
        if brightest <= dark:
            return f"99.9 % of the scene would be below a reflectance of {brightest:.2g}"
        return ""

    def _candidates(self) -> tuple[str, str]:
        """The fact that there is no evidence, with the scales that could be, and one of them."""
        is_bytes = all(band.dtype == "uint8" for band in self.bands)
        texts = ("1/255",) if is_bytes else _PROPOSED
        values = {text: self.brightest * parse_scale(text) for text in texts}
        low, high = _PLAUSIBLE
        fitting = {text: value for text, value in values.items() if low < value <= high}
        fact = f"no evidence what its {self.bands[0].dtype} numbers mean as reflectance: their "
        fact += f"99.9 % quantile is {self.brightest:.6g}"
        proposals = [f"scale {text} would make it {value:.2g}" for text, value in fitting.items()]
        if proposals:
            fact += f"; {', '.join(proposals)}"
        return fact, "1/32768" if "1/32768" in fitting else next(iter(fitting), "NUMBER")

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
        """A tag that names the scale, unless an offset beside it has to be added."""
        if any(key.endswith("add_offset") for key in self.tags):
            return None
        for key in _TAGS:
            try:
                value = parse_scale(self.tags.get(key, ""))
            except UsageError:
                continue
            # ENVI and Sentinel-2 give the number that means 1, others the factor.
            factor = value if value <= 1 else 1 / value
            return Scale.uniform(factor, len(self.bands), f"tag {key}={self.tags[key]}")
        return None
