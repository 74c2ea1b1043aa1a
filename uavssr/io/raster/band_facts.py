"""Facts of each band of a sample: level, range, share of negative numbers, equal bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import numpy as np

from uavssr.sensors import NumberArray

_MAX_VALUES: Final = 200_000
"""Pixels from which quantiles and shares are computed."""
_MAX_FIRST: Final = 4096
"""Pixels that are tried first for a common divisor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandFacts:
    """Numbers of one band at the valid pixels of a sample, as stored or as reflectance."""

    minimum: float
    """Smallest number."""
    q01: float
    """1 % quantile."""
    median: float
    """50 % quantile."""
    q99: float
    """99 % quantile."""
    q999: float
    """99.9 % quantile."""
    maximum: float
    """Largest number."""
    negative: float
    """Share of pixels below 0, 0..1."""
    zero: float
    """Share of pixels whose stored number is 0, 0..1."""
    same_as: int | None
    """Position from zero of the first earlier band with the same number in every pixel."""
    step: int
    """Largest integer that divides all stored numbers; 1 for floats, 0 if all are 0."""
    pixels: int
    """Valid pixels in the sample."""

    @property
    def constant(self) -> bool:
        """Whether all pixels hold one number."""
        return self.minimum == self.maximum


def band_facts(
    numbers: NumberArray, factors: Sequence[float] = (1.0,), offsets: Sequence[float] = (0.0,)
) -> tuple[BandFacts, ...]:
    """Facts (band,) of the stored numbers (band, pixel) x factor + offset of a sample.

    Args:
        numbers: stored numbers of valid pixels.
        factors: for each band, or one for all.
        offsets: for each band, or one for all.
    """
    count, pixels = numbers.shape
    ends = np.stack([numbers.min(1), numbers.max(1)]).astype(np.float64)
    part = numbers[:, :: max(1, pixels // _MAX_VALUES)].astype(np.float64)
    scale = np.broadcast_to(np.array(factors, np.float64), count)
    offset = np.broadcast_to(np.array(offsets, np.float64), count)
    part = part * scale[:, None] + offset[:, None]
    levels = np.quantile(part, (0.01, 0.5, 0.99, 0.999), axis=1)
    minima, maxima = np.sort(ends * scale + offset, axis=0)
    same = _same_bands(numbers)
    return tuple(
        BandFacts(
            minimum=float(minima[k]),
            q01=float(levels[0, k]),
            median=float(levels[1, k]),
            q99=float(levels[2, k]),
            q999=float(levels[3, k]),
            maximum=float(maxima[k]),
            negative=float((part[k] < 0).mean()),
            zero=float((numbers[k] == 0).mean()),
            same_as=same[k],
            step=_step(numbers[k]),
            pixels=pixels,
        )
        for k in range(count)
    )


def _same_bands(numbers: NumberArray) -> list[int | None]:
    """For each band the first earlier one with the same numbers, None without one."""
    first: dict[bytes, int] = {}
    digests = [blake2b(np.ascontiguousarray(band).tobytes()).digest() for band in numbers]
    first_equal = [first.setdefault(digest, k) for k, digest in enumerate(digests)]
    return [earlier if earlier < k else None for k, earlier in enumerate(first_equal)]


def _step(band: NumberArray) -> int:
    """The largest integer of which all numbers are multiples: 1 if it is that of a few already."""
    if band.dtype.kind == "f" or np.gcd.reduce(band[:_MAX_FIRST].astype(np.int64)) == 1:
        return 1
    return int(np.gcd.reduce(band.astype(np.int64)))
