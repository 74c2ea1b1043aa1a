"""The scale from stored numbers to reflectance, and the quantiles by which it is judged."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from uavssr.errors import UsageError
from uavssr.sensors import BoolArray, Float32Array, FloatArray, NumberArray

_MAX_LENGTH: Final = 40
"""Characters of a scale; a longer text is no sensible number."""
_MAX_VALUES: Final = 200_000
"""Pixels from which quantiles are computed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """Quantiles of the stored numbers of the sampled valid pixels."""

    median: FloatArray
    """(band,) 50 % quantiles."""
    q99: FloatArray
    """(band,) 99 % quantiles."""
    q999: FloatArray
    """(band,) 99.9 % quantiles."""

    @classmethod
    def of(cls, numbers: NumberArray) -> Quantiles:
        """The quantiles of valid numbers (band, pixel)."""
        step = max(1, numbers.shape[1] // _MAX_VALUES)
        values = numbers[:, ::step].astype(np.float64)
        median, q99, q999 = np.quantile(values, (0.5, 0.99, 0.999), axis=1)
        return cls(median=median, q99=q99, q999=q999)

    @property
    def brightest(self) -> float:
        """The 99.9 % quantile of the brightest band."""
        return float(self.q999.max())


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

    def masked(self, numbers: NumberArray, valid: BoolArray) -> tuple[Float32Array, BoolArray]:
        """Reflectance (band, y, x), NaN where invalid, and the pixels (y, x) valid and finite."""
        reflectance = self.reflectance(numbers)
        valid = valid & np.isfinite(reflectance).all(0)
        reflectance[:, ~valid] = np.nan
        return reflectance, valid


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
        raise UsageError(f"--scale {shown!r} is no number", remedy="e.g. --scale 1/32768")
    value = math.nan
    if all(math.isfinite(part) and part > 0 for part in parts):
        value = parts[0] / parts[1] if len(parts) > 1 else parts[0]
    if not math.isfinite(value) or value <= 0:
        raise UsageError(f"--scale {shown} must be positive and finite")
    return value
