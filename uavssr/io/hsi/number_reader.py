"""The interface that gives a cube's stored numbers, and a sample of them to judge a scale by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from uavssr.errors import InputRefused
from uavssr.io.raster import ValidityRule
from uavssr.sensors import BoolArray, Float32Array
from uavssr.tiling import TileGrid, Window, spread_windows

READ_TILE: Final = 128
"""Side in pixels of the windows in which a cube is read from end to end."""
_SAMPLE_WINDOWS: Final = 3
"""The scale is settled on the numbers in 3 x 3 windows of a scene."""
_SAMPLE_SIDE: Final = 64
"""Side of those windows in pixels."""


class NumberReader(Protocol):
    """Gives stored numbers, from any thread or process."""

    @property
    def height(self) -> int:
        """Rows of the scene."""

    @property
    def width(self) -> int:
        """Columns of the scene."""

    def read(self, window: Window) -> tuple[npt.NDArray[np.generic], BoolArray]:
        """Numbers (band, y, x), and where masks let them be valid (y, x)."""

    def decimated(self, bands: Sequence[int], shape: tuple[int, int]) -> Float32Array:
        """Means (len(bands), *shape) of the valid numbers of some bands, else NaN."""


def sample_numbers(
    reader: NumberReader, rule: ValidityRule, path: Path
) -> tuple[npt.NDArray[np.generic], set[str]]:
    """Stored numbers (band, n) of valid pixels in a few windows, and warnings of fill values.

    Where these windows hold no valid pixel, the scene is searched for one.

    Raises:
        InputRefused: the scene holds no valid pixel.
    """
    height, width = reader.height, reader.width
    samples, fills = [], set[str]()
    whole = max(height, width) <= _SAMPLE_SIDE * _SAMPLE_WINDOWS
    count, side = (1, max(height, width)) if whole else (_SAMPLE_WINDOWS, _SAMPLE_SIDE)
    for window in spread_windows(height, width, count=count, side=side):
        numbers, valid = reader.read(window)
        fills |= rule.observe(numbers)
        samples.append(numbers[:, valid & rule.valid(numbers)])
    if any(sample.shape[1] for sample in samples):
        return np.concatenate(samples, axis=1), fills
    for tile in TileGrid(height=height, width=width, tile=READ_TILE):
        numbers, valid = reader.read(tile.core)
        valid &= rule.valid(numbers)
        if valid.any():
            return numbers[:, valid][:, : _SAMPLE_SIDE**2], fills
    raise InputRefused(
        f"no valid pixel in {width} x {height} ({rule.describe(alpha=False)})",
        path=path,
        remedy="check the nodata value and the bands",
    )
