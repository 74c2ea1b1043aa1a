"""Which wavelengths of a grid an option asks for: `450-900`, `550,670,840`, or a file of numbers.

Must not resample: what is chosen are bands of the grid.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from uavssr.errors import UsageError
from uavssr.sensors.wavelength_grid import WavelengthGrid

_NUMBER: Final = r"\d+(?:\.\d*)?"
_ITEM: Final = re.compile(rf"({_NUMBER})(?:\s*-\s*({_NUMBER}))?")
_LIST: Final = re.compile(r"[\d.,\s-]+")
_LONGEST: Final = 2**20
"""Bytes of a file of wavelengths."""
_HOW: Final = "give nm as in 450-900 or 550,670,840, or a file with one number a line"


def select_wavelengths(grid: WavelengthGrid, text: str) -> tuple[WavelengthGrid, tuple[int, ...]]:
    """The bands of `grid` that `--wavelengths` names, and their indices, increasing.

    A range takes all bands whose centres lie in it. A number takes the band nearest to it, which
    must lie within half the spacing there, or half its own width where that is more.

    Args:
        grid: all wavelengths.
        text: ranges and numbers in nm, by commas; or the path of a file that holds them in its
            first column.

    Raises:
        UsageError: not wavelengths, or none or only one of the grid's.
    """
    found = sorted({index for item in _items(text) for index in _bands(grid, item)})
    if len(found) < 2:
        raise UsageError(
            f"--wavelengths {text} takes {len(found)} band, and a cube has two or more",
            remedy=f"the model's {len(grid)} are {_spacing(grid):.3g} nm apart",
        )
    return subset(grid, found), tuple(found)


def subset(grid: WavelengthGrid, indices: Sequence[int]) -> WavelengthGrid:
    """The chosen bands of a grid."""
    chosen = list(indices)
    return WavelengthGrid(grid.name, grid.centres[chosen], grid.fwhm[chosen])


def _items(text: str) -> Iterator[str]:
    listed = text if _LIST.fullmatch(text) else ",".join(_lines(Path(text)))
    items = [item.strip() for item in listed.split(",")]
    yield from (item for item in items if item)


def _lines(path: Path) -> Iterator[str]:
    """The first column of a file; its first line may be a header."""
    try:
        with path.open("rb") as file:
            raw = file.read(_LONGEST)
    except (OSError, ValueError) as err:
        raise UsageError(f"--wavelengths {path} is no list and no file", remedy=_HOW) from err
    rows = raw.decode("utf-8-sig", errors="replace").splitlines()
    cells = [re.split(r"[,;\t]", row.split("#")[0])[0].strip() for row in rows]
    start = 1 if cells and not _ITEM.fullmatch(cells[0]) else 0
    yield from (cell for cell in cells[start:] if cell)


def _bands(grid: WavelengthGrid, item: str) -> list[int]:
    match = _ITEM.fullmatch(item)
    if match is None:
        raise UsageError(f"--wavelengths: {item[:40]!r} is no wavelength or range", remedy=_HOW)
    if match[2] is None:
        return [_nearest(grid, float(match[1]))]
    low, high = float(match[1]), float(match[2])
    inside = np.flatnonzero((grid.centres >= low) & (grid.centres <= high))
    if not inside.size:
        raise UsageError(f"--wavelengths: no band in {item} nm", remedy=_reach(grid))
    return [int(index) for index in inside]


def _nearest(grid: WavelengthGrid, nm: float) -> int:
    index = grid.nearest(nm)
    spacing = float(np.gradient(grid.centres)[index])
    distance = abs(float(grid.centres[index]) - nm)
    if distance > max(spacing, float(grid.fwhm[index])) / 2:
        raise UsageError(
            f"--wavelengths: {nm:g} nm is {distance:.3g} nm from the nearest band",
            remedy=_reach(grid),
        )
    return index


def _reach(grid: WavelengthGrid) -> str:
    return f"the bands lie from {grid.centres[0]:.1f} to {grid.centres[-1]:.1f} nm"


def _spacing(grid: WavelengthGrid) -> float:
    return float(np.diff(grid.centres).mean())
