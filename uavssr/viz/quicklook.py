"""A cube at the size of a figure: a few bands through the overviews, and telling spectra.

Must not draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from uavssr.errors import InputRefused
from uavssr.io.checks import GDAL_ERRORS
from uavssr.io.hsi import CubeView, view_cube
from uavssr.io.raster import metres_per_unit
from uavssr.sensors import FloatArray
from uavssr.tiling import Window

_SHOWN_NM: Final = (450.0, 560.0, 650.0, 860.0)
_LONGEST_SIDE: Final = 1000
"""Pixels of the longest side of a preview."""
_SPOT_SIDE: Final = 5
"""A spectrum is the mean of at most this many pixels on a side."""
_BOX: Final = 5
"""Side in preview pixels of the box that a place stands for; odd."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A place whose spectrum is shown."""

    name: str
    """Why it was chosen."""
    x: int
    """Column in the preview."""
    y: int
    """Row in the preview."""
    ndvi: float
    """(NIR - red) / (NIR + red) at 860 and 650 nm."""
    spectrum: FloatArray
    """(C,) reflectance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CubePreview:
    """What a figure needs of a cube."""

    path: Path
    """The cube."""
    wavelengths: FloatArray
    """(C,) nm."""
    indices: tuple[int, ...]
    """Which of the C bands were read: those nearest 450, 560, 650 and 860 nm."""
    bands: npt.NDArray[np.float32]
    """(4, y, x) reflectance of those bands, decimated; NaN where there is none."""
    metres_per_pixel: float | None
    """Size of a pixel of the preview, where the CRS tells."""

    def composite(
        self, wavelengths: Sequence[float], *, joint: bool
    ) -> tuple[npt.NDArray[np.float32], tuple[float, ...]]:
        """An RGBA image (y, x, 4) of three bands, and the wavelengths shown.

        The 2nd to the 98th percentile fill the range: of the three bands together where `joint`,
        which keeps the hues, else of each. Nodata is transparent.
        """
        order = [_SHOWN_NM.index(nm) for nm in wavelengths]
        image = np.zeros((*self.bands.shape[1:], 4), np.float32)
        for channel, band in enumerate(self.bands[order]):
            low, high = np.nanpercentile(self.bands[order] if joint else band, (2, 98))
            stretched = (band - low) / max(float(high - low), 1e-6)
            image[..., channel] = np.nan_to_num(np.clip(stretched, 0, 1))
        image[..., 3] = np.isfinite(self.bands).all(0)
        return image, tuple(float(self.wavelengths[self.indices[k]]) for k in order)

    def spots(self, count: int) -> list[Spot]:
        """Up to `count` places that differ in greenness and brightness, far from each other."""
        _, green, red, nir = _smoothed(self.bands.astype(float))
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            ndvi = (nir - red) / (nir + red)
        ndvi[~np.isfinite(ndvi)] = np.nan
        brightness = green + red + nir
        known = ndvi[np.isfinite(ndvi)]
        low = np.percentile(known, 20) if known.size else np.nan
        bare = np.where(ndvi <= low, brightness, np.nan)
        wanted = (
            ("highest NDVI", ndvi, 99.0),
            ("upper quarter of NDVI", ndvi, 75.0),
            ("median NDVI", ndvi, 50.0),
            ("lower quarter of NDVI", ndvi, 25.0),
            ("low NDVI, bright", bare, 95.0),
            ("darkest, NDVI", brightness, 1.0),
        )
        places: list[tuple[int, int]] = []
        names: list[str] = []
        for name, measure, percentile in wanted[:count]:
            place = _place_at(measure, percentile, places)
            if place is not None and place not in places:
                places.append(place)
                names.append(name)
        spectra = self._spectra(places)
        return [
            Spot(name=name, x=x, y=y, ndvi=self._ndvi(spectrum), spectrum=spectrum)
            for name, (y, x), spectrum in zip(names, places, spectra, strict=True)
            if np.isfinite(spectrum).any()  # the preview's pixel may be the mean of few valid ones
        ]

    def _ndvi(self, spectrum: FloatArray) -> float:
        """Of what is shown, and not of what the place was chosen by."""
        _, _, red, nir = spectrum[list(self.indices)].tolist()
        return (nir - red) / (nir + red) if nir + red else math.nan

    def _spectra(self, places: Sequence[tuple[int, int]]) -> list[FloatArray]:
        """Mean spectra of the pixels around places of the preview, at full resolution."""
        spectra = []
        with view_cube(self.path) as cube:
            steps = [
                side / shown for side, shown in zip(cube.size, self.bands.shape[1:], strict=True)
            ]
            box = _BOX if _is_smoothed(self.bands) else 1
            height, width = (max(1, min(_SPOT_SIDE, int(box * step))) for step in steps)
            for y, x in places:
                row = int((y + 0.5) * steps[0] - height / 2)
                col = int((x + 0.5) * steps[1] - width / 2)
                read = cube.spectra(Window(row, col, height, width))
                spectrum = read.reshape(len(read), -1)
                count = np.isfinite(spectrum).sum(1)
                with np.errstate(invalid="ignore"):
                    spectra.append(np.asarray(np.nansum(spectrum, axis=1) / count, float))
        return spectra


def _is_smoothed(bands: FloatArray | npt.NDArray[np.float32]) -> bool:
    return min(bands.shape[1:]) >= 10 * _BOX


def _smoothed(bands: FloatArray) -> FloatArray:
    """Means over a small box, NaN within half a box of nodata and of the edge.

    A place chosen on them is typical of its surroundings. Small images stay as they are.
    """
    if not _is_smoothed(bands):
        return bands
    boxes = np.lib.stride_tricks.sliding_window_view(bands, (_BOX, _BOX), axis=(1, 2))
    margin = ((0, 0), (_BOX // 2, _BOX // 2), (_BOX // 2, _BOX // 2))
    means: FloatArray = np.pad(boxes.mean((3, 4)), margin, constant_values=np.nan)
    return means if np.isfinite(means).any() else bands


def _place_at(
    measure: FloatArray, percentile: float, taken: Sequence[tuple[int, int]]
) -> tuple[int, int] | None:
    """A pixel near this percentile of `measure`: away from those taken, else near the middle.

    None where `measure` has no finite value.
    """
    values = measure[np.isfinite(measure)]
    if not values.size:
        return None
    ends = max(percentile - 0.5, 0), min(percentile + 0.5, 100)
    low, wanted, high = np.percentile(values, (ends[0], percentile, ends[1]))
    # Few values may leave none between the ends, so the nearest one is always a candidate.
    distance = np.abs(measure - wanted)
    nearest = distance <= np.nanmin(distance)
    candidates = np.argwhere(nearest | (measure >= low) & (measure <= high))
    enough = math.hypot(*measure.shape) / 5
    score = -0.3 * np.hypot(*(candidates - np.array(measure.shape) / 2).T)
    for place in taken:
        distance = np.hypot(*(candidates - np.array(place)).T)
        score += np.minimum(distance, enough)
    y, x = candidates[int(score.argmax())].tolist()
    return y, x


def read_preview(path: Path) -> CubePreview:
    """Read what a figure needs of a cube, through its overviews where it has some.

    Raises:
        InputRefused: not a cube with wavelengths, or one without a valid pixel.
    """
    try:
        with view_cube(path) as cube:
            wavelengths = cube.wavelengths
            indices = tuple(int(np.abs(wavelengths - nm).argmin()) for nm in _SHOWN_NM)
            factor = max(1, max(cube.size) / _LONGEST_SIDE)
            height, width = (max(1, round(side / factor)) for side in cube.size)
            bands = cube.decimated(indices, (height, width))
            metres = _metres_per_pixel(cube, width)
    except GDAL_ERRORS as err:
        raise InputRefused(f"is not a GeoTIFF or ENVI cube ({err})", path=path) from err
    if not np.isfinite(bands).all(0).any():
        raise InputRefused("holds no valid pixel to show", path=path)
    return CubePreview(
        path=path, wavelengths=wavelengths, indices=indices, bands=bands, metres_per_pixel=metres
    )


def _metres_per_pixel(cube: CubeView, width: int) -> float | None:
    """Size of a preview's pixel along x; degrees are taken at the scene's middle."""
    (crs, t), (rows, cols) = cube.place, cube.size
    if crs is None:
        return None
    step = math.hypot(t.a, t.d) * cols / width
    middle = t.d * cols / 2 + t.e * rows / 2 + t.f
    return step * metres_per_unit(crs.to_wkt(), y=middle)[0]
