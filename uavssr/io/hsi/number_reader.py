"""The interface that gives a cube's stored numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from uavssr.io.raster import WindowReader
from uavssr.sensors import Float32Array

READ_TILE: Final = 128
"""Side in pixels of the windows in which a cube is read from end to end."""


class NumberReader(WindowReader, Protocol):
    """Gives stored numbers, from any thread or process."""

    def decimated(self, bands: Sequence[int], shape: tuple[int, int]) -> Float32Array:
        """Means (len(bands), *shape) of the valid numbers of some bands, else NaN."""
