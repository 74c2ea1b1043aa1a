"""Satellite pixels and what an image shows of the same ground: the cells of a calibration."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

import numpy as np

from uavssr.calibration.cell_registration import CellShift, find_cell_shift, nearest_bands
from uavssr.calibration.image_cells import (
    CellMeans,
    ImageBlocks,
    cell_means_with_errors,
    covered_cells,
    read_blocks,
)
from uavssr.calibration.satellite_dates import MAX_DAYS, date_weights, open_days
from uavssr.calibration.satellite_series import SatelliteSeries
from uavssr.errors import InputRefused
from uavssr.io.hsi import pixel_to_map, reproject_points
from uavssr.io.msi import MsiSource
from uavssr.io.satellite import PSF_SIGMA_CELLS, CellGrid, CellWindow, SatelliteImage
from uavssr.reconstruction import PLAUSIBLE
from uavssr.sensors import BoolArray, FloatArray, Sensor
from uavssr.tiling import Window

MAX_WINDOW: Final = 128
"""Side of the window of cells, about the middle of the overlap, beyond which nothing is read."""
MAX_CELLS: Final = 400
"""Most cells that are returned: more would add little information."""
MIN_VALID_SHARE: Final = 0.95
"""Least share of a cell's PSF on valid pixels of the image."""
_INSIDE_SIGMAS: Final = 1.645
"""Distance of an edge, in standard deviations of the PSF, that leaves that share inside."""
MAX_SATURATED_SHARE: Final = 0.001
"""Largest share of a cell's PSF on saturated pixels."""
MAX_RELATIVE_ERROR: Final = 0.10
"""Largest random error of a band of the image in a cell, as a share of its reflectance."""
FEW_CELLS: Final = 9
"""Number of cells below which a warning is given."""
_NOISE: Final = (0.002, 0.01)
"""Noise of a satellite's reflectance: an absolute and a relative standard deviation. Sentinel-2's
bands have signal-to-noise ratios above 90 at their reference radiance (ESA, User Handbook)."""
_BAND_SHIFT_CELLS: Final = 0.15
"""Standard deviation along each axis of the shift between a satellite's own bands, in cells."""
_FWHM: Final = 2 * math.sqrt(2 * math.log(2)) * PSF_SIGMA_CELLS
"""Full width at half maximum of the PSF in cells."""
_STRATA: Final = 20
"""Levels of brightness of each of which the most uniform cells are taken."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SatelliteCells:
    """k cells of a satellite image that an image of c bands covers wholly; b satellite bands.

    The random errors hold what differs from cell to cell: variance inside, the rest of the
    registration, noise. An error that all cells of a band share, as of atmospheric correction,
    is not in them.
    """

    sensor: Sensor
    """The satellite, with the b bands whose responses lie within the model's wavelengths."""
    reflectance: FloatArray
    """(k, b) surface reflectance that the satellite gives, in its sensor's band order."""
    reflectance_se: FloatArray
    """(k, b) standard deviation of its random error, reflectance."""
    msi: FloatArray
    """(k, c) reflectance in the image, weighted with the satellite's point spread function."""
    msi_se: FloatArray
    """(k, c) standard deviation of its random error, reflectance."""
    places: FloatArray
    """(k, 2) x and y of the cells' middles, in the CRS of the image."""
    days: float = 0.0
    """Days of growth that are not accounted for, see `open_days`."""
    skipped: dict[str, int]
    """Number of cells left out, by reason."""
    facts: dict[str, str]
    """Date, product, processing baseline, cell and shift, for messages and the STF file."""
    warnings: tuple[str, ...]
    """Sentences for the user."""


