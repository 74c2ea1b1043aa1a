"""Spectra of a hyperspectral cube and what an image shows of them, as means over blocks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np

from uavssr.calibration.lucas_kanade import PATTERNS, misregistration_patterns
from uavssr.calibration.registration import CommonBlocks, ShiftEstimate, find_shift
from uavssr.io.hsi import (
    AVERAGING_RATIO,
    CubeSource,
    map_to_pixel,
    pixel_to_map,
    reproject_points,
)
from uavssr.io.msi import MsiSource
from uavssr.io.raster import SAME_GRID
from uavssr.sensors import FloatArray

MAX_WINDOWS: Final = 64
"""Most windows that are read, evenly spaced over the overlap."""
MAX_BLOCKS: Final = 4000
"""Most blocks that are returned, evenly spaced: more would add little information."""
STEADY_FACTOR: Final = 2
"""Factor on the least side of a block where the overlap is large: differences in sharpness between
cube and image then matter less."""
MIN_STEADY_BLOCKS: Final = 400
"""Larger blocks that an overlap must hold for `STEADY_FACTOR` to be applied."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overlap:
    """k blocks that cube and image both cover wholly."""

    spectra: FloatArray
    """(k, C) means of the cube, reflectance."""
    msi: FloatArray
    """(k, c) means of the image, reflectance."""
    patterns: FloatArray
    """(k, c, 4) reflectance per block, see `lucas_kanade.misregistration_patterns`."""
    places: FloatArray
    """(k, 2) column and row of their middles in the image."""
    block: int
    """Side of a block in pixels of the image."""
    registered: ShiftEstimate
    """The shift by which the cube was moved."""
    skipped: dict[str, int]
    """Blocks that the cube covers and the image does not show, by reason."""


def read_overlap(cube: CubeSource, msi: MsiSource) -> Overlap:
    """Up to 4000 blocks of the overlap, evenly spaced; none where there is no overlap."""
    block = _block_side(cube, msi)
    registered = find_shift(cube, msi, block)
    blocks = CommonBlocks(cube=cube, msi=msi, block=block, shift=registered.shift)
    warped, bands, response = blocks.warped, len(msi.sensor), blocks.response
    spectra, seen = [np.empty((0, len(cube.grid)))], [np.empty((0, bands))]
    patterns = [np.empty((0, bands, PATTERNS))]
    places: list[FloatArray] = [np.empty((0, 2))]
    skipped = Counter[str]()
    for window in blocks.windows(MAX_WINDOWS):
        outer = window.grown(1, height=warped.height, width=warped.width)
        core = (slice(None), *window.within(outer))
        around, covered = warped.read(outer)
        covered = covered[core[1:]]
        means, valid, saturated = blocks.image_means(window)
        skipped["invalid in the image"] += int((covered & ~valid & ~saturated).sum())
        skipped["saturated in the image"] += int((covered & saturated).sum())
        usable = covered & valid
        # derivatives of the predicted image R X
        traces = misregistration_patterns(np.tensordot(response, around, 1))[(slice(None), *core)]
        spectra.append(around[core][:, usable].T.astype(float))
        seen.append(means[:, usable].T.astype(float))
        patterns.append(traces[..., usable].T.astype(float))
        row, col = np.nonzero(usable)
        middles = np.stack([window.col + col, window.row + row], axis=1) + 0.5
        places.append(np.asarray(block * middles, float))
    count = sum(map(len, spectra))
    chosen = np.linspace(0, count - 1, min(count, MAX_BLOCKS)).round().astype(int)
    return Overlap(
        spectra=np.concatenate(spectra)[chosen],
        msi=np.concatenate(seen)[chosen],
        patterns=np.concatenate(patterns)[chosen],
        places=np.concatenate(places)[chosen],
        block=block,
        registered=registered,
        skipped=dict(+skipped),
    )


def _block_side(cube: CubeSource, msi: MsiSource) -> int:
    """Side of a block in pixels: one on a common grid, else such that the cube is finer than it."""
    pixels = CommonBlocks(cube=cube, msi=msi, block=1).warped
    needed = 1 if _same_grid(cube, msi) else int(pixels.ratio / AVERAGING_RATIO) + 1
    common = pixels.common()
    steady = STEADY_FACTOR * needed
    large = common is not None and common.height * common.width >= MIN_STEADY_BLOCKS * steady**2
    return min(steady if large else needed, msi.height, msi.width)


def _same_grid(cube: CubeSource, msi: MsiSource) -> bool:
    """Whether the cube's pixels are pixels of the image."""
    corners = np.array([[0.0, 0.0], [cube.width, 0.0], [cube.width, cube.height]])
    ground = pixel_to_map(cube.place.transform, corners)
    place = map_to_pixel(msi.transform, reproject_points(ground, cube.place.crs_wkt, msi.crs_wkt))
    offset = place - corners
    same = np.abs(offset - offset[0].round()).max() < SAME_GRID
    return bool(np.isfinite(place).all() and same)
