"""Brightness of an image against a cube integrated with the nominal responses, band by band."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from uavssr.sensors import BoolArray, FloatArray

PairCheck = Literal["ratio", "correlation"]
"""A check of a pair whose result the user may accept."""

RATIO_LIMITS: Final = (0.35, 2.5)
"""Ratio image / cube of a band beyond which one is probably no reflectance. Real flights have 0.4
to 2; 32768 taken for 10000 gives 3.3."""
MAX_OFFSET: Final = 0.1
"""Offset of image against cube in reflectance beyond which one of them is probably wrong."""
MIN_CORRELATION: Final = 0.5
"""Median correlation below which image and cube probably do not show the same ground."""
MIN_VARIATION: Final = 0.1
"""Standard deviation of a band, relative to its mean, above which its correlation counts: two
cameras see the same plot alike to 2-5 %, so that of more even ground it says nothing."""
RATIO_WARNINGS: Final = (0.8, 1.25)
"""Ratio outside which a warning is given: it stands for gains that the training rarely has."""
OFFSET_WARNING: Final = 0.03
"""Offset in reflectance beyond which a warning is given."""
_DARK: Final = 0.05
"""Least mean in reflectance that a variation is related to: noise does not end in dark bands."""
_LINE_CORRELATION: Final = 0.95
"""Correlation above which slope and offset of a line are known; noise makes other slopes flat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Oddity:
    """A figure of a pair that is probably a mistake; the user may know better."""

    check: PairCheck
    """The check that found it."""
    text: str
    """The fact with its number and limit, and the likely cause."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BandComparison:
    """An image of c bands against the integrated cube."""

    roles: tuple[str, ...]
    """The camera's c bands."""
    ratio: FloatArray
    """(c,) mean of the image / mean of the integrated cube."""
    slope: FloatArray
    """(c,) image = slope x integrated cube + offset, least squares."""
    offset: FloatArray
    """(c,) of the same, reflectance."""
    correlation: FloatArray
    """(c,) of image and integrated cube; 0 where one is constant."""
    variation: FloatArray
    """(c,) standard deviation / mean of the one that varies more."""

    @classmethod
    def of(
        cls, roles: Sequence[str], predicted: npt.ArrayLike, seen: npt.ArrayLike
    ) -> BandComparison:
        """Compare the predicted (c, n) and the seen image (c, n) of n pixels or plots."""
        x, y = np.asarray(predicted, float), np.asarray(seen, float)
        means = x.mean(1), y.mean(1)
        x, y = x - means[0][:, None], y - means[1][:, None]
        # slope = <x, y> / <x, x>,  offset = mean(y) - slope mean(x),  x and y centred
        power, other, both = (x**2).sum(1), (y**2).sum(1), (x * y).sum(1)
        slope = both / np.maximum(power, 1e-12)
        deviation = np.sqrt(np.stack([power, other]) / x.shape[1])
        return cls(
            roles=tuple(roles),
            ratio=means[1] / np.where(np.abs(means[0]) < 1e-6, 1e-6, means[0]),
            slope=slope,
            offset=means[1] - slope * means[0],
            correlation=both / np.maximum(np.sqrt(power * other), 1e-12),
            variation=(deviation / np.maximum(means, _DARK)).max(0),
        )

    @property
    def varied(self) -> BoolArray:
        """(c,) bands in which the ground varies enough for their correlation to count."""
        return np.asarray(self.variation >= MIN_VARIATION)

    def oddities(self) -> tuple[Oddity, ...]:
        """The figures that are probably a mistake."""
        return (*self._odd_correlation(), *self._odd_ratio())

    def warnings(self) -> tuple[str, ...]:
        """Bands that differ more than training expects, and a check that even ground prevents."""
        low, high = RATIO_WARNINGS
        unusual = [
            band
            for band, ratio in enumerate(self.ratio)
            if not self._is_odd(band)
            and (not low <= ratio <= high or self._known_offset(band) > OFFSET_WARNING)
        ]
        texts = [self._ratio_text(unusual)] if unusual else []
        if not self.varied.any():
            texts.append(
                f"the ground varies by {self.variation.max():.0%} at most: too little to tell "
                "whether image and cube show the same place"
            )
        return tuple(texts)

    def facts(self) -> dict[str, dict[str, float]]:
        """The figures of each band as plain numbers."""
        names = ("ratio", "slope", "offset", "correlation", "variation")
        return {
            role: {name: round(float(getattr(self, name)[k]), 4) for name in names}
            for k, role in enumerate(self.roles)
        }

    def _odd_correlation(self) -> tuple[Oddity, ...]:
        varied = self.varied
        if not varied.any():
            return ()
        typical = float(np.median(self.correlation[varied]))
        if typical >= MIN_CORRELATION:
            return ()
        listed = ", ".join(
            f"{role} {value:.2f}"
            for role, value, counts in zip(self.roles, self.correlation, varied, strict=True)
            if counts
        )
        text = (
            f"image and cube do not show the same ground: their bands correlate by {typical:.2f} "
            f"({listed}), less than {MIN_CORRELATION}; check their places, dates and band order"
        )
        return (Oddity(check="correlation", text=text),)

    def _odd_ratio(self) -> tuple[Oddity, ...]:
        odd = [band for band in range(len(self.roles)) if self._is_odd(band)]
        if not odd:
            return ()
        low, high = RATIO_LIMITS
        text = (
            f"{self._ratio_text(odd)}, outside {low:g}-{high:g} and +-{MAX_OFFSET:g}: one of the "
            "two is no reflectance; correct the scale of image or cube, or the bands"
        )
        return (Oddity(check="ratio", text=text),)

    def _is_odd(self, band: int) -> bool:
        low, high = RATIO_LIMITS
        return not low <= self.ratio[band] <= high or self._known_offset(band) > MAX_OFFSET

    def _known_offset(self, band: int) -> float:
        """Absolute offset where a line fits well, else 0."""
        known = self.correlation[band] > _LINE_CORRELATION
        return float(abs(self.offset[band])) if known else 0.0

    def _ratio_text(self, bands: Sequence[int]) -> str:
        listed = []
        for band in bands:
            known = self._known_offset(band) > OFFSET_WARNING
            line = f" ({self.slope[band]:.2f} x {self.offset[band]:+.3f})" if known else ""
            listed.append(f"{self.roles[band]} {self.ratio[band]:.2f}{line}")
        return f"the image is {', '.join(listed)} x the integrated cube"
