"""The pixels of an image that a page shows: every n-th row and column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uavssr.sensors import IndexArray
from uavssr.tiling import Window


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SampleGrid:
    """Square cells of an image; the pixel in the middle of a cell stands for all of it.

    Cells at the lower and right edge may be cut. Where their middle lies outside the image, the
    last pixel stands for them.
    """

    step: int
    """Side of a cell in pixels."""
    rows: IndexArray
    """(h,) row of the pixel that stands for each row of cells."""
    cols: IndexArray
    """(w,) column of the pixel that stands for each column of cells."""

    @classmethod
    def of(cls, height: int, width: int, *, most_cells: int, longest_side: int) -> SampleGrid:
        """The finest grid of an image with at most so many cells, in all and along a side."""
        step = -(-max(height, width) // longest_side)
        while (-(-height // step)) * (-(-width // step)) > most_cells:
            step += 1
        return cls(step=step, rows=_middles(height, step), cols=_middles(width, step))

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns of cells."""
        return len(self.rows), len(self.cols)

    def inside(self, window: Window) -> tuple[slice, slice]:
        """The rows and columns of cells whose pixels lie in a window of the image."""
        rows = np.searchsorted(self.rows, (window.row, window.row + window.height)).tolist()
        cols = np.searchsorted(self.cols, (window.col, window.col + window.width)).tolist()
        return slice(*rows), slice(*cols)

    def coarser(self, factor: int) -> tuple[SampleGrid, tuple[IndexArray, IndexArray]]:
        """A grid of cells `factor` times as large, and the rows and columns here of its pixels."""
        rows, cols = (_middles(count, factor) for count in self.shape)
        grid = SampleGrid(step=self.step * factor, rows=self.rows[rows], cols=self.cols[cols])
        return grid, (rows, cols)


def _middles(length: int, step: int) -> IndexArray:
    """The middle of each piece of `step`, or the last position."""
    return np.minimum(np.arange(0, length, step) + step // 2, length - 1)
