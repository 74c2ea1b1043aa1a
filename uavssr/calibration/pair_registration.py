"""The fit of an image and a cube that are to train a model: their shift, and its spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from uavssr.calibration.band_comparison import BandComparison
from uavssr.calibration.lucas_kanade import ImagePair, estimate_shift
from uavssr.calibration.registration import WINDOW_BLOCKS, CommonBlocks, ShiftEstimate, find_shift
from uavssr.errors import InputRefused
from uavssr.io.hsi import CubeSource, WarpedCube
from uavssr.io.msi import MsiSource
from uavssr.sensors import FloatArray
from uavssr.tiling import Window

PIXEL_RATIOS: Final = (0.1, 4.0)
"""Smallest and largest side of a cube's pixel, in pixels of the image."""
MAX_SHIFT_SPREAD_PX: Final = 1.0
"""Pixels by which the shift may vary over the scene; beyond, no single shift is right."""
_MAX_WINDOWS: Final = 64
"""Most windows that are compared, evenly spaced."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairRegistration:
    """The fit of a pair once its cube was moved to where the image shows it; c camera bands."""

    warped: WarpedCube
    """The cube on the image's grid, moved."""
    registered: ShiftEstimate
    """The shift by which the cube was moved, and whether the two determine it."""
    bands: BandComparison
    """The brightness of image and moved cube over the windows' pixels."""
    places: FloatArray
    """(w, 2) middles of the windows with a shift of their own, (column, row) of the image."""
    remains: FloatArray
    """(w, 2) shifts that are still measured there, rows and columns of the image."""
    windows: int
    """Windows that were compared."""

    @property
    def shift(self) -> tuple[float, float]:
        """Pixels of the image by which the cube lay too far up and too far left."""
        return self.warped.shift

    @property
    def remaining(self) -> float | None:
        """Shift in pixels of the image that is still measured; None if no window shows one."""
        return float(np.hypot(*np.median(self.remains, axis=0))) if len(self.remains) else None

    @property
    def spread(self) -> float | None:
        """Median distance in pixels of the windows' shifts from their median; None likewise."""
        if not len(self.remains):
            return None
        return float(np.median(np.hypot(*(self.remains - np.median(self.remains, axis=0)).T)))

    def refusal(self, *, max_shift: float) -> str | None:
        """The reason why the shift cannot be right, None where it can; `max_shift` in pixels."""
        length = float(np.hypot(*self.shift))
        if length > max_shift:
            moved = f"{self.shift[0]:+.2f} rows and {self.shift[1]:+.2f} columns"
            return (
                f"the cube is shifted by {moved}, {length:.2f} pixels of the image, more than "
                f"{max_shift:g}; georeference it again, or raise data.max_shift"
            )
        if self.spread is not None and self.spread > MAX_SHIFT_SPREAD_PX:
            return (
                f"the shift varies by {self.spread:.2f} pixels over the scene, more than "
                f"{MAX_SHIFT_SPREAD_PX:g}: one of the two is distorted; georeference it again"
            )
        return None

    def warnings(self) -> tuple[str, ...]:
        """A shift that is not determined, and what `BandComparison.warnings` says."""
        unsure = not self.registered.determined or self.spread is None
        shift = f"the shift of the cube is {self.registered}: check the coordinates"
        return (*([shift] if unsure else []), *self.bands.warnings())

    def facts(self) -> dict[str, object]:
        """The figures as plain numbers, for the model card."""
        return {
            "shift_rows": round(self.shift[0], 3),
            "shift_columns": round(self.shift[1], 3),
            "shift_determined": self.registered.determined,
            "remaining": None if self.remaining is None else round(self.remaining, 3),
            "spread": None if self.spread is None else round(self.spread, 3),
            "windows": self.windows,
            "resolution_ratio": round(self.warped.ratio, 3),
            "bands": self.bands.facts(),
        }


def register_pair(msi: MsiSource, cube: CubeSource) -> PairRegistration:
    """Move a cube to where the image shows it, and compare the brightness of the two.

    Raises:
        InputRefused: no common ground, a camera band outside the cube's wavelengths, or pixels that
            differ too much in size.
    """
    still = CommonBlocks(cube=cube, msi=msi, block=1)
    ratio, common = still.warped.ratio, still.warped.common()
    low, high = PIXEL_RATIOS
    if not low <= ratio <= high:
        raise InputRefused(
            f"a pixel of the cube is {ratio:.3g} pixels of the image long, not {low:g}-{high:g}",
            path=cube.path,
            remedy="bring the finer one to the resolution of the coarser one first",
        )
    msi.sensor.srf(cube.grid)  # raises where a band lies outside
    registered, blocks = ShiftEstimate(shift=(0.0, 0.0), determined=False), still
    pairs: list[tuple[Window, ImagePair]] = []
    if common is not None and min(common.height, common.width) >= WINDOW_BLOCKS:
        registered = find_shift(cube, msi)
        blocks = CommonBlocks(cube=cube, msi=msi, block=1, shift=registered.shift)
        pairs = blocks.placed_pairs(_MAX_WINDOWS)
    if not pairs:
        raise InputRefused(
            f"image and cube share no window of {WINDOW_BLOCKS} x {WINDOW_BLOCKS} pixels that is "
            "a quarter valid in both",
            path=cube.path,
            remedy="check their CRS, footprints and nodata",
        )
    return _compare(blocks.warped, registered, tuple(msi.sensor.roles), pairs)


def _compare(
    warped: WarpedCube,
    registered: ShiftEstimate,
    roles: tuple[str, ...],
    pairs: Sequence[tuple[Window, ImagePair]],
) -> PairRegistration:
    measured = [
        ((window.col + window.width / 2, window.row + window.height / 2), shift)
        for window, pair in pairs
        if (shift := estimate_shift([pair]))
    ]
    places, remains = np.array(measured, float).reshape(-1, 2, 2).transpose(1, 0, 2)
    images = np.concatenate([np.reshape(pair, (2, len(roles), -1)) for _, pair in pairs], axis=2)
    predicted, seen = images[..., np.isfinite(images).all((0, 1))]
    return PairRegistration(
        warped=warped,
        registered=registered,
        bands=BandComparison.of(roles, predicted, seen),
        places=places,
        remains=remains,
        windows=len(pairs),
    )
