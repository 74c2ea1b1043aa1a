"""Cells of an image and the pixels that stand for them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from uavssr.report.sample_grid import SampleGrid
from uavssr.tiling import TileGrid

sides = st.integers(1, 300)


@given(sides, sides, st.integers(1, 5000), st.integers(1, 200), st.integers(1, 5))
def test_the_pixel_of_a_cell_lies_in_it(
    height: int, width: int, most: int, longest: int, factor: int
) -> None:
    grid = SampleGrid.of(height, width, most_cells=most, longest_side=longest)
    assert np.prod(grid.shape) <= most
    assert max(grid.shape) <= longest
    coarse, (rows, cols) = grid.coarser(factor)
    np.testing.assert_array_equal(coarse.rows, grid.rows[rows])
    np.testing.assert_array_equal(coarse.cols, grid.cols[cols])
    for cells in (grid, coarse):
        for pixels, length in ((cells.rows, height), (cells.cols, width)):
            np.testing.assert_array_equal(pixels // cells.step, np.arange(len(pixels)))
            assert pixels[-1] < length
            assert len(pixels) == -(-length // cells.step)


@given(sides, sides, st.integers(1, 7), st.integers(5, 90))
def test_tiles_share_the_cells_out(height: int, width: int, step: int, tile: int) -> None:
    grid = SampleGrid.of(height, width, most_cells=10**6, longest_side=-(-300 // step))
    seen = np.zeros(grid.shape, int)
    for part in TileGrid(height=height, width=width, tile=tile):
        rows, cols = grid.inside(part.core)
        seen[rows, cols] += 1
    assert (seen == 1).all()
