"""Windows, tiles and their grid, in whole pixels, and the callback that reports progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

Progress = Callable[[str, int, int], None]
"""Called with (task, units just finished, units in all); a unit is a pixel, a row or a patch.

Calls may come from any thread.
"""


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of pixels of a scene."""

    row: int
    """First row."""
    col: int
    """First column."""
    height: int
    """Number of rows."""
    width: int
    """Number of columns."""

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"window must hold a pixel, got {self.height} x {self.width}")

    @property
    def rows(self) -> slice:
        """The rows as a slice of the scene."""
        return slice(self.row, self.row + self.height)

    @property
    def cols(self) -> slice:
        """The columns as a slice of the scene."""
        return slice(self.col, self.col + self.width)

    def grown(self, pixels: int, *, height: int, width: int) -> Window:
        """This window with `pixels` more on every side, clipped to a scene of `height x width`."""
        top, left = max(self.row - pixels, 0), max(self.col - pixels, 0)
        bottom = min(self.row + self.height + pixels, height)
        right = min(self.col + self.width + pixels, width)
        return Window(top, left, bottom - top, right - left)

    def within(self, outer: Window) -> tuple[slice, slice]:
        """Slices (rows, columns) of this window in an array that holds the window `outer`."""
        top, left = self.row - outer.row, self.col - outer.col
        return slice(top, top + self.height), slice(left, left + self.width)

    def quarters(self) -> Iterator[Window]:
        """The parts of this window, halved along each axis that is longer than a pixel."""
        for row, height in _halves(self.row, self.height):
            for col, width in _halves(self.col, self.width):
                yield Window(row, col, height, width)

    def intersection(self, other: Window) -> Window | None:
        """The pixels in both windows, or None where there are none."""
        top, left = max(self.row, other.row), max(self.col, other.col)
        bottom = min(self.row + self.height, other.row + other.height)
        right = min(self.col + self.width, other.col + other.width)
        if bottom <= top or right <= left:
            return None
        return Window(top, left, bottom - top, right - left)


def _halves(start: int, length: int) -> list[tuple[int, int]]:
    half = length // 2
    return [(start, half), (start + half, length - half)] if half else [(start, length)]


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile: the pixels of its result and the larger window that is read for them."""

    index: int
    """Position in row-major order."""
    core: Window
    """Pixels that this tile contributes to the output."""
    read: Window
    """The core and its halo, clipped to the scene."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TileGrid:
    """A scene cut into cores of `tile x tile` pixels (smaller at the right and bottom edges).

    The cores partition the scene: every pixel belongs to exactly one of them.
    """

    height: int
    """Rows of the scene."""
    width: int
    """Columns of the scene."""
    tile: int
    """Side of a core in pixels."""
    halo: int = 0
    """Pixels of context that are read around a core and cropped from its result."""

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"scene must hold a pixel, got {self.height} x {self.width}")
        if self.tile < 1:
            raise ValueError(f"tile must be positive, got {self.tile}")
        if self.halo < 0:
            raise ValueError(f"halo must not be negative, got {self.halo}")

    @property
    def shape(self) -> tuple[int, int]:
        """Number of tiles along (y, x)."""
        return -(-self.height // self.tile), -(-self.width // self.tile)

    def __len__(self) -> int:
        rows, cols = self.shape
        return rows * cols

    def __getitem__(self, index: int) -> Tile:
        if not 0 <= index < len(self):
            raise IndexError(f"tile {index} of {len(self)}")
        i, j = divmod(index, self.shape[1])
        row, col = i * self.tile, j * self.tile
        core = Window(row, col, min(self.tile, self.height - row), min(self.tile, self.width - col))
        return Tile(index, core, self.with_halo(core))

    def with_halo(self, window: Window) -> Window:
        """A window with the context that is read around it, clipped to the scene."""
        return window.grown(self.halo, height=self.height, width=self.width)

    def __iter__(self) -> Iterator[Tile]:
        return (self[index] for index in range(len(self)))

    def neighbours(self, index: int) -> list[Tile]:
        """The tile itself and those that touch it by a side or a corner, in row-major order."""
        i, j = divmod(index, self.shape[1])
        rows = range(max(i - 1, 0), min(i + 2, self.shape[0]))
        cols = range(max(j - 1, 0), min(j + 2, self.shape[1]))
        return [self[r * self.shape[1] + c] for r in rows for c in cols]


def spread_windows(height: int, width: int, *, count: int, side: int) -> Iterator[Window]:
    """Windows spread over a scene, to look at a bounded part of it.

    Args:
        height: rows of the scene.
        width: columns of the scene.
        count: the scene is cut into `count x count` equal parts.
        side: rows and columns of the window in the middle of each part; fewer in a smaller part.
    """
    for i, j in product(range(count), repeat=2):
        row, rows = _middle_span(i, height, count=count, side=side)
        col, cols = _middle_span(j, width, count=count, side=side)
        yield Window(row, col, rows, cols)


def _middle_span(i: int, length: int, *, count: int, side: int) -> tuple[int, int]:
    """Start and size of a span in the middle of the i-th of `count` equal parts of an axis."""
    first, last = i * length // count, (i + 1) * length // count
    size = min(side, max(last - first, 1))
    return min(first + (last - first - size) // 2, length - size), size
