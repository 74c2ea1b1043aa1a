"""Looks at a bounded part of a scene: its valid numbers, valid share, and untagged fill values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from uavssr.errors import InputRefused
from uavssr.io.raster import BandReader, ValidityRule
from uavssr.tiling import TileGrid, Window, spread_windows

SAMPLE_ALL: Final = 2_000_000
"""Scenes of up to so many pixels are looked at whole."""
PLACES: Final = 8
"""Larger ones in 8 x 8 windows of 128 x 128 pixels: a bounded cost, whatever the scene's size."""
SIDE: Final = 128
"""Side of those windows."""
SCAN_SIDE: Final = 1024
"""Window of the full search for a valid pixel, made where the sample held none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueSample:
    """What a bounded look at a scene has shown."""

    numbers: npt.NDArray[np.generic]
    """Stored numbers (band, n) of valid pixels."""
    valid_fraction: float
    """Share of valid pixels."""
    partial: bool
    """Whether it is an estimate, because only a part was looked at."""
    warnings: tuple[str, ...]
    """Untagged fill values that were met."""


def sample_values(reader: BandReader, rule: ValidityRule) -> ValueSample:
    """Look at the whole of a small scene, or at windows spread over a large one.

    Raises:
        InputRefused: the scene holds no valid pixel.
    """
    partial = reader.height * reader.width > SAMPLE_ALL
    found, share, seen = _look(_windows(reader), reader, rule)
    if not found and partial:
        found, seen = _first_valid(reader, rule)
    if not found:
        raise InputRefused(
            f"no valid pixel in {reader.width} x {reader.height} ({rule.describe(alpha=False)})",
            path=reader.files[0].checked.path,
            remedy="check the nodata value and the bands",
        )
    return ValueSample(
        numbers=np.concatenate(found, axis=1),
        valid_fraction=share,
        partial=partial,
        warnings=tuple(sorted(seen)),
    )


def _windows(reader: BandReader) -> Iterator[Window]:
    height, width = reader.height, reader.width
    if height * width <= SAMPLE_ALL:
        return iter([Window(0, 0, height, width)])
    return spread_windows(height, width, count=PLACES, side=SIDE)


_Look = tuple[list[npt.NDArray[np.generic]], float, set[str]]


def _look(windows: Iterator[Window], reader: BandReader, rule: ValidityRule) -> _Look:
    found, seen, looked, kept = [], set[str](), 0, 0
    for window in windows:
        numbers, valid = reader.read(window)
        seen |= rule.observe(numbers)
        valid &= rule.valid(numbers)
        looked += valid.size
        kept += int(valid.sum())
        if valid.any():
            found.append(numbers[:, valid])
    return found, kept / looked, seen


def _first_valid(
    reader: BandReader, rule: ValidityRule
) -> tuple[list[npt.NDArray[np.generic]], set[str]]:
    """The first window, in row-major order, that holds a valid pixel."""
    seen: set[str] = set()
    for tile in TileGrid(height=reader.height, width=reader.width, tile=SCAN_SIDE):
        found, _, more = _look(iter([tile.core]), reader, rule)
        seen |= more
        if found:
            return found, seen
    return [], seen
