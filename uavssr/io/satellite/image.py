"""Satellite images on a grid of cells: every band with one point spread function.

A band of native pixel n has a point spread function (PSF) of about a Gaussian with a standard
deviation of n / 2: a full width at half maximum of 1.18 n, as 11-12 m and 22-25 m of Sentinel-2.
Cells are as large as the coarsest band's native pixel. Finer bands are averaged over their pixels
with the Gaussian that makes up the difference, so that all bands show the same ground.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from uavssr.errors import InputRefused
from uavssr.io.raster import (
    BandReader,
    Place,
    Scale,
    Transform,
    ValidityRule,
    is_rotated,
    metres_per_unit,
    read_pixels,
)
from uavssr.io.satellite.quality import BAD, QualityMask
from uavssr.sensors import FINE_NM, Band, BoolArray, FloatArray, Sensor
from uavssr.tiling import Window

PSF_SIGMA_CELLS: Final = 0.5
"""Standard deviation of the PSF in native pixels."""
_REACH_SIGMAS: Final = 3.0
"""Standard deviations up to which a Gaussian's weights count."""
_MIN_BLUR_PX: Final = 0.3
"""Standard deviation of a blur in pixels below which it changes nothing."""
_NEGLIGIBLE: Final = 0.01
"""Weight of a pixel without data up to which its cell is still valid."""
_SENTINEL_2: Final = {
    **dict.fromkeys(("b2", "b3", "b4", "b8"), 10.0),
    **dict.fromkeys(("b5", "b6", "b7", "b8a", "b11", "b12"), 20.0),
    **dict.fromkeys(("b1", "b9", "b10"), 60.0),
}
"""Native pixels of Sentinel-2's bands in metres."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SatelliteBand:
    """One band of a satellite image, on a grid of its own."""

    role: str
    """The sensor's band."""
    native: float
    """Side of its native pixel in metres; a file may hold it resampled."""
    place: Place
    """Size, CRS and transform."""
    reader: BandReader
    """Reads its numbers (1, y, x)."""
    rule: ValidityRule
    """Tells which of them are valid."""
    scale: Scale
    """Turns them into reflectance."""

    def metres(self) -> tuple[float, float]:
        """Width and height of a stored pixel in metres, at the middle of the image."""
        return pixel_metres(self.place)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellGrid:
    """Square cells on a satellite's grid."""

    height: int
    """Rows."""
    width: int
    """Columns."""
    crs_wkt: str
    """The satellite's CRS."""
    transform: Transform
    """Affine from cells to map coordinates; not rotated."""
    metres: float
    """Side of a cell on the ground."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CellWindow:
    """Satellite reflectance in a window of cells."""

    reflectance: FloatArray
    """(b, y, x) reflectance, NaN without data."""
    reasons: dict[str, BoolArray]
    """Cells (y, x) that show no ground, by reason."""

    @property
    def usable(self) -> BoolArray:
        """(y, x) cells that no reason excludes."""
        return ~np.any(list(self.reasons.values()), axis=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SatelliteImage:
    """A satellite image as surface reflectance."""

    path: Path
    """The file or folder as given."""
    sensor: Sensor
    """The satellite, with the b bands that the image holds."""
    bands: tuple[SatelliteBand, ...]
    """(b,) bands in the sensor's order."""
    mask: QualityMask | None
    """Clouds and shadows; None where the image has no mask."""
    acquired: date
    """The day of acquisition."""
    facts: dict[str, str]
    """Product, baseline, and the evidence for scale and date."""
    warnings: tuple[str, ...] = ()
    """Sentences for the user."""

    def grid(self, *, finest: bool = False) -> CellGrid:
        """The grid of cells of the coarsest band, or of the finest ones."""
        natives = [band.native for band in self.bands]
        side = min(natives) if finest else max(natives)
        return _cell_grid([band for band in self.bands if band.native <= side], side)

    def bands_on(self, grid: CellGrid) -> tuple[int, ...]:
        """Indices of the bands that are as fine as the cells of a grid."""
        fine = [band.native <= 1.01 * grid.metres for band in self.bands]
        return tuple(np.flatnonzero(fine).tolist())

    def read(self, grid: CellGrid, window: Window) -> CellWindow:
        """Reflectance of the bands `bands_on(grid)` in a window of cells.

        Raises:
            InputRefused: a block cannot be decoded.
        """
        chosen = [self.bands[index] for index in self.bands_on(grid)]
        values = np.stack([_on_cells(band, grid, window) for band in chosen])
        absent = np.asarray(np.isnan(values).any(0))
        reasons = {BAD: absent}
        if self.mask is not None:
            a, _, c, _, e, f = grid.transform
            to = self.mask.transform
            x = ((c + a * (np.arange(window.width) + window.col + 0.5)) - to[2]) / to[0]
            y = ((f + e * (np.arange(window.height) + window.row + 0.5)) - to[5]) / to[4]
            pixels = (np.floor(axis).astype(np.intp) for axis in (x, y))
            masked = self.mask.reasons(*pixels)
            reasons = masked | {BAD: masked[BAD] | absent}
        return CellWindow(reflectance=values, reasons=reasons)


@lru_cache(maxsize=64)
def pixel_metres(place: Place) -> tuple[float, float]:
    """Width and height in metres of the pixels of an upright raster, at its middle."""
    a, _, c, _, e, f = place.transform
    x, y = c + a * place.width / 2, f + e * place.height / 2
    unit_x, unit_y = metres_per_unit(place.crs_wkt, x=x, y=y)
    return abs(a) * unit_x, abs(e) * unit_y


