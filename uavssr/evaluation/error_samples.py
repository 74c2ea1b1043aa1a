"""What a picture of errors shows: pairs of numbers for a scatter plot, and a map of errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from uavssr.evaluation.metrics import Values
from uavssr.sensors import BoolArray, Float32Array, FloatArray, WavelengthGrid
from uavssr.tiling import Window

MAP_SIDE: Final = 500
"""Most pixels of the longer side of the map."""
SCATTER_PIXELS: Final = 4000
"""About so many pixels give pairs for the scatter plot."""
SCATTER_NM: Final = (450.0, 550.0, 660.0, 720.0, 850.0)
"""Wavelengths in nm of the pairs, where the cubes have them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ErrorSamples:
    """Samples of the errors of one prediction."""

    bands: tuple[int, ...]
    """The s bands of the pairs."""
    nm: tuple[float, ...]
    """Their wavelengths in nm."""
    every: int
    """Of so many pixels one gives pairs."""
    step: int
    """Rows and columns of the scene per pixel of the map."""
    square: FloatArray
    """(y, x) sums of the pixels' mean squared error."""
    count: FloatArray
    """(y, x) pixels."""
    pairs: list[Float32Array] = field(default_factory=list)
    """(2, s, n) predictions and references."""

    @classmethod
    def empty(cls, height: int, width: int, grid: WavelengthGrid) -> ErrorSamples:
        """No pixel yet."""
        low, high = grid.centres[0], grid.centres[-1]
        bands = sorted({grid.nearest(nm) for nm in SCATTER_NM if low <= nm <= high})
        bands = bands or [len(grid) // 2]
        step = max(1, -(-max(height, width) // MAP_SIDE))
        square, count = np.zeros((2, -(-height // step), -(-width // step)))
        return cls(
            bands=tuple(bands),
            nm=tuple(float(grid.centres[band]) for band in bands),
            every=max(1, height * width // SCATTER_PIXELS),
            step=step,
            square=square,
            count=count,
        )

    def add(self, estimate: Values, reference: Values, valid: BoolArray, core: Window) -> None:
        """Add the pixels of a window: reflectance (B, y, x), the valid ones (y, x)."""
        p, r = (cube[:, valid] for cube in (estimate, reference))
        rows, cols = np.nonzero(valid)
        place = (rows + core.row) // self.step, (cols + core.col) // self.step
        np.add.at(self.square, place, np.square(p.astype(float) - r).mean(0))
        np.add.at(self.count, place, 1)
        chosen = [cube[list(self.bands), :: self.every] for cube in (p, r)]
        self.pairs.append(np.stack(chosen).astype(np.float32))

    @property
    def scatter(self) -> Float32Array:
        """(2, s, n) predictions and references."""
        return np.concatenate(self.pairs, axis=2)

    @property
    def map(self) -> Float32Array:
        """(y, x) root mean squared error over all bands, NaN where no pixel is valid."""
        mean = self.square / np.where(self.count > 0, self.count, np.nan)
        return np.sqrt(mean).astype(np.float32)
