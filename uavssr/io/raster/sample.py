"""A bounded sample of a scene: stored numbers of valid pixels, before their scale is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from uavssr.errors import InputRefused
from uavssr.io.raster.fill_evidence import (
    WindowNumbers,
    far_from_fill,
    judge_limits,
    looks_wild,
    without_wild,
)
from uavssr.io.raster.nodata import ValidityRule, pixels_of
from uavssr.sensors import BoolArray, NumberArray
from uavssr.tiling import TileGrid, Window, spread_windows


class WindowReader(Protocol):
    """Gives stored numbers, from any thread or process."""

    @property
    def height(self) -> int:
        """Rows of the scene."""

    @property
    def width(self) -> int:
        """Columns of the scene."""

    def read(self, window: Window) -> tuple[NumberArray, BoolArray]:
        """Numbers (band, y, x), and where masks let them be valid (y, x)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueSample:
    """Stored numbers of a part of a scene whose scale is not known yet."""

    windows: Sequence[WindowNumbers]
    """What was read."""
    numbers: NumberArray
    """(band, n) numbers that tell the scale: of pixels that are valid in any usual scale."""
    rule: ValidityRule
    """The rule of the input, with what these numbers say about the ends of their type."""
    partial: bool
    """Whether only a part of the scene was read."""
    path: Path
    """The file, for messages."""
    warnings: tuple[str, ...] = ()
    """Nothing is odd before the scale is known."""

    @property
    def valid_fraction(self) -> float:
        """Share of the pixels that tell the scale, 0..1."""
        return self.numbers.shape[1] / sum(stated.size for _, stated in self.windows)


def sample_values(
    reader: WindowReader, rule: ValidityRule, path: Path, *, count: int, side: int, search: int
) -> ValueSample:
    """The pixels in `count x count` windows, of `side` pixels each, spread over a scene.

    Where none is valid, the scene is searched for one in tiles of `search` pixels.

    Raises:
        InputRefused: the scene holds no valid pixel.
    """
    height, width = reader.height, reader.width
    windows = [reader.read(w) for w in spread_windows(height, width, count=count, side=side)]
    unnamed = _unnamed(windows, rule)
    rule = judge_limits(rule, unnamed)
    numbers = _numbers(unnamed, rule)
    if looks_wild(numbers):
        inner = np.concatenate([far_from_fill(window, rule) for window in windows], axis=1)
        inner = _numbers(inner, rule)
        numbers = numbers if looks_wild(inner) or not inner.size else inner
    if not numbers.size:
        for tile in TileGrid(height=height, width=width, tile=search):
            window = reader.read(tile.core)
            numbers = _numbers(_unnamed([window], rule), rule)
            if numbers.size:
                windows.append(window)
                break
        else:
            raise InputRefused(
                f"no valid pixel in {width} x {height} ({rule.describe(alpha=False)})",
                path=path,
                remedy="check the nodata value and the bands",
            )
    return ValueSample(windows=windows, numbers=numbers, rule=rule, partial=count > 1, path=path)


def _unnamed(windows: Sequence[WindowNumbers], rule: ValidityRule) -> NumberArray:
    """Stored numbers (band, n) of the pixels that no mask and no tag makes invalid."""
    parts = [pixels_of(numbers, stated & ~rule.named(numbers)) for numbers, stated in windows]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _numbers(unnamed: NumberArray, rule: ValidityRule) -> NumberArray:
    """Of numbers (band, n) those of the scene."""
    infinite = np.isinf(unnamed).any(0)
    return without_wild(pixels_of(unnamed, ~(rule.fill(unnamed) | infinite)))
