"""A bounded sample of a scene: stored numbers of valid pixels, and their share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from uavssr.errors import InputRefused
from uavssr.io.raster.nodata import ValidityRule
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
    """Stored numbers of a part of a scene."""

    numbers: NumberArray
    """(band, n) stored numbers of valid pixels."""
    valid_fraction: float
    """Share of valid pixels, 0..1."""
    partial: bool
    """Whether only a part of the scene was read, so that the share is an estimate."""
    warnings: tuple[str, ...]
    """Untagged fill values in the sample, a sentence each."""


def sample_values(
    reader: WindowReader, rule: ValidityRule, path: Path, *, count: int, side: int, search: int
) -> ValueSample:
    """The valid pixels in `count x count` windows, of `side` pixels each, spread over a scene.

    Where they hold none, the scene is searched for one in tiles of `search` pixels.

    Raises:
        InputRefused: the scene holds no valid pixel.
    """
    height, width = reader.height, reader.width
    windows = list(spread_windows(height, width, count=count, side=side))
    samples = [_valid_numbers(window, reader, rule) for window in windows]
    pixels = sum(window.height * window.width for window in windows)
    valid_fraction = sum(numbers.shape[1] for numbers, _ in samples) / pixels
    if not valid_fraction:
        for tile in TileGrid(height=height, width=width, tile=search):
            samples.append(_valid_numbers(tile.core, reader, rule))
            if samples[-1][0].size:
                break
        else:
            raise InputRefused(
                f"no valid pixel in {width} x {height} ({rule.describe(alpha=False)})",
                path=path,
                remedy="check the nodata value and the bands",
            )
    numbers, warnings = zip(*samples, strict=True)
    return ValueSample(
        numbers=np.concatenate(numbers, axis=1),
        valid_fraction=valid_fraction,
        partial=count > 1,
        warnings=tuple(sorted(set().union(*warnings))),
    )


def _valid_numbers(
    window: Window, reader: WindowReader, rule: ValidityRule
) -> tuple[NumberArray, set[str]]:
    """Stored numbers (band, n) of the valid pixels of a window, and warnings of fill values."""
    numbers, valid = reader.read(window)
    return numbers[:, valid & rule.valid(numbers)], rule.observe(numbers)
