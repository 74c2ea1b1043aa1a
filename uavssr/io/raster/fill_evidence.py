"""Evidence in a sample of a scene for the numbers that are fill, and for fill that has bled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from uavssr.io.raster.nodata import (
    BLED_PIXELS,
    LIMITS,
    Reason,
    ReasonArray,
    ValidityRule,
    areas_of,
    grown,
    pixels_of,
    uniform,
)
from uavssr.io.raster.scale import Scale
from uavssr.sensors import BoolArray, Float32Array, NumberArray

WindowNumbers = tuple[NumberArray, BoolArray]
"""Stored numbers (band, y, x) of a window, and the pixels (y, x) that masks let be valid."""

_PARTLY: Final = 0.02
"""Pixels at a limit in some bands, per pixel that is there in all, which show that ground does
reach it: a large roof has them around it."""
_DARK: Final = 0.1
"""Share of a band's median below which a number lies near 0."""
_WILD_SHARE: Final = 0.001
"""Most pixels outside the limits of reflectance, as a share, that numbers of a scene may hold."""
_WILD_COUNT: Final = 10
"""The same as a count, for small scenes; never more than a tenth of them."""
_FAR: Final = 2.0
"""Factor on the largest other number beyond which a number shared by all bands is fill."""
_EDGE_RANGE: Final = (-0.1, 1.5)
"""Reflectance that the ground at the edge of fill seldom leaves."""
_EDGE_SHARE: Final = 0.25
"""Share of pixels at the edge outside that range, or share of fill in them, that shows bleeding."""
_MIN_EDGE: Final = 8
"""Least number of such pixels."""
_MIN_MIXED: Final = 50
"""Least number of pixels at the edge whose mean can be compared."""
_MIN_CONTRAST: Final = 0.02
"""Reflectance between fill and ground from which their mixture can be recognised."""


