"""Cubes on one grid and the same wavelengths: what is warped or interpolated, and by how much."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from uavssr.calibration import ImagePair, estimate_shift
from uavssr.errors import InputRefused
from uavssr.io.hsi import CubeSource, TargetGrid, WarpedCube
from uavssr.io.raster import on_same_grid
from uavssr.sensors import BoolArray, Float32Array, WavelengthGrid, subset
from uavssr.tiling import TileGrid, Window

SAME_NM: Final = 0.05
"""Largest distance in nm of two centres that count as the same."""
SAME_SIZE: Final = 0.01
"""Relative difference up to which the pixels of two cubes are of one size."""
MIN_SHIFT: Final = 0.1
"""Pixels below which a warped cube is not moved: interpolation blurs."""
MAX_SHIFT: Final = 5.0
"""Pixels beyond which a shift is not taken for one: the coordinates are to be checked."""
_SEARCH_SIDE: Final = 96
"""Side in pixels of the windows in which a shift is measured."""
_SEARCH_WINDOWS: Final = 9
"""Most of those windows."""
_SEARCH_NM: Final = (480.0, 560.0, 660.0, 720.0, 800.0)
"""Wavelengths in nm at which a shift is measured, where the cubes have them."""
_SEARCH_STEPS: Final = 3
"""Steps of the search, each from where the last one ended."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AlignedCube:
    """A cube on the common grid and wavelengths, read window by window."""

    cube: CubeSource
    """The cube as it is stored."""
    warped: WarpedCube | None
    """The cube on the common grid; None where it lies on it."""
    weights: Float32Array | None
    """(B, C) linear interpolation to the common wavelengths; None where bands are selected."""
    bands: Sequence[int]
    """Its C bands that are the common ones, where none is interpolated."""
    bands_text: str
    """What was done to its wavelengths."""
    shift_text: str = ""
    """What is known of its shift."""

    def read(self, window: Window) -> tuple[Float32Array, BoolArray]:
        """Reflectance (B, y, x) at the common wavelengths, and the valid pixels (y, x)."""
        cube, valid = (self.warped or self.cube).read(window)
        if self.weights is None:
            every = len(self.bands) == len(cube)
            return (cube if every else cube[list(self.bands)]), valid
        # x(l) = W x, at all pixels
        values = np.tensordot(self.weights, np.where(valid, cube, 0), 1).astype(np.float32)
        values[:, ~valid] = np.nan
        return values, valid

    @property
    def facts(self) -> dict[str, str]:
        """What was done to the cube, in words."""
        if self.warped is None:
            return {"grid": "as stored", "wavelengths": self.bands_text}
        ratio = self.warped.ratio
        method = "averaged" if self.warped.averages else "interpolated bilinearly"
        size = f"its pixel is {ratio:.3g} pixels of the common grid long"
        return {
            "grid": f"warped, {method}: {size}{self.shift_text}",
            "wavelengths": self.bands_text,
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Alignment:
    """Predictions and their reference on one grid."""

    predictions: tuple[AlignedCube, ...]
    """The predictions."""
    reference: AlignedCube
    """The reference."""
    target: TargetGrid
    """The common grid: that of the largest pixels, the reference's where sizes are equal."""
    grid: WavelengthGrid
    """The B common wavelengths: those of the widest spacing, within the range of all cubes."""

    @classmethod
    def of(cls, predictions: Sequence[CubeSource], reference: CubeSource) -> Alignment:
        """Bring cubes onto the grid and the wavelengths of the coarsest of them.

        Cubes on one grid are not moved. Of others the shift against the reference is measured, and
        taken away from `MIN_SHIFT` pixels.

        Raises:
            InputRefused: the cubes share no ground or no wavelengths.
        """
        cubes = (*predictions, reference)
        host = _coarsest(cubes)
        grid = _common_grid(cubes)
        *aligned, truth = (_aligned(cube, host, grid, reference) for cube in cubes)
        target = _target(host)
        moved, truth = _registered(aligned, truth, target, grid)
        return cls(predictions=tuple(moved), reference=truth, target=target, grid=grid)


def _target(cube: CubeSource) -> TargetGrid:
    place = cube.place
    return TargetGrid(
        height=place.height, width=place.width, crs_wkt=place.crs_wkt, transform=place.transform
    )


def _coarsest(cubes: Sequence[CubeSource]) -> CubeSource:
    """The cube of the largest pixels; the last one, the reference, where sizes are equal."""
    reference = cubes[-1]
    lengths = [WarpedCube(cube=cube, target=_target(reference)).ratio for cube in cubes]
    largest = int(np.argmax(lengths))
    return cubes[largest] if lengths[largest] > 1 + SAME_SIZE else reference


def _common_grid(cubes: Sequence[CubeSource]) -> WavelengthGrid:
    """The wavelengths that all cubes have, or those of the widest spacing within all ranges."""
    reference = cubes[-1].grid
    shared = _shared(cubes)
    if shared is not None:
        return subset(reference, shared)
    low = max(float(cube.grid.centres[0]) for cube in cubes)
    high = min(float(cube.grid.centres[-1]) for cube in cubes)
    spacings = [float(np.median(np.diff(cube.grid.centres))) for cube in cubes]
    widest = max(spacings)
    host = (
        reference
        if spacings[-1] >= (1 - SAME_SIZE) * widest
        else (cubes[spacings.index(widest)].grid)
    )
    inside = (host.centres >= low - SAME_NM) & (host.centres <= high + SAME_NM)
    if inside.sum() < 2:
        spans = ", ".join(_span(cube) for cube in cubes)
        raise InputRefused(
            f"the cubes share no range of wavelengths ({spans})",
            path=cubes[0].path,
            remedy="give cubes of the same part of the spectrum",
        )
    return subset(host, np.flatnonzero(inside).tolist())


def _shared(cubes: Sequence[CubeSource]) -> list[int] | None:
    """The reference's bands that every cube has, if only listed bad bands are lacking anywhere."""
    reference, bad = cubes[-1].grid.centres, sum(cube.bad_bands for cube in cubes)
    common = np.ones(len(reference), bool)
    for cube in cubes:
        common &= np.abs(reference[:, None] - cube.grid.centres).min(1) <= SAME_NM
    lacking = [len(cube.grid) - int(common.sum()) for cube in cubes]
    return np.flatnonzero(common).tolist() if common.any() and max(lacking) <= bad else None


def _aligned(
    cube: CubeSource, host: CubeSource, grid: WavelengthGrid, reference: CubeSource
) -> AlignedCube:
    same = cube is host or on_same_grid(cube.place, host.place)
    warped = None if same else WarpedCube(cube=cube, target=_target(host))
    if warped is not None and warped.common() is None:
        raise InputRefused(
            f"shows none of the ground of {reference.path if cube is not reference else host.path}",
            path=cube.path,
            remedy="check the CRS and the footprints of both",
        )
    distance = np.abs(grid.centres[:, None] - cube.grid.centres)
    nearest = distance.argmin(1)
    if distance.min(1).max() <= SAME_NM:
        left_out = len(cube.grid) - len(grid)
        text = "as stored" + (f", without {left_out} of {len(cube.grid)} bands" if left_out else "")
        return AlignedCube(
            cube=cube, warped=warped, weights=None, bands=nearest.tolist(), bands_text=text
        )
    text = (
        f"interpolated linearly from {_span(cube)} to {len(grid)} bands from "
        f"{grid.centres[0]:g} to {grid.centres[-1]:g} nm, "
        f"{distance.min(1).max():.2g} nm from the nearest band at most"
    )
    return AlignedCube(
        cube=cube, warped=warped, weights=_interpolation(cube.grid, grid), bands=(), bands_text=text
    )


def _span(cube: CubeSource) -> str:
    nm = cube.grid.centres
    return f"{len(nm)} bands from {nm[0]:g} to {nm[-1]:g} nm"


def _interpolation(own: WavelengthGrid, grid: WavelengthGrid) -> Float32Array:
    """W (B, C) of linear interpolation, constant beyond the ends."""
    columns = np.eye(len(own))
    rows = [np.interp(grid.centres, own.centres, column) for column in columns]
    return np.stack(rows, axis=1).astype(np.float32)


def _registered(
    predictions: Sequence[AlignedCube], truth: AlignedCube, target: TargetGrid, grid: WavelengthGrid
) -> tuple[list[AlignedCube], AlignedCube]:
    """The warped cubes moved by the shifts that their contents show."""
    bands = _search_bands(grid)
    if truth.warped is not None:
        still = next(cube for cube in predictions if cube.warped is None)
        truth = _moved(truth, still, target, bands)
    moved = [
        cube if cube.warped is None else _moved(cube, truth, target, bands) for cube in predictions
    ]
    return moved, truth


def _moved(
    cube: AlignedCube, fixed: AlignedCube, target: TargetGrid, bands: Sequence[int]
) -> AlignedCube:
    """A warped cube moved by its shift against another one; as it is where that is not known."""
    moved, last = cube, None
    for _ in range(_SEARCH_STEPS):
        last = estimate_shift(list(_pairs(moved, fixed, target, bands)))
        if last is None or moved.warped is None:
            break
        down, right = moved.warped.shift
        warped = replace(moved.warped, shift=(down + last[0], right + last[1]))
        moved = replace(moved, warped=warped)
    shift = (0.0, 0.0) if moved.warped is None else moved.warped.shift
    length = math.hypot(*shift)
    if last is None or not length <= MAX_SHIFT:
        return replace(cube, shift_text="; its shift cannot be determined")
    text = f"{shift[0]:+.2f} rows and {shift[1]:+.2f} columns"
    if length < MIN_SHIFT:
        return replace(cube, shift_text=f"; not moved, as it lies within {MIN_SHIFT:g} pixels")
    return replace(moved, shift_text=f"; moved by {text}")


def _pairs(
    cube: AlignedCube, fixed: AlignedCube, target: TargetGrid, bands: Sequence[int]
) -> Iterator[ImagePair]:
    """Windows of both at a few wavelengths, NaN where invalid."""
    tiles = TileGrid(height=target.height, width=target.width, tile=_SEARCH_SIDE)
    numbers = np.linspace(0, len(tiles) - 1, min(len(tiles), _SEARCH_WINDOWS)).round().astype(int)
    for number in numbers:
        window = tiles[int(number)].core
        (one, one_valid), (two, two_valid) = cube.read(window), fixed.read(window)
        if (one_valid & two_valid).any():
            images = (np.where(one_valid, one, np.nan), np.where(two_valid, two, np.nan))
            first, second = (image[list(bands)].astype(np.float32) for image in images)
            yield first, second


def _search_bands(grid: WavelengthGrid) -> list[int]:
    """The bands at which a shift is measured; the middle one where the cubes have none of them."""
    low, high = grid.centres[0], grid.centres[-1]
    bands = {grid.nearest(nm) for nm in _SEARCH_NM if low <= nm <= high}
    return sorted(bands) or [len(grid) // 2]
