"""Laws of windows and tiles: cores partition the scene, halos are clipped, cuts fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from uavssr.tiling import TileGrid, Window

PRIMES = [2, 3, 7, 31, 97]
sizes = st.one_of(st.just(1), st.sampled_from(PRIMES), st.integers(1, 120))
grids = st.builds(
    TileGrid,
    height=sizes,
    width=sizes,
    tile=st.one_of(st.sampled_from([8, 16, 64, 500]), st.integers(5, 130)),
    halo=st.integers(0, 40),
)
windows = st.builds(
    Window,
    row=st.integers(0, 60),
    col=st.integers(0, 60),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
)


def coordinates(height: int, width: int) -> np.ndarray:
    """An image whose pixel values are their own position, so that a misplaced pixel shows."""
    return np.arange(height * width).reshape(height, width)


@given(grids)
@example(TileGrid(height=1, width=97, tile=8, halo=3))
@example(TileGrid(height=97, width=1, tile=97, halo=100))
@example(TileGrid(height=5, width=7, tile=1))
def test_cores_partition_the_scene(grid: TileGrid) -> None:
    seen = np.zeros((grid.height, grid.width), int)
    for tile in grid:
        seen[tile.core.rows, tile.core.cols] += 1
    assert (seen == 1).all()


@given(grids)
def test_tiles_are_numbered_in_row_major_order(grid: TileGrid) -> None:
    tiles = list(grid)
    assert len(tiles) == len(grid) == grid.shape[0] * grid.shape[1]
    assert [tile.index for tile in tiles] == list(range(len(grid)))
    assert [tile.core for tile in tiles] == sorted(
        (tile.core for tile in tiles), key=lambda core: (core.row, core.col)
    )
    assert all(grid[tile.index] == tile for tile in tiles)


@given(grids)
def test_read_window_is_the_core_grown_by_the_halo_and_clipped(grid: TileGrid) -> None:
    inside = np.ones((grid.height, grid.width), bool)
    padded = np.pad(inside, grid.halo)
    for tile in grid:
        core, read = tile.core, tile.read
        grown = padded[
            core.row : core.row + core.height + 2 * grid.halo,
            core.col : core.col + core.width + 2 * grid.halo,
        ]
        assert read.height * read.width == grown.sum()
        assert read.row == max(core.row - grid.halo, 0)
        assert read.col == max(core.col - grid.halo, 0)
        assert read.row + read.height <= grid.height
        assert read.col + read.width <= grid.width


@given(grids)
def test_cores_cropped_from_their_read_windows_make_up_the_scene(grid: TileGrid) -> None:
    scene = coordinates(grid.height, grid.width)
    copy = np.full_like(scene, -1)
    for tile in grid:
        block = scene[tile.read.rows, tile.read.cols]
        copy[tile.core.rows, tile.core.cols] = block[tile.core.within(tile.read)]
    np.testing.assert_array_equal(copy, scene)


@given(windows, windows)
def test_intersection_holds_the_pixels_of_both(one: Window, other: Window) -> None:
    counts = np.zeros((100, 100), int)
    counts[one.rows, one.cols] += 1
    counts[other.rows, other.cols] += 1
    common = one.intersection(other)
    assert common == other.intersection(one)
    if common is None:
        assert counts.max() == 1
    else:
        assert (counts[common.rows, common.cols] == 2).all()
        assert common.height * common.width == (counts == 2).sum()


@given(windows)
def test_window_intersected_with_itself_or_a_larger_one_is_itself(window: Window) -> None:
    assert window.intersection(window) == window
    assert window.intersection(window.grown(5, height=100, width=100)) == window


@given(grids)
def test_neighbours_are_the_tiles_that_touch(grid: TileGrid) -> None:
    index = len(grid) // 2
    centre = grid[index].core
    touched = Window(
        centre.row - 1 if centre.row else 0,
        centre.col - 1 if centre.col else 0,
        centre.height + 1 + (centre.row > 0),
        centre.width + 1 + (centre.col > 0),
    )
    expected = [tile for tile in grid if tile.core.intersection(touched)]
    assert grid.neighbours(index) == expected
    assert grid[index] in expected


def test_neighbours_of_a_corner_an_edge_and_the_middle() -> None:
    grid = TileGrid(height=30, width=30, tile=10)
    assert [tile.index for tile in grid.neighbours(0)] == [0, 1, 3, 4]
    assert [tile.index for tile in grid.neighbours(5)] == [1, 2, 4, 5, 7, 8]
    assert [tile.index for tile in grid.neighbours(4)] == list(range(9))


@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 9), st.integers(1, 9))
def test_quarters_hold_every_pixel_once(row: int, col: int, height: int, width: int) -> None:
    window = Window(row, col, height, width)
    count = np.zeros((20, 20), int)
    for quarter in window.quarters():
        count[quarter.rows, quarter.cols] += 1
        assert quarter.height <= -(-height // 2)
        assert quarter.width <= -(-width // 2)
    assert count[window.rows, window.cols].min() == count.max() == 1
    assert count.sum() == height * width


@pytest.mark.parametrize("index", [-1, 9, 100])
def test_index_beyond_the_grid_is_an_error(index: int) -> None:
    with pytest.raises(IndexError, match=f"tile {index} of 9"):
        TileGrid(height=30, width=30, tile=10)[index]


@pytest.mark.parametrize(
    ("change", "number"),
    [
        ({"height": 0}, "0 x 30"),
        ({"width": -1}, "30 x -1"),
        ({"tile": 0}, "0"),
        ({"halo": -3}, "-3"),
    ],
)
def test_invalid_grid_is_an_error_with_the_number(change: dict[str, int], number: str) -> None:
    with pytest.raises(ValueError, match=number):
        TileGrid(**{"height": 30, "width": 30, "tile": 10, "halo": 0} | change)


@pytest.mark.parametrize(("height", "width"), [(0, 3), (3, 0), (-1, 3)])
def test_window_without_a_pixel_is_an_error(height: int, width: int) -> None:
    with pytest.raises(ValueError, match=f"{height} x {width}"):
        Window(0, 0, height, width)
