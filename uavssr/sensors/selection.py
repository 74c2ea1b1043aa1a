"""Selection of bands of a wavelength grid: `450-900`, `550,670,840`, or a file of numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from uavssr.errors import UsageError
from uavssr.io.bounded import read_bytes
from uavssr.sensors.wavelength_grid import WavelengthGrid

_NUMBER: Final = r"\d+(?:\.\d*)?"
_ITEM: Final = re.compile(rf"({_NUMBER})(?:\s*-\s*({_NUMBER}))?")
_LIST: Final = re.compile(r"[\d.,\s-]+")
_MAX_BYTES: Final = 2**20
"""Largest file of wavelengths."""
_REMEDY: Final = "give nm as in 450-900 or 550,670,840, or a file with one number a line"


def select_wavelengths(grid: WavelengthGrid, text: str) -> tuple[WavelengthGrid, tuple[int, ...]]:
    """The bands of `grid` that `--wavelengths` names, and their increasing indices.

    A range selects all bands whose centres lie in it. A number selects the nearest band. That band
    must lie within half the spacing or half its own width, whichever is larger.

    Args:
        grid: all wavelengths.
        text: ranges and numbers in nm, separated by commas; or the path of a file that has them in
            its first column.

    Raises:
        UsageError: no wavelengths, or fewer than two bands of the grid.
    """
    indices = sorted({index for item in _items(text) for index in _bands(grid, item)})
    if len(indices) < 2:
        bands, spacing = "1 band" if indices else "no band", np.diff(grid.centres).mean()
        raise UsageError(
            f"--wavelengths {text} selects {bands}; a cube needs two or more",
            remedy=f"give two or more of {grid.centres[0]:.1f},...,{grid.centres[-1]:.1f} nm; the "
            f"{len(grid)} bands of the model are {spacing:.3g} nm apart",
        )
    return subset(grid, indices), tuple(indices)


def subset(grid: WavelengthGrid, indices: Sequence[int]) -> WavelengthGrid:
    """The bands of a grid with these indices."""
    return WavelengthGrid(grid.name, grid.centres[list(indices)], grid.fwhm[list(indices)])


def _items(text: str) -> list[str]:
    """The items of a list, or of the first column of a file, whose first line may be a header."""
    items = text.split(",")
    if not _LIST.fullmatch(text):
        try:
            raw = read_bytes(text, _MAX_BYTES)
        except (OSError, ValueError) as err:
            fact = f"--wavelengths {Path(text)} is no list and no file"
            raise UsageError(fact, remedy=_REMEDY) from err
        rows = raw.decode("utf-8-sig", errors="replace").splitlines()
        items = [re.split(r"[,;\t]", row.split("#")[0])[0] for row in rows]
        if items and not _ITEM.fullmatch(items[0].strip()):
            del items[0]
    return [item.strip() for item in items if item.strip()]


def _bands(grid: WavelengthGrid, item: str) -> list[int]:
    """Indices of the bands that a number or range selects."""
    match = _ITEM.fullmatch(item)
    if match is None:
        raise UsageError(f"--wavelengths: {item[:40]!r} is no wavelength or range", remedy=_REMEDY)
    extent = f"the bands lie from {grid.centres[0]:.1f} to {grid.centres[-1]:.1f} nm"
    if match[2] is not None:
        low, high = float(match[1]), float(match[2])
        inside = np.flatnonzero((grid.centres >= low) & (grid.centres <= high)).tolist()
        if not inside:
            raise UsageError(f"--wavelengths: no band in {item} nm", remedy=extent)
        return inside
    nm = float(match[1])
    index = grid.nearest(nm)
    distance = abs(float(grid.centres[index]) - nm)
    if distance > max(np.gradient(grid.centres)[index], grid.fwhm[index]) / 2:
        fact = f"--wavelengths: {nm:g} nm is {distance:.4g} nm from the nearest band"
        raise UsageError(fact, remedy=extent)
    return [index]
