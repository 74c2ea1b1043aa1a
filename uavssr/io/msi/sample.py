"""A bounded sample of a scene: stored numbers of valid pixels, and their share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from uavssr.errors import InputRefused
from uavssr.io.raster import BandReader, ValidityRule
from uavssr.sensors import NumberArray
from uavssr.tiling import TileGrid, Window, spread_windows

_MAX_WHOLE: Final = 2_000_000
"""Pixels of a scene up to which all of it is read."""
_PLACES: Final = 8
"""Windows along each axis of a larger scene, so that the cost does not grow with it."""
_SIDE: Final = 128
"""Rows and columns of those windows."""
_SEARCH_SIDE: Final = 1024
"""Rows and columns of the tiles of the search for a valid pixel, if the sample held none."""


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


def sample_values(reader: BandReader, rule: ValidityRule) -> ValueSample:
    """Read all of a small scene, or windows spread over a large one.

    Raises:
        InputRefused: the scene holds no valid pixel.
    """
    height, width = reader.height, reader.width
    partial = height * width > _MAX_WHOLE
    windows: Iterable[Window] = [Window(0, 0, height, width)]
    if partial:
        windows = spread_windows(height, width, count=_PLACES, side=_SIDE)
    parts, valid_fraction, warnings = _read_valid(windows, reader, rule)
    if not parts and partial:
        tiles = TileGrid(height=height, width=width, tile=_SEARCH_SIDE)
        cores = (tile.core for tile in tiles)
        parts, _, warnings = _read_valid(cores, reader, rule, stop_at_first=True)
    if not parts:
        raise InputRefused(
            f"no valid pixel in {width} x {height} ({rule.describe(alpha=False)})",
            path=reader.files[0].checked.path,
            remedy="check the nodata value and the bands",
        )
    return ValueSample(
        numbers=np.concatenate(parts, axis=1),
        valid_fraction=valid_fraction,
        partial=partial,
        warnings=tuple(sorted(warnings)),
    )


def _read_valid(
    windows: Iterable[Window],
    reader: BandReader,
    rule: ValidityRule,
    *,
    stop_at_first: bool = False,
) -> tuple[list[NumberArray], float, set[str]]:
    """Stored numbers (band, n) of each window with valid pixels, their share, and warnings."""
    parts, warnings, valid_pixels, pixels = [], set[str](), 0, 0
    for window in windows:
        numbers, valid = reader.read(window)
        warnings |= rule.observe(numbers)
        valid &= rule.valid(numbers)
        pixels += valid.size
        valid_pixels += int(valid.sum())
        if valid.any():
            parts.append(numbers[:, valid])
            if stop_at_first:
                break
    return parts, valid_pixels / pixels, warnings
