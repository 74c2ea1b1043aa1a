"""The fit of an image and a cube that are to train a model: their shift and their brightness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from uavssr.calibration.lucas_kanade import ImagePair, estimate_shift
from uavssr.calibration.registration import WINDOW_BLOCKS, CommonBlocks, FoundShift, find_shift
from uavssr.errors import InputRefused
from uavssr.io.hsi import CubeSource, WarpedCube
from uavssr.io.msi import MsiSource
from uavssr.sensors import FloatArray

PIXEL_RATIOS: Final = (0.1, 4.0)
"""Smallest and largest side of a cube's pixel, in pixels of the image."""
MIN_CORRELATION: Final = 0.5
"""Median correlation over bands below which image and cube do not show the same ground."""
MAX_SHIFT_SPREAD_PX: Final = 1.0
"""Pixels by which the shift may vary over the scene; beyond, no single shift is right."""
SLOPE_LIMITS: Final = (0.5, 2.0)
"""Slope of image against cube, per band, outside which one of the reflectances must be wrong."""
MAX_OFFSET: Final = 0.1
"""Offset of image against cube in reflectance beyond which one of them must be wrong."""
SLOPE_WARNINGS: Final = (0.8, 1.25)
"""Slope outside which a warning is given: three standard deviations of the gains in training."""
OFFSET_WARNING: Final = 0.03
"""Offset in reflectance beyond which a warning is given."""
_MAX_WINDOWS: Final = 64
"""Most windows that are compared, evenly spaced."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairRegistration:
    """The fit of a pair once its cube was moved to where the image shows it; c camera bands."""

    warped: WarpedCube
    """The cube on the image's grid, moved."""
    roles: tuple[str, ...]
    """The camera's c bands."""
    found: FoundShift
    """The shift by which the cube was moved, and whether the two determine it."""
    remaining: float | None
    """Shift in pixels of the image that is still measured; None if no window determines one."""
    spread: float | None
    """Median distance in pixels of the windows' shifts from their median; None likewise."""
    windows: int
    """Windows that were compared."""
    slope: FloatArray
    """(c,) image = slope x integrated cube + offset, least squares over the windows' pixels."""
    offset: FloatArray
    """(c,) of the same, reflectance."""
    correlation: FloatArray
    """(c,) of image and integrated cube."""

    @property
    def shift(self) -> tuple[float, float]:
        """Pixels of the image by which the cube lay too far up and too far left."""
        return self.warped.shift

    def refusal(self, *, max_shift: float) -> str | None:
        """The reason why the pair cannot be used, None where it can; `max_shift` in pixels."""
        length = float(np.hypot(*self.shift))
        typical = float(np.median(self.correlation))
        moved = f"{self.shift[0]:+.2f} rows and {self.shift[1]:+.2f} columns"
        if typical < MIN_CORRELATION:
            return (
                f"image and cube do not show the same ground: their bands correlate by "
                f"{typical:.2f}, less than {MIN_CORRELATION}, at the best shift, {moved}"
            )
        if length > max_shift:
            return (
                f"the cube is shifted by {moved}, {length:.2f} pixels of the image, more than "
                f"{max_shift:g}; georeference it again, or raise data.max_shift"
            )
        if self.spread is not None and self.spread > MAX_SHIFT_SPREAD_PX:
            return (
                f"the shift varies by {self.spread:.2f} pixels over the scene, more than "
                f"{MAX_SHIFT_SPREAD_PX:g}: one of the two is distorted; georeference it again"
            )
        low, high = SLOPE_LIMITS
        for role, slope, offset in zip(self.roles, self.slope, self.offset, strict=True):
            if not low <= slope <= high or abs(offset) > MAX_OFFSET:
                return (
                    f"band {role} is {slope:.2f} x the integrated cube {offset:+.3f}, outside "
                    f"{low:g}-{high:g} and +-{MAX_OFFSET:g}: one of the two is no reflectance; "
                    "correct msi_scale, hsi_scale or the bands"
                )
        return None

    def warnings(self) -> list[str]:
        """Bands of a usable pair of unexpected brightness, and a shift that is not determined."""
        low, high = SLOPE_WARNINGS
        unsure = not self.found.determined or self.spread is None
        shift = [f"the shift of the cube is {self.found}: check the coordinates"] if unsure else []
        return shift + [
            f"band {role} is {slope:.2f} x the integrated cube {offset:+.3f}"
            for role, slope, offset in zip(self.roles, self.slope, self.offset, strict=True)
            if not low <= slope <= high or abs(offset) > OFFSET_WARNING
        ]

    def facts(self) -> dict[str, object]:
        """The figures as plain numbers, for the model card."""
        names = ("slope", "offset", "correlation")
        return {
            "shift_rows": round(self.shift[0], 3),
            "shift_columns": round(self.shift[1], 3),
            "shift_determined": self.found.determined,
            "remaining": None if self.remaining is None else round(self.remaining, 3),
            "spread": None if self.spread is None else round(self.spread, 3),
            "windows": self.windows,
            "resolution_ratio": round(self.warped.ratio, 3),
            "bands": {
                role: {name: round(float(getattr(self, name)[k]), 4) for name in names}
                for k, role in enumerate(self.roles)
            },
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
    found, blocks, pairs = FoundShift(shift=(0.0, 0.0), determined=False), still, list[ImagePair]()
    if common is not None and min(common.height, common.width) >= WINDOW_BLOCKS:
        found = find_shift(cube, msi)
        blocks = CommonBlocks(cube=cube, msi=msi, block=1, shift=found.shift)
        pairs = blocks.image_pairs(_MAX_WINDOWS)
    if not pairs:
        raise InputRefused(
            f"image and cube share no window of {WINDOW_BLOCKS} x {WINDOW_BLOCKS} pixels that is "
            "a quarter valid in both",
            path=cube.path,
            remedy="check their CRS, footprints and nodata",
        )
    return _compare(blocks.warped, found, tuple(msi.sensor.roles), pairs)


def _compare(
    warped: WarpedCube, found: FoundShift, roles: tuple[str, ...], pairs: Sequence[ImagePair]
) -> PairRegistration:
    shifts = np.array([shift for pair in pairs if (shift := estimate_shift([pair]))])
    remaining = spread = None
    if len(shifts):
        middle = np.median(shifts, axis=0)
        remaining = float(np.hypot(*middle))
        spread = float(np.median(np.hypot(*(shifts - middle).T)))
    images = np.concatenate([np.reshape(pair, (2, len(roles), -1)) for pair in pairs], axis=2)
    # slope = <x, y> / <x, x>,  offset = mean(y) - slope mean(x),  x and y centred
    x, y = images[..., np.isfinite(images).all((0, 1))].astype(float)
    means = x.mean(1), y.mean(1)
    x, y = x - means[0][:, None], y - means[1][:, None]
    power, both = (x**2).sum(1), (x * y).sum(1)
    slope = both / np.maximum(power, 1e-12)
    return PairRegistration(
        warped=warped,
        roles=roles,
        found=found,
        remaining=remaining,
        spread=spread,
        windows=len(pairs),
        slope=slope,
        offset=means[1] - slope * means[0],
        correlation=both / np.maximum(np.sqrt(power * (y**2).sum(1)), 1e-12),
    )
