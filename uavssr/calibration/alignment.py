"""How an image lies against what a cube says it should show: their shift, and errors' patterns.

Arrays only, axes (band, y, x), NaN where there is no data. Must not read rasters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from uavssr.sensors import Float32Array, FloatArray

View = tuple[Float32Array, Float32Array]
"""The same pixels twice: as a cube says they should be, and as an image has them."""

PATTERNS: Final = 4
"""How many patterns `patterns` gives."""
_STEPS: Final = 12
_LONGEST: Final = 1.0
"""Pixels that one step may move."""
_EXACT: Final = 0.01
"""Pixels to which the shift is found."""
_LEAST: Final = 16
"""Pixels from which a band says anything of the shift."""
_CLEAR: Final = 0.5
"""Share of the variance that the moved views must explain for a shift to be believed."""
_BLUR: Final = 0.01
"""Share that a right shift may lose, as moving by part of a pixel blurs."""
_FAINTEST: Final = 0.01
"""Share of a band's variance that is taken as noise at least: no cube is the image exactly."""
_UNSURE: Final = 0.2
"""Standard error in pixels of a shift that cannot be told."""


def patterns(expected: Float32Array) -> Float32Array:
    """What errors of place and of sharpness leave in an image, (4, band, y, x).

    The first and second derivatives along y and x, per pixel: a band that lies a fraction of a
    pixel off, or is blurred more than the cube, is the expected one plus a little of each. Zero
    where a neighbour is missing.
    """
    found = [each for axis in (1, 2) for each in _derivatives(expected, axis)]
    return np.nan_to_num(np.stack(found), nan=0.0)


def _derivatives(image: Float32Array, axis: int) -> tuple[Float32Array, Float32Array]:
    before, after = moved(image, 1, axis), moved(image, -1, axis)
    two = np.float32(2)
    return (after - before) / two, after + before - two * image


def moved(image: Float32Array, pixels: float, axis: int) -> Float32Array:
    """An image (band, y, x) moved down (axis 1) or right (axis 2), linear between pixels."""
    whole = int(np.floor(pixels))
    part = np.float32(pixels - whole)
    near = _rolled(image, whole, axis)
    return near if part == 0 else (1 - part) * near + part * _rolled(image, whole + 1, axis)


def _rolled(image: Float32Array, whole: int, axis: int) -> Float32Array:
    found = np.full_like(image, np.nan)
    length = image.shape[axis]
    if abs(whole) >= length:
        return found
    ahead, behind = (
        slice(max(whole, 0), length + min(whole, 0)),
        slice(max(-whole, 0), length - max(whole, 0)),
    )
    rest = (slice(None),) * axis
    found[(*rest, ahead)] = image[(*rest, behind)]
    return found


def shift_between(views: Sequence[View]) -> tuple[float, float]:
    """Rows and columns by which the images lie further down and right than they should.

    Least squares on the derivatives (Lucas and Kanade 1981), all bands of all views together, each
    with a slope and an offset of its own. It finds shifts within the reach of the scene's
    structure, a few pixels; where the moved views fit no better or not at all, and where nothing
    in them can tell, 0, 0.
    """
    shift = np.zeros(2)
    for _ in range(_STEPS):
        normal, right = np.zeros((2, 2)), np.zeros(2)
        for slopes, rest, total in _fits(views, shift):
            weight = len(rest) / max(float((rest**2).sum()), _FAINTEST * total, 1e-12)
            normal += weight * slopes.T @ slopes
            right += weight * slopes.T @ rest
        if np.linalg.eigvalsh(normal)[0] < 1 / _UNSURE**2:
            return 0.0, 0.0
        step = np.clip(-np.linalg.solve(normal, right), -_LONGEST, _LONGEST)
        shift += step
        if np.abs(step).max() < _EXACT:
            break
    better = explained(views, shift) > max(explained(views) - _BLUR, _CLEAR)
    return (float(shift[0]), float(shift[1])) if better else (0.0, 0.0)


def explained(views: Sequence[View], shift: FloatArray | None = None) -> float:
    """Share of the images' variance that the views explain once moved, the mean over bands."""
    shares = [
        1 - float((rest**2).sum()) / max(total, 1e-12)
        for _, rest, total in _fits(views, np.zeros(2) if shift is None else shift)
    ]
    return float(np.mean(shares)) if shares else 0.0


def _fits(
    views: Sequence[View], shift: FloatArray
) -> Iterator[tuple[FloatArray, FloatArray, float]]:
    """Of each band: its derivatives (n, 2) and what is left of it (n,), and its sum of squares.

    From all of them the best slope times the expected band plus offset has been taken.
    """
    for expected, image in views:
        placed = moved(moved(expected, float(shift[0]), 1), float(shift[1]), 2)
        slopes = np.stack([_derivatives(placed, axis)[0] for axis in (1, 2)], axis=-1)
        for band, slope, seen in zip(placed, slopes, image, strict=True):
            usable = np.isfinite(slope).all(-1) & np.isfinite(band) & np.isfinite(seen)
            if usable.sum() < _LEAST:
                continue
            terms = np.stack([band[usable], np.ones(int(usable.sum()))], axis=1).astype(float)
            values = np.column_stack([slope[usable], seen[usable]]).astype(float)
            rest = values - terms @ np.linalg.lstsq(terms, values)[0]
            spread = values[:, 2] - values[:, 2].mean()
            yield rest[:, :2], rest[:, 2], float((spread**2).sum())
