"""A cube at the size of a figure: a few bands, decimated, and spectra at places that differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from uavssr.errors import InputRefused
from uavssr.io.hsi import CubeSource, open_product, pixel_to_map
from uavssr.io.raster import metres_per_unit
from uavssr.sensors import Float32Array, FloatArray
from uavssr.tiling import Window

_SHOWN_NM: Final = (450.0, 560.0, 650.0, 860.0)
"""Wavelengths of the bands that are read: blue, green, red and near infrared, nm."""
_LONGEST_SIDE: Final = 1000
"""Pixels of the longest side of a preview."""
_SPOT_SIDE: Final = 5
"""A spectrum is the mean of at most this many pixels on a side."""
_BOX: Final = 5
"""Side in preview pixels of the box over which places are smoothed before they are chosen; odd."""
_SPOTS: Final = (
    ("highest NDVI", "ndvi", 99.0),
    ("upper quarter of NDVI", "ndvi", 75.0),
    ("median NDVI", "ndvi", 50.0),
    ("lower quarter of NDVI", "ndvi", 25.0),
    ("low NDVI, bright", "bare", 95.0),
    ("darkest, NDVI", "brightness", 1.0),
)
"""Name of a spot, the measure that it is chosen by, and its percentile of that measure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A place whose spectrum is shown."""

    name: str
    """The reason why it was chosen."""
    x: int
    """Column in the preview."""
    y: int
    """Row in the preview."""
    ndvi: float
    """(NIR - red) / (NIR + red) at 860 and 650 nm."""
    spectrum: FloatArray
    """(C,) reflectance."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CubePreview:
    """What a figure shows of a cube of C bands."""

    cube: CubeSource
    """The cube at full resolution."""
    indices: tuple[int, ...]
    """Positions of the 4 bands nearest 450, 560, 650 and 860 nm."""
    bands: Float32Array
    """(4, y, x) reflectance of those bands, decimated; NaN where there is none."""
    metres_per_pixel: float
    """Size of a pixel of the preview along x."""

    @property
    def wavelengths(self) -> FloatArray:
        """(C,) nm."""
        return self.cube.grid.centres

    def composite(
        self, wavelengths: Sequence[float], *, joint: bool
    ) -> tuple[Float32Array, tuple[float, ...]]:
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
        measures = _measures(_smoothed(self.bands.astype(float)))
        places: dict[tuple[int, int], str] = {}
        for name, measure, percentile in _SPOTS[:count]:
            place = _place_at(measures[measure], percentile, list(places))
            if place is not None:
                places.setdefault(place, name)
        spots = []
        for (y, x), name in places.items():
            spectrum = self._spectrum(y, x)
            if np.isfinite(spectrum).any():  # a preview's pixel may be the mean of few valid ones
                _, _, red, nir = spectrum[list(self.indices)].tolist()
                ndvi = (nir - red) / (nir + red) if nir + red else math.nan
                spots.append(Spot(name=name, x=x, y=y, ndvi=ndvi, spectrum=spectrum))
        return spots

    def _spectrum(self, y: int, x: int) -> FloatArray:
        """Mean spectrum (C,) of the valid pixels around a preview's pixel; NaN where none is."""
        size = self.cube.height, self.cube.width
        steps = [side / shown for side, shown in zip(size, self.bands.shape[1:], strict=True)]
        box = _BOX if _is_smoothed(self.bands) else 1
        height, width = (max(1, min(_SPOT_SIDE, int(box * step))) for step in steps)
        row = int((y + 0.5) * steps[0] - height / 2)
        col = int((x + 0.5) * steps[1] - width / 2)
        top, left = max(row, 0), max(col, 0)
        height, width = min(row + height, size[0]) - top, min(col + width, size[1]) - left
        pixels, valid = self.cube.read(Window(top, left, height, width))
        with np.errstate(invalid="ignore"):
            total = np.nansum(pixels.reshape(len(pixels), -1), axis=1)
            return np.asarray(total / np.count_nonzero(valid), float)


def _is_smoothed(bands: FloatArray | Float32Array) -> bool:
    return min(bands.shape[1:]) >= 10 * _BOX


def _smoothed(bands: FloatArray) -> FloatArray:
    """Means over a small box, NaN within half a box of nodata and edge; small images unchanged."""
    if not _is_smoothed(bands):
        return bands
    boxes = np.lib.stride_tricks.sliding_window_view(bands, (_BOX, _BOX), axis=(1, 2))
    margin = ((0, 0), (_BOX // 2, _BOX // 2), (_BOX // 2, _BOX // 2))
    means: FloatArray = np.pad(boxes.mean((3, 4)), margin, constant_values=np.nan)
    return means if np.isfinite(means).any() else bands


def _measures(bands: FloatArray) -> dict[str, FloatArray]:
    """Maps (y, x) of the NDVI, the brightness, and the brightness where little grows."""
    _, green, red, nir = bands
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        ndvi = (nir - red) / (nir + red)
    ndvi[~np.isfinite(ndvi)] = np.nan
    known = ndvi[np.isfinite(ndvi)]
    low = np.percentile(known, 20) if known.size else np.nan
    brightness = green + red + nir
    bare = np.where(ndvi <= low, brightness, np.nan)
    return {"ndvi": ndvi, "brightness": brightness, "bare": bare}


def _place_at(
    measure: FloatArray, percentile: float, taken: Sequence[tuple[int, int]]
) -> tuple[int, int] | None:
    """A pixel near this percentile of `measure`: away from those taken, else near the middle.

    None where `measure` has no finite value.
    """
    values = measure[np.isfinite(measure)]
    if not values.size:
        return None
    low, wanted, high = np.percentile(values, (percentile - 0.5, percentile, percentile + 0.5))
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
    """Read what a figure needs of a cube that uavssr wrote, through its overviews if there are any.

    Raises:
        InputRefused: not a cube with wavelengths, or one without a valid pixel.
    """
    cube = open_product(path)
    indices = tuple(cube.grid.nearest(nm) for nm in _SHOWN_NM)
    factor = max(1, max(cube.height, cube.width) / _LONGEST_SIDE)
    height, width = (max(1, round(side / factor)) for side in (cube.height, cube.width))
    bands = cube.decimated(indices, (height, width))
    if not np.isfinite(bands).all(0).any():
        raise InputRefused("holds no valid pixel to show", path=path)
    place, middle = cube.place, np.array([[cube.width / 2, cube.height / 2]])
    x, y = pixel_to_map(place.transform, middle)[0]
    metres = place.gsd[0] * metres_per_unit(place.crs_wkt, x=x, y=y)[0] * cube.width / width
    return CubePreview(cube=cube, indices=indices, bands=bands, metres_per_pixel=metres)