def judge_limits(rule: ValidityRule, numbers: NumberArray) -> ValidityRule:
    """The rule, with what the ends of an integer type are: fill or ground.

    Bright ground that saturates all bands has neighbours that saturate some of them, with large
    numbers in the others. Fill has none. The same holds for 0 and dark ground.

    Args:
        rule: the rule so far.
        numbers: (band, n) all numbers of a sample that no tag or mask makes invalid.
    """
    if numbers.dtype.kind not in "iu" or len(numbers) < 2 or not numbers.size or rule.trusted:
        return rule
    largest = int(np.iinfo(numbers.dtype.name).max)
    bright = np.asarray(numbers >= largest // 2)  # type: ignore[operator]
    rule = replace(rule, saturates=_ground_reaches(largest, numbers, bright))
    if rule.has_mask or not rule.stated or numbers.dtype.kind == "i":
        return rule
    zeros = (numbers == 0).all(0)
    if not zeros.any() or zeros.all():
        return rule
    level = np.median(numbers[:, ~zeros].astype(float), axis=1)[:, None]
    dark = np.asarray(numbers <= _DARK * level)
    return replace(rule, zero_is_fill=not _ground_reaches(0, numbers, dark))


def _ground_reaches(limit: int, numbers: NumberArray, near: BoolArray) -> bool:
    """Whether pixels hold a limit in some bands only, and numbers `near` it in the others."""
    at_limit = np.asarray(numbers == limit)
    everywhere = at_limit.all(0)
    partly = at_limit.any(0) & near.all(0) & ~everywhere
    return bool(everywhere.any() and partly.sum() > _PARTLY * everywhere.sum())


def without_wild(numbers: NumberArray) -> NumberArray:
    """Numbers (band, n) of a scene without those that no scale explains, for its quantiles.

    Left out are a number that several pixels hold in all bands and that lies far from the others,
    and few pixels outside the limits of float numbers that else are reflectance.
    """
    repeated = _repeated(numbers)
    rest = pixels_of(numbers, ~repeated)
    if not rest.size:
        return numbers
    if numbers.dtype.kind != "f":
        return pixels_of(numbers, ~repeated | _within(numbers, 0.0, _FAR * float(rest.max())))
    inside = _within(numbers, *LIMITS)
    not_fill = inside | ~repeated
    count, wild = int(not_fill.sum()), int((not_fill & ~inside).sum())
    few = wild <= max(_WILD_COUNT, _WILD_SHARE * count) and 10 * wild <= count
    return pixels_of(numbers, inside if few else not_fill)


def looks_wild(numbers: NumberArray) -> bool:
    """Whether float numbers (band, n) of a scene leave the limits of reflectance."""
    return numbers.dtype.kind == "f" and not _within(numbers, *LIMITS).all()


def far_from_fill(window: WindowNumbers, rule: ValidityRule) -> NumberArray:
    """Float numbers (band, n) of a window that lie too far from fill for resampling to mix them."""
    numbers, stated = window
    fill = ~stated | rule.named(numbers) | rule.fill(numbers)
    fill |= uniform(numbers) & ~_within(numbers, *LIMITS)
    return pixels_of(numbers, ~(fill | grown(areas_of(fill), 1 + BLED_PIXELS)))


def _within(numbers: NumberArray, low: float, high: float) -> BoolArray:
    """Which pixels have numbers from low to high in every band."""
    return np.asarray((numbers.min(0) >= low) & (numbers.max(0) <= high))


def _repeated(numbers: NumberArray) -> BoolArray:
    """Which pixels of (band, n) hold a number in all bands that another pixel holds too."""
    alike = uniform(numbers)
    values, counts = np.unique(numbers[0, alike], return_counts=True)
    return np.asarray(alike & np.isin(numbers[0], values[counts > 1]))


class _Edge(NamedTuple):
    """Reflectance (band, n) at the edges of fill in a window."""

    outside: Float32Array
    """Of pixels just outside an area that is not ground."""
    fill: Float32Array
    """Of the areas of fill that no tag names."""
    first: Float32Array
    """Of valid pixels just outside these."""
    inner: Float32Array
    """Of valid pixels some pixels further inside."""


def has_bled(
    windows: Sequence[WindowNumbers], reasons: Sequence[ReasonArray], scale: Scale
) -> bool:
    """Whether resampling has mixed fill into the pixels around it.

    Either many pixels at its edge are no reflectance, or all bands are pulled towards the fill.
    """
    edges = [_edge(numbers, why, scale) for (numbers, _), why in zip(windows, reasons, strict=True)]
    outside, fill, first, inner = (
        np.concatenate(parts, axis=1) for parts in zip(*edges, strict=True)
    )
    low, high = _EDGE_RANGE
    wild = ~((outside >= low) & (outside <= high)).all(0)
    if wild.sum() >= max(_MIN_EDGE, _EDGE_SHARE * wild.size):
        return True
    if min(fill.shape[1], first.shape[1], inner.shape[1]) < _MIN_MIXED:
        return False
    # first = share fill + (1 - share) inner
    ground = inner.mean(1, dtype=float)
    contrast = fill.mean(1, dtype=float) - ground
    pulled = first.mean(1, dtype=float) - ground
    return bool(
        (np.abs(contrast) > _MIN_CONTRAST).all() and (pulled / contrast > _EDGE_SHARE).all()
    )


def _edge(numbers: NumberArray, reasons: ReasonArray, scale: Scale) -> _Edge:
    valid, untagged = reasons == Reason.VALID, reasons == Reason.FILL
    no_ground = untagged | (reasons == Reason.NODATA)
    areas, every = areas_of(untagged), areas_of(no_ground)
    none = np.zeros_like(valid)
    masks = [none] * 4
    if every.any():
        masks[0] = grown(every, 2) & ~no_ground
    if areas.any():
        inner = grown(areas, BLED_PIXELS + 4) & ~grown(areas, BLED_PIXELS + 1)
        masks[1:] = areas, grown(areas, 2) & valid, inner & valid
    return _Edge(*(scale.reflectance(numbers[:, mask][:, None])[:, 0] for mask in masks))