def native_metres(role: str, *, sentinel2: bool, pixel: float) -> float:
    """Side in metres of the native pixel of a band; of another satellite the file's `pixel`."""
    return _SENTINEL_2.get(role, pixel) if sentinel2 else pixel


def mixed_sensor(first: Sensor, second: Sensor, share: float) -> Sensor:
    """A sensor whose responses are those of two satellites, mixed by the share of the second.

    (1 - t) R_1 x + t R_2 x = ((1 - t) R_1 + t R_2) x, so interpolated images have this sensor.
    """
    if first == second:
        return first
    mixed = (1 - share) * first.response() + share * second.response()
    rows = zip(first.roles, mixed, strict=True)
    bands = tuple(Band.from_curve(role, FINE_NM.tolist(), row.tolist()) for role, row in rows)
    return replace(first, name=f"{first.name}+{second.name}", bands=bands)


def check_upright(place: Place) -> None:
    """Refuse a satellite image whose rows do not run along x.

    Raises:
        InputRefused: naming the command that warps it.
    """
    if is_rotated(place.transform, height=place.height, width=place.width):
        raise InputRefused(
            "is rotated",
            path=place.path,
            remedy="bring it onto a grid along its coordinates, e.g. with gdalwarp",
        )


def _cell_grid(bands: list[SatelliteBand], side: float) -> CellGrid:
    """Cells of `side` metres on the grid of the band with the largest pixels."""
    base = max(bands, key=lambda band: band.metres())
    width_m, height_m = base.metres()
    side = max(side, width_m, height_m)
    across, down = max(1, round(side / width_m)), max(1, round(side / height_m))
    a, _, c, _, e, f = base.place.transform
    # a file of 10 m may repeat pixels of 20 m, which begin at multiples of 20 m
    left, top = round(-c / abs(a)) % across, round(f / abs(e)) % down
    return CellGrid(
        height=(base.place.height - top) // down,
        width=(base.place.width - left) // across,
        crs_wkt=base.place.crs_wkt,
        transform=(a * across, 0.0, c + a * left, 0.0, e * down, f + e * top),
        metres=math.sqrt(width_m * across * height_m * down),
    )


def _on_cells(band: SatelliteBand, grid: CellGrid, window: Window) -> FloatArray:
    """Reflectance (y, x) of one band in a window of cells, NaN without data."""
    sigma = _missing_sigma(band, grid)
    a, _, c, _, e, f = band.place.transform
    ca, _, cc, _, ce, cf = grid.transform
    metres = band.metres()
    rows = _weights((cf - f) / e, ce / e, window.row, window.height, sigma / metres[1])
    cols = _weights((cc - c) / a, ca / a, window.col, window.width, sigma / metres[0])
    (top, down), (left, across) = rows, cols
    wanted = Window(top, left, down.shape[1], across.shape[1])
    values = np.full((wanted.height, wanted.width), np.nan)
    inner = wanted.intersection(Window(0, 0, band.place.height, band.place.width))
    if inner is not None:
        pixels = read_pixels(band.reader, band.rule, band.scale, inner).reflectance[0]
        values[inner.within(wanted)] = pixels
    missing = np.isnan(values)
    # x(cells) = W_y x W_x^T
    means = down @ np.where(missing, 0.0, values) @ across.T
    absent = down @ missing @ across.T
    means[absent > _NEGLIGIBLE] = np.nan
    return np.asarray(means / np.clip(1 - absent, 1 - _NEGLIGIBLE, 1))


def _missing_sigma(band: SatelliteBand, grid: CellGrid) -> float:
    """Standard deviation in metres of the blur that a band lacks to the PSF of the cells."""
    pixel = math.sqrt(math.prod(band.metres()))
    # a file of larger pixels holds means over its pixels
    own = (PSF_SIGMA_CELLS * band.native) ** 2 + max(pixel**2 - band.native**2, 0.0) / 12
    return math.sqrt(max((PSF_SIGMA_CELLS * grid.metres) ** 2 - own, 0.0))


def _weights(
    origin: float, step: float, first: int, count: int, sigma: float
) -> tuple[int, FloatArray]:
    """Weights (count, n) of n pixels for cells along an axis, and the first of these pixels.

    Args:
        origin: where the first cell of the grid begins, in pixels.
        step: length of a cell in pixels.
        first: number of the first cell.
        count: number of cells.
        sigma: standard deviation of the blur in pixels; 0 for means over the cell's pixels.
    """
    centres = origin + step * (first + np.arange(count) + 0.5)
    blurs = sigma > _MIN_BLUR_PX
    reach = _REACH_SIGMAS * sigma if blurs else abs(step) / 2
    start = math.floor(centres.min() - reach + 1e-6)
    pixels = np.arange(start, math.ceil(centres.max() + reach - 1e-6))
    distance = pixels + 0.5 - centres[:, None]
    if blurs:
        weights = np.where(np.abs(distance) <= reach, np.exp(-0.5 * (distance / sigma) ** 2), 0.0)
    else:  # length of the pixel inside the cell
        weights = np.clip(
            np.minimum(0.5, reach - distance) + np.minimum(0.5, reach + distance), 0, 1
        )
    return start, weights / weights.sum(1, keepdims=True)
