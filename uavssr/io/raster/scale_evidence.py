"""Evidence in a file for the scale of its numbers.

A wrong scale gives a plausible cube of wrong spectra, so an ambiguous one is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from uavssr.errors import InputRefused, UsageError
from uavssr.io.raster.band_metadata import BandMetadata
from uavssr.io.raster.scale import Quantiles, Scale, parse_scale

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleEvidence:
    """What a file says about its scale: types, tags and quantiles of the numbers."""

    bands: Sequence[BandMetadata]
    """The bands that are read."""
    tags: Mapping[str, str]
    """Tags of the dataset, with keys in lower case."""
    quantiles: Quantiles
    """Quantiles of the stored numbers."""
    path: Path
    """The file, for messages."""

    def given(self, factor: float) -> Scale:
        """The user's own scale, with warnings where the file speaks against it."""
        scale = Scale.uniform(factor, len(self.bands), "as given")
        reason, tagged = self.implausible(scale, dark=MIN_BRIGHTEST), self._from_gdal()
        warnings = [f"scale {factor:g} as given is implausible: {reason}"] if reason else []
        if tagged and (tagged.factors, tagged.offsets) != (scale.factors, scale.offsets):
            warnings.append(f"scale {factor:g} as given replaces the file's own scale tags")
        return replace(scale, warnings=tuple(warnings))

    def stated(self) -> Scale | None:
        """The scale by GDAL's tags, by the range of float numbers, or by a tag that names it.

        Raises:
            InputRefused: the file says that it holds radiance.
        """
        if re.search(r"\bradiance\b", self.tags.get("description", ""), re.IGNORECASE):
            raise InputRefused(
                f"its description says radiance: {self.tags['description']!r}",
                path=self.path,
                remedy="convert it to reflectance first, or give --scale if it is reflectance",
            )
        return self._from_gdal() or self._from_range() or self._from_tag()

    def implausible(self, scale: Scale, *, dark: float = _BLACK) -> str:
        """The reason why a scale cannot be right; empty where it can.

        Args:
            scale: the scale in question.
            dark: reflectance that the brightest band's 99.9 % quantile must exceed.
        """
        factors, offsets = np.array(scale.factors), np.array(scale.offsets)
        median = float(np.median(self.quantiles.median * factors + offsets))
        brightest = float((self.quantiles.q999 * factors + offsets).max())
        if median > _MAX_REFLECTANCE:
            return f"the scene's median reflectance would be {median:.3g}"
        if brightest <= dark:
            return f"99.9 % of the scene would be below a reflectance of {brightest:.2g}"
        return ""

    def _from_gdal(self) -> Scale | None:
        factors = tuple(band.scale for band in self.bands)
        offsets = tuple(band.offset for band in self.bands)
        if all(factor == 1 for factor in factors) and not any(offsets):
            return None
        return Scale(factors=factors, offsets=offsets, evidence="GDAL scale and offset tags")

    def _from_range(self) -> Scale | None:
        """Float numbers in the range of reflectance are reflectance."""
        is_float = all(band.dtype.startswith("float") for band in self.bands)
        brightest = self.quantiles.brightest
        if not is_float or not MIN_BRIGHTEST < brightest <= _MAX_REFLECTANCE:
            return None
        evidence = f"{self.bands[0].dtype} with a 99.9 % quantile of {brightest:.3g}: reflectance"
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


def resolve_cube_scale(
    given: float | str | None,
    bands: Sequence[BandMetadata],
    tags: Mapping[str, str],
    quantiles: Quantiles,
    path: Path,
) -> Scale:
    """The scale of a cube: as given, else by the evidence in the file.

    Raises:
        InputRefused: there is no evidence, or its scale cannot be that of reflectance.
    """
    evidence = ScaleEvidence(bands=bands, tags=tags, quantiles=quantiles, path=path)
    if given is not None:
        return evidence.given(parse_scale(given))
    scale = evidence.stated()
    if scale is None:
        fact = f"no evidence what its {bands[0].dtype} numbers mean as reflectance; their 99.9 % "
        fact += f"quantile is {quantiles.brightest:.6g}"
    elif reason := evidence.implausible(scale):
        fact = f"scale {scale.factors[0]:g} ({scale.evidence}) cannot be right: {reason}"
    else:
        return scale
    raise InputRefused(
        fact, path=path, remedy="give what a number means in reflectance, such as 1/10000"
    )
