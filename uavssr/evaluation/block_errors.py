"""Standard errors of a scene's errors, and of their differences, from blocks of pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from uavssr.evaluation.metrics import Values
from uavssr.sensors import BoolArray, FloatArray
from uavssr.tiling import Window

BLOCKS_ALONG: Final = 8
"""Blocks along each side of a scene: neighbouring pixels share errors, and blocks hardly."""
MIN_BLOCK: Final = 8
"""Least side of a block in pixels."""
MIN_BLOCKS: Final = 4
"""Least number of blocks with valid pixels that give a standard error."""
MEASURES: Final = ("rmse", "mrae", "sam")
"""The errors that have standard errors; RMSE and MRAE over all bands."""


class Estimate(NamedTuple):
    """A number with its standard error."""

    value: float
    """The number."""
    se: float
    """Its standard error; NaN where it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BlockErrors:
    """Sums of the errors of one prediction over the blocks of a scene."""

    height: int
    """Rows of the scene."""
    width: int
    """Columns of the scene."""
    epsilon: float
    """Smallest denominator of MRAE, in reflectance."""
    sums: FloatArray
    """(3, blocks): squares, relative errors and angles in degrees, summed over pixels."""
    count: FloatArray
    """(blocks,) valid pixels."""

    @classmethod
    def empty(cls, height: int, width: int, *, epsilon: float) -> BlockErrors:
        """No pixel yet."""
        side = block_side(height, width)
        blocks = -(-height // side) * -(-width // side)
        return cls(
            height=height,
            width=width,
            epsilon=epsilon,
            sums=np.zeros((3, blocks)),
            count=np.zeros(blocks),
        )

    @property
    def side(self) -> int:
        """Side of a block in pixels."""
        return block_side(self.height, self.width)

    def add(self, estimate: Values, reference: Values, valid: BoolArray, core: Window) -> None:
        """Add the pixels of a window: reflectance (B, y, x), the valid ones (y, x)."""
        p, r = (np.asarray(cube[:, valid], float) for cube in (estimate, reference))
        if not p.size:
            return
        rows, cols = np.nonzero(valid)
        across = -(-self.width // self.side)
        block = (rows + core.row) // self.side * across + (cols + core.col) // self.side
        error = np.abs(p - r)
        norms = np.linalg.norm(p, axis=0) * np.linalg.norm(r, axis=0)
        cosine = (p * r).sum(0) / np.where(norms > 0, norms, np.nan)
        pixels = (
            np.square(error).mean(0),
            (error / np.maximum(np.abs(r), self.epsilon)).mean(0),
            np.nan_to_num(np.degrees(np.arccos(np.clip(cosine, -1, 1)))),
        )
        for row, values in enumerate(pixels):
            self.sums[row] += np.bincount(block, values, minlength=self.count.size)
        self.count[:] += np.bincount(block, minlength=self.count.size)

    @property
    def blocks(self) -> int:
        """Blocks with valid pixels."""
        return int((self.count > 0).sum())

    def estimates(self) -> dict[str, Estimate]:
        """RMSE, MRAE and SAM with standard errors."""
        return {name: _jackknife(values) for name, values in self._without_each().items()}

    def differences(self, other: BlockErrors) -> dict[str, Estimate]:
        """The errors of this prediction less those of another one, on the same pixels."""
        one, two = self._without_each(), other._without_each()
        return {name: _jackknife(one[name] - two[name]) for name in MEASURES}

    def _without_each(self) -> dict[str, FloatArray]:
        """Each error (1 + blocks,): of all pixels, then without the pixels of one block."""
        filled = self.count > 0
        sums, count = self.sums[:, filled], self.count[filled]
        total = np.concatenate([sums.sum(1)[:, None], sums.sum(1)[:, None] - sums], axis=1)
        pixels = np.concatenate([[count.sum()], count.sum() - count])
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = total / pixels
        return {"rmse": np.sqrt(np.maximum(mean[0], 0)), "mrae": mean[1], "sam": mean[2]}


def block_side(height: int, width: int) -> int:
    """Side in pixels of the blocks of a scene."""
    return max(MIN_BLOCK, -(-max(height, width) // BLOCKS_ALONG))


def _jackknife(values: FloatArray) -> Estimate:
    """The number of all blocks, with the standard error of the jackknife over n blocks.

    se^2 = (n - 1) / n sum (t_i - mean t)^2 with t_i the number without block i (Efron 1982).
    """
    whole, parts = float(values[0]), values[1:]
    n = len(parts)
    if n < MIN_BLOCKS:
        return Estimate(whole, float("nan"))
    variance = (n - 1) / n * np.square(parts - parts.mean()).sum()
    return Estimate(whole, float(np.sqrt(variance)))