def read_satellite_cells(
    msi: MsiSource,
    images: Sequence[SatelliteImage],
    *,
    flight: date,
    max_days: int = MAX_DAYS,
) -> SatelliteCells:
    """The cells that a drone's image and one or two satellite images share.

    Args:
        msi: the image.
        images: one satellite image, or two whose days bracket the flight.
        flight: the day of the flight.
        max_days: days between flight and satellite that are accepted.

    Raises:
        UsageError: more than two images.
        InputRefused: a day too far off, no overlap, images of two grids, or no cell that is usable.
    """
    weights = date_weights(images, flight, max_days=max_days)
    series = SatelliteSeries.of(images, weights)
    grid = series.images[0].grid()
    window = _window(msi, grid, series)
    blocks = read_blocks(msi, grid, window)
    shift = _shift(msi, series, grid, window, blocks)
    seen = series.read(grid, window)
    image, errors = _image_on(grid, window, blocks, shift)
    usable, skipped = _judge(seen, image, errors)
    if not usable.any():
        raise _nothing_left(msi, series, grid, skipped)
    chosen = _most_uniform(usable, seen.reflectance, errors / np.abs(image.means))
    rows, cols = np.nonzero(chosen)
    middles = np.stack([cols + window.col + 0.5, rows + window.row + 0.5], axis=1)
    ground = pixel_to_map(grid.transform, middles)
    facts = {
        "flight": str(flight),
        "cell": f"{grid.metres:.3g} m, Gaussian PSF of FWHM {_FWHM * grid.metres:.3g} m",
        "shift": str(shift),
        "cells": f"{len(rows)} of {int(usable.sum()) + sum(skipped.values())}",
    }
    return SatelliteCells(
        sensor=series.sensor,
        reflectance=seen.reflectance[:, chosen].T,
        reflectance_se=_satellite_error(seen.reflectance)[:, chosen].T,
        msi=image.means[:, chosen].T,
        msi_se=errors[:, chosen].T,
        places=reproject_points(ground, grid.crs_wkt, msi.crs_wkt),
        days=open_days(images, flight),
        skipped=skipped,
        facts=series.facts() | facts,
        warnings=(*series.warnings, *_warnings(len(rows), shift)),
    )


def _image_on(
    grid: CellGrid, window: Window, blocks: ImageBlocks, shift: CellShift
) -> tuple[CellMeans, FloatArray]:
    """The image on the cells, moved by a shift that was searched on finer ones; its errors."""
    down, right = (part * shift.metres / grid.metres for part in shift.shift)
    error = shift.error_m / grid.metres
    return cell_means_with_errors(blocks, window, (down, right), shift_error=error)


def _window(msi: MsiSource, grid: CellGrid, series: SatelliteSeries) -> Window:
    """The cells that the image covers, at most `MAX_WINDOW` rows and columns about their middle."""
    window = covered_cells(msi, grid)
    if window is None:
        raise InputRefused(
            f"shows other ground than the image: {_extent(grid)}; the image's middle lies at "
            f"{_middle(msi, grid)}",
            path=series.images[0].path,
            remedy="give the satellite's tile of the field; check the CRS of both",
        )
    window = window.grown(1, height=grid.height, width=grid.width)  # the image may lie off
    height, width = min(window.height, MAX_WINDOW), min(window.width, MAX_WINDOW)
    row = window.row + (window.height - height) // 2
    col = window.col + (window.width - width) // 2
    return Window(row, col, height, width)


def _extent(grid: CellGrid) -> str:
    corners = np.array([[0.0, 0.0], [grid.width, grid.height]])
    (x0, y0), (x1, y1) = np.sort(pixel_to_map(grid.transform, corners), axis=0)
    return f"x {x0:.10g} to {x1:.10g}, y {y0:.10g} to {y1:.10g}"


def _middle(msi: MsiSource, grid: CellGrid) -> str:
    middle = pixel_to_map(msi.transform, np.array([[msi.width / 2, msi.height / 2]]))
    x, y = reproject_points(middle, msi.crs_wkt, grid.crs_wkt)[0]
    return f"x {x:.10g}, y {y:.10g}"


def _shift(
    msi: MsiSource, series: SatelliteSeries, grid: CellGrid, window: Window, blocks: ImageBlocks
) -> CellShift:
    """The shift, searched on the satellite's finest cells, in the middle of the window."""
    fine, factor, offset = series.finer(grid)
    on_fine = blocks.scaled(factor, offset)
    low = np.floor((np.array([window.col, window.row]) - offset) * factor).astype(int)
    whole = Window(
        int(low[1]), int(low[0]), int(window.height * factor), int(window.width * factor)
    )
    inside = whole.intersection(Window(0, 0, fine.height, fine.width)) or whole
    height, width = min(inside.height, 48), min(inside.width, 48)
    middle = Window(
        inside.row + (inside.height - height) // 2,
        inside.col + (inside.width - width) // 2,
        height,
        width,
    )
    seen = series.read(fine, middle)
    satellite = np.where(seen.usable, seen.reflectance, np.nan)
    sensor = replace(
        series.sensor, bands=tuple(series.sensor.bands[i] for i in series.bands_on(fine))
    )
    reach = max(1, round(grid.metres / fine.metres))
    return find_cell_shift(
        on_fine.near(middle, 2 + reach),
        satellite,
        middle,
        pairs=nearest_bands(msi.sensor, sensor),
        metres=fine.metres,
        reach=reach,
    )


