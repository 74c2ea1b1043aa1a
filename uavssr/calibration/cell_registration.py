"""The shift of an image against a satellite's, searched on the finest cells within one cell."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np

from uavssr.calibration.image_cells import ImageBlocks, cell_means
from uavssr.calibration.lucas_kanade import estimate_shift, explained_share
from uavssr.calibration.registration import Shift
from uavssr.sensors import Float32Array, FloatArray, Sensor
from uavssr.tiling import Window

UNKNOWN_SHIFT_M: Final = 6.0
"""Standard deviation in metres of a shift that is not determined."""
SHIFT_ERROR_CELLS: Final = 0.2
"""Standard deviation of a determined shift in the cells on which it was searched."""
COMPARED_NM: Final = 40.0
"""Distance of the centres of bands that are compared."""
_MIN_VALID: Final = 0.9
"""Least share of the PSF on valid pixels of a cell that is compared."""
_STEPS: Final = 3
"""Refinements after the search."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellShift:
    """The shift of an image against a satellite's."""

    shift: Shift
    """Cells (of the search) by which the image lies further down and right."""
    determined: bool
    """Whether the two determine it; otherwise it is none."""
    metres: float
    """Side of these cells."""

    @property
    def error_m(self) -> float:
        """Standard deviation along each axis in metres."""
        return SHIFT_ERROR_CELLS * self.metres if self.determined else UNKNOWN_SHIFT_M

    def __str__(self) -> str:
        if not self.determined:
            return "not determined, taken as none"
        down, right = (round(part * self.metres, 1) + 0.0 for part in self.shift)
        return f"image {down:+.1f} m down, {right:+.1f} m right"


def nearest_bands(camera: Sensor, satellite: Sensor) -> list[tuple[int, int]]:
    """Pairs of indices (camera, satellite) of bands with centres at most `COMPARED_NM` apart."""
    centres = np.array([band.centre for band in satellite.bands])
    distances = [np.abs(centres - band.centre) for band in camera.bands]
    return [
        (index, int(distance.argmin()))
        for index, distance in enumerate(distances)
        if distance.min() <= COMPARED_NM
    ]


def find_cell_shift(
    blocks: ImageBlocks,
    satellite: FloatArray,
    window: Window,
    *,
    pairs: list[tuple[int, int]],
    metres: float,
    reach: int,
) -> CellShift:
    """The shift that correlates an image and a satellite's best, band by band.

    Whole cells are tried first, then Lucas and Kanade's steps refine the best.

    Args:
        blocks: the image.
        satellite: (b, y, x) reflectance on the window, NaN where unusable.
        window: the cells.
        pairs: bands of the image and of the satellite that are compared.
        metres: side of a cell.
        reach: cells along each axis within which the shift is searched.
    """
    none = CellShift(shift=(0.0, 0.0), determined=False, metres=metres)
    if not pairs:
        return none
    seen, known = (list(indices) for indices in zip(*pairs, strict=True))
    predicted = np.asarray(satellite[known], np.float32)

    def image_on(cells: Window, shift: Shift) -> Float32Array:
        image = cell_means(blocks, cells, shift)
        values = np.where(image.valid >= _MIN_VALID, image.means[seen], np.nan)
        return np.asarray(values, np.float32)

    rows, cols = window.height, window.width
    outer = Window(window.row - reach, window.col - reach, rows + 2 * reach, cols + 2 * reach)
    around = image_on(outer, (0.0, 0.0))
    shares = {
        (down - reach, right - reach): explained_share(
            [(predicted, around[:, down : down + rows, right : right + cols])]
        )
        for down, right in product(range(2 * reach + 1), repeat=2)
    }
    shift: Shift = max(shares, key=shares.__getitem__)
    for _ in range(_STEPS):
        step = estimate_shift([(predicted, image_on(window, shift))])
        if step is None:
            return none
        shift = shift[0] + step[0], shift[1] + step[1]
    if max(map(abs, shift)) > reach + 0.5:
        return none
    return CellShift(shift=shift, determined=True, metres=metres)
