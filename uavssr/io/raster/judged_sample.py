"""The valid pixels of a sample whose scale is known, and the others counted by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from uavssr.errors import InputRefused
from uavssr.io.raster.fill_evidence import WindowNumbers, has_bled
from uavssr.io.raster.nodata import (
    BLED_PIXELS,
    LIMITS,
    Reason,
    ReasonArray,
    ValidityRule,
    near_fill,
    pixels_of,
    uniform,
)
from uavssr.io.raster.sample import ValueSample
from uavssr.io.raster.scale import Scale
from uavssr.sensors import NumberArray

_ROWS: Final = 256
"""Rows of a window whose reflectance is computed at a time."""
_MIN_REPEATED: Final = 0.01
"""Share of the pixels with one number in all bands from which a warning is given."""
_SHOWN: Final = 3
"""Most fill values that a warning names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedSample:
    """The valid pixels of a sample, and the number of others by reason."""

    rule: ValidityRule
    """The rule of the input, complete."""
    numbers: NumberArray
    """(band, n) stored numbers of valid pixels."""
    counts: Counter[int]
    """Number of pixels by `Reason`."""
    partial: bool
    """Whether only a part of the scene was read, so that numbers are estimates."""
    warnings: tuple[str, ...]
    """Pixels that are invalid though the file does not say so, and doubtful ones."""

    @property
    def valid_fraction(self) -> float:
        """Share of valid pixels, 0..1."""
        return self.counts[Reason.VALID] / self.counts.total()


def judge_sample(sample: ValueSample, scale: Scale) -> JudgedSample:
    """Tell the valid pixels of a sample, now that its scale is known.

    Raises:
        InputRefused: none is valid.
    """
    reasons = [_reasons(window, sample.rule, scale) for window in sample.windows]
    rule = replace(sample.rule, bleeds=has_bled(sample.windows, reasons, scale))
    if rule.bleeds:
        for why in reasons:
            why[near_fill(why != Reason.VALID) & (why == Reason.VALID)] = Reason.BLED
    frequencies = np.bincount(np.concatenate([why.ravel() for why in reasons]))
    counts = Counter(dict(enumerate(frequencies.tolist())))
    numbers = _having(Reason.VALID, sample.windows, reasons)
    warnings = [
        *_invalid_pixels(counts, _fill_values(sample.windows, reasons), partial=sample.partial),
        *_doubtful_pixels(numbers, rule),
    ]
    if not numbers.size:
        raise InputRefused(
            f"no valid pixel: {'; '.join(warnings) or 'all are nodata'}",
            path=sample.path,
            remedy="check the scale and the nodata value",
        )
    return JudgedSample(
        rule=rule,
        numbers=numbers,
        counts=counts,
        partial=sample.partial,
        warnings=tuple(warnings),
    )


def _reasons(window: WindowNumbers, rule: ValidityRule, scale: Scale) -> ReasonArray:
    """The `Reason` (y, x) of each pixel by itself, computed some rows at a time."""
    numbers, stated = window
    parts = []
    for top in range(0, len(stated), _ROWS):
        rows = numbers[:, top : top + _ROWS]
        parts.append(rule.reasons(rows, scale.reflectance(rows), stated[top : top + _ROWS]))
    return np.concatenate(parts)


def _having(
    reason: Reason, windows: Sequence[WindowNumbers], reasons: Sequence[ReasonArray]
) -> NumberArray:
    """Stored numbers (band, n) of the pixels of one reason."""
    pairs = zip(windows, reasons, strict=True)
    parts = [pixels_of(numbers, why == reason) for (numbers, _), why in pairs]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _fill_values(
    windows: Sequence[WindowNumbers], reasons: Sequence[ReasonArray]
) -> tuple[float, ...]:
    """The most frequent numbers of untagged fill."""
    fill = _having(Reason.FILL, windows, reasons)
    if not fill.size:
        return ()
    largest = np.abs(fill.astype(float)).argmax(0)[None]
    values, counts = np.unique(np.take_along_axis(fill, largest, 0), return_counts=True)
    return tuple(map(float, values[np.argsort(-counts)[:_SHOWN]]))


def _invalid_pixels(
    counts: Counter[int], fills: Sequence[float], *, partial: bool
) -> Iterator[str]:
    low, high = LIMITS
    named = ", ".join(map(_text, fills))
    facts = {
        Reason.FILL: f"are fill that no nodata tag names ({named})",
        Reason.OUT_OF_RANGE: f"have a reflectance outside {low:g} to {high:g}",
        Reason.INFINITE: "are infinite",
        Reason.BLED: f"lie within {BLED_PIXELS} of fill that resampling has mixed into them",
    }
    for reason, fact in facts.items():
        if counts[reason]:
            of = f"{counts[reason]} of {counts.total()}{' sampled' if partial else ''} pixels"
            yield f"{of} {fact}: taken as invalid"


def _doubtful_pixels(numbers: NumberArray, rule: ValidityRule) -> Iterator[str]:
    """Valid pixels (band, n) that hold one number in every band, which may be fill."""
    if rule.trusted or not numbers.size:
        return
    values, counts = np.unique(numbers[0, uniform(numbers)], return_counts=True)
    share = counts.max(initial=0) / numbers.shape[1]
    if share >= _MIN_REPEATED:
        value = float(values[counts.argmax()])
        yield (
            f"{share:.1%} of the valid pixels are {_text(value)} in every band, and stay: "
            "if that is fill, state it as the nodata value of the file"
        )


def _text(value: float) -> str:
    """A stored number, all digits of an integer."""
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:g}"