def _judge(
    seen: CellWindow, image: CellMeans, errors: FloatArray
) -> tuple[BoolArray, dict[str, int]]:
    """Usable cells (y, x), and the others that lie on the image by the first reason."""
    low, high = PLAUSIBLE
    with np.errstate(invalid="ignore"):
        varied = (errors > MAX_RELATIVE_ERROR * np.abs(image.means)).any(0)
        plausible = ((image.means > low) & (image.means < high)).all(0)
        plausible &= ((seen.reflectance > low) & (seen.reflectance < high)).all(0)
    reasons = {
        "partly outside the valid image": image.valid < MIN_VALID_SHARE,
        **seen.reasons,
        "saturated in the image": image.saturated > MAX_SATURATED_SHARE,
        "of implausible reflectance": ~plausible,
        "too varied inside": varied,
    }
    left = image.valid > 0.5
    skipped = Counter[str]()
    for reason, excluded in reasons.items():
        skipped[reason] += int((left & excluded).sum())
        left &= ~excluded
    return left, dict(+skipped)


def _most_uniform(usable: BoolArray, reflectance: FloatArray, relative: FloatArray) -> BoolArray:
    """Of the usable cells (y, x) at most `MAX_CELLS`, the most uniform of each brightness."""
    if usable.sum() <= MAX_CELLS:
        return usable
    places = np.flatnonzero(usable)
    brightness = reflectance.mean(0).ravel()[places]
    uniform = relative.mean(0).ravel()[places]
    strata = np.array_split(places[np.argsort(brightness)], _STRATA)
    order = dict(zip(places.tolist(), uniform.tolist(), strict=True))
    chosen = np.zeros(usable.size, bool)
    for stratum in strata:
        best = sorted(stratum.tolist(), key=order.__getitem__)[: MAX_CELLS // _STRATA]
        chosen[best] = True
    return chosen.reshape(usable.shape)


def _satellite_error(reflectance: FloatArray) -> FloatArray:
    """Standard deviations (b, y, x): noise, and the shift between the satellite's own bands."""
    absolute, relative = _NOISE
    variance = absolute**2 + (relative * reflectance) ** 2
    for axis in (1, 2):
        if reflectance.shape[axis] > 1:
            slope = np.nan_to_num(np.gradient(reflectance, axis=axis))
            variance += (_BAND_SHIFT_CELLS * slope) ** 2
    return np.sqrt(variance)


def _nothing_left(
    msi: MsiSource, series: SatelliteSeries, grid: CellGrid, skipped: dict[str, int]
) -> InputRefused:
    path = series.images[0].path
    listed = ", ".join(f"{number} {reason}" for reason, number in skipped.items())
    least = 2 * _INSIDE_SIGMAS * PSF_SIGMA_CELLS * grid.metres
    if not skipped or list(skipped) == ["partly outside the valid image"]:
        return InputRefused(
            f"no cell of {grid.metres:.3g} m lies wholly inside the valid image "
            f"({listed or 'none is half covered'})",
            path=path,
            remedy=f"give an image that is valid over {least:.0f} m or more in each direction",
        )
    cloudy = any(word in listed for word in ("cloud", "without data"))
    return InputRefused(
        f"none of its {sum(skipped.values())} cells on the image can be used: {listed}",
        path=path,
        remedy="give an image of a clear day"
        if cloudy
        else f"check scale and offset of both with uavssr inspect {msi.summary.paths[0]}",
    )


def _warnings(count: int, shift: CellShift) -> list[str]:
    warnings = []
    if not shift.determined:
        warnings.append(f"the shift of image and satellite is {shift}: check the coordinates")
    if count < FEW_CELLS:
        warnings.append(f"only {count} cells of the satellite can be used")
    return warnings
