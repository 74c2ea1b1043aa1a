"""A hyperspectral cube on another raster's grid: of another CRS, resolution and footprint.

Only the pixels that a window needs are read and warped. Points are arrays (n, 2): (column, row)
counted from the outer corner of the first pixel, or (x, y).
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import rasterio.warp
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import CRSError
from rasterio.transform import Affine

from uavssr.errors import InputRefused
from uavssr.io.checks import GDAL_ERRORS
from uavssr.io.hsi.cube import CubeSource
from uavssr.io.hsi.map_file import MapFile
from uavssr.io.raster import Transform, crs_name, is_local
from uavssr.sensors import BoolArray, Float32Array, FloatArray
from uavssr.tiling import Window

AVERAGING_RATIO: Final = 0.75
"""Length of a cube's pixel in target pixels below which it is averaged, else interpolated."""
_FULL_COVER: Final = 0.999
"""Share of the weights that must come from valid pixels for a warped pixel to be valid."""
_WARPING: Final = threading.Lock()
"""rasterio silences a warning of its own while it warps, which works in one thread at a time."""
_EDGE: Final = 2
"""Pixels read beyond those that a window covers, for the interpolation."""
_MAX_PIXELS: Final = 2**18
"""Pixels of the cube that are read at once; 270 bands of them take 283 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetGrid:
    """The grid that a cube is brought to."""

    height: int
    """Rows."""
    width: int
    """Columns."""
    crs_wkt: str
    """Its coordinate reference system."""
    transform: Transform
    """Affine a, b, c, d, e, f."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarpedCube:
    """A cube on a target's grid, read window by window."""

    cube: CubeSource | MapFile
    """The cube, or maps, on their own grid."""
    target: TargetGrid
    """The grid to bring it to."""
    shift: tuple[float, float] = (0.0, 0.0)
    """Rows and columns of the target by which the cube's content is moved down and right."""

    @property
    def bands(self) -> int:
        """Number of wavelengths, or of maps."""
        return self.cube.bands if isinstance(self.cube, MapFile) else len(self.cube.grid)

    @property
    def height(self) -> int:
        """Rows of the target."""
        return self.target.height

    @property
    def width(self) -> int:
        """Columns of the target."""
        return self.target.width

    @property
    def ratio(self) -> float:
        """Length of the cube's pixel in pixels of the target, at the middle of the target."""
        middle = np.array([[self.width / 2, self.height / 2]])
        steps = middle + np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        origin, right, down = self._to_cube(steps)
        (a, b), (c, d) = right - origin, down - origin
        return 1 / math.sqrt(abs(a * d - b * c))

    @property
    def averages(self) -> bool:
        """Whether pixels of the cube are averaged, not interpolated."""
        return self.ratio < AVERAGING_RATIO

    def read(self, window: Window) -> tuple[Float32Array, BoolArray]:
        """Reflectance (C, y, x), NaN where invalid, and the pixels valid in every band (y, x).

        A cube finer than the target is averaged over each target pixel, any other interpolated
        bilinearly: both give convex mixtures of spectra that were measured.

        Raises:
            InputRefused: the cube cannot be read, or its coordinates not be transformed.
        """
        cube = np.full((self.bands, window.height, window.width), np.nan, np.float32)
        valid = np.zeros((window.height, window.width), bool)
        source = self._source_window(window)
        if source is None:
            return cube, valid
        if source.height * source.width <= _MAX_PIXELS or max(window.height, window.width) == 1:
            return self._read(window, source)
        for part in _halves(window):
            place = slice(None), *part.within(window)
            cube[place], valid[place[1:]] = self.read(part)
        return cube, valid

    def _read(self, window: Window, source: Window) -> tuple[Float32Array, BoolArray]:
        spectra, valid = self.cube.read(source)
        # Zeros, not NaN: GDAL would leave NaN out of the mean, which shifts borders to one side.
        spectra[:, ~valid] = 0
        warped = self._warp(spectra, source, window)
        cover = self._warp(valid[None].astype(np.float32), source, window)[0]
        covered = cover >= _FULL_COVER
        warped[:, ~covered] = np.nan
        return warped, covered

    def common(self) -> Window | None:
        """The smallest window of the target that holds what the cube covers of it; None: nothing.

        It follows from the cube's outline; nothing is read.
        """
        cube, place = self.cube, self.cube.place
        points = pixel_to_map(
            place.transform, window_outline(Window(0, 0, cube.height, cube.width))
        )
        ground = reproject_points(points, place.crs_wkt, self.target.crs_wkt)
        points = map_to_pixel(self.target.transform, ground) + self.shift[::-1]
        return window_around(points, Window(0, 0, self.height, self.width))

    def _source_window(self, window: Window) -> Window | None:
        """The cube's pixels that a window of the target needs; None where there are none."""
        scene = Window(0, 0, self.cube.height, self.cube.width)
        return window_around(self._to_cube(window_outline(window)), scene, margin=_EDGE)

    def _to_cube(self, points: FloatArray) -> FloatArray:
        """Places (n, 2) given as (column, row) of the target, as (column, row) of the cube."""
        ground = pixel_to_map(self.target.transform, points - self.shift[::-1])
        place = self.cube.place
        own = reproject_points(ground, self.target.crs_wkt, place.crs_wkt)
        return map_to_pixel(place.transform, own)

    def _warp(self, numbers: Float32Array, source: Window, window: Window) -> Float32Array:
        """Numbers (band, y, x) of the cube's window `source`, warped to a window of the target."""
        start = window.col - self.shift[1], window.row - self.shift[0]
        warped = np.zeros((len(numbers), window.height, window.width), np.float32)
        method = Resampling.average if self.averages else Resampling.bilinear
        try:
            with _WARPING:
                rasterio.warp.reproject(
                    numbers,
                    warped,
                    src_transform=_starting(self.cube.place.transform, source.col, source.row),
                    src_crs=CRS.from_wkt(self.cube.place.crs_wkt),
                    dst_transform=_starting(self.target.transform, *start),
                    dst_crs=CRS.from_wkt(self.target.crs_wkt),
                    resampling=method,
                    init_dest_nodata=True,
                    tolerance=0,  # exact coordinates: the default may be an eighth of a pixel off
                )
        except (*GDAL_ERRORS, CRSError) as err:
            raise InputRefused(f"cannot be warped: {err}", path=self.cube.path) from err
        return warped


def _starting(transform: Transform, column: float, row: float) -> Affine:
    """A geotransform of the same pixels, counted from another one."""
    origin = pixel_to_map(transform, np.array([[column, row]]))[0]
    a, b, _, d, e, _ = transform
    return Affine(a, b, origin[0], d, e, origin[1])


def window_around(points: FloatArray, scene: Window, margin: int = 0) -> Window | None:
    """The pixels of a scene around points (n, 2) given as (column, row); None: there are none.

    With `margin` more on every side.
    """
    if not np.isfinite(points).all():
        return None
    left, top = map(int, np.floor(points.min(0)))
    right, bottom = map(int, np.ceil(points.max(0)))
    rows, cols = bottom - top + 2 * margin, right - left + 2 * margin
    return Window(top - margin, left - margin, rows, cols).intersection(scene)


def _halves(window: Window) -> tuple[Window, Window]:
    """A window cut across its longer side."""
    if window.height >= window.width:
        half = window.height // 2
        rest = replace(window, row=window.row + half, height=window.height - half)
        return replace(window, height=half), rest
    half = window.width // 2
    rest = replace(window, col=window.col + half, width=window.width - half)
    return replace(window, width=half), rest


def window_outline(window: Window, steps: int = 9) -> FloatArray:
    """Places (n, 2) as (column, row) all around a window: its sides may bend in another CRS."""
    share = np.linspace(0, 1, steps)
    columns, rows = window.col + share * window.width, window.row + share * window.height
    top, left = np.full(steps, window.row), np.full(steps, window.col)
    bottom, right = top + window.height, left + window.width
    sides = [(columns, top), (columns, bottom), (left, rows), (right, rows)]
    return np.concatenate([np.stack(side, axis=1) for side in sides]).astype(float)


def pixel_to_map(transform: Transform, points: FloatArray) -> FloatArray:
    """Map coordinates (n, 2) of points (n, 2) given as (column, row)."""
    return _apply(_matrix(transform), points)


def map_to_pixel(transform: Transform, points: FloatArray) -> FloatArray:
    """(column, row) of points (n, 2) given in map coordinates."""
    return _apply(np.asarray(np.linalg.inv(_matrix(transform)), float), points)


def reproject_points(points: FloatArray, source_wkt: str, target_wkt: str) -> FloatArray:
    """Points (n, 2) of one CRS in another; infinite where they have no coordinates there.

    Raises:
        InputRefused: PROJ knows no transformation between the two.
    """
    if source_wkt == target_wkt:
        return points
    source, target = CRS.from_wkt(source_wkt), CRS.from_wkt(target_wkt)
    try:
        x, y = rasterio.warp.transform(source, target, *points.T.tolist())[:2]
    except (*GDAL_ERRORS, CRSError) as err:
        local = [crs_name(crs) for crs in (source, target) if is_local(crs.to_wkt())]
        remedy = "check the coordinates: are longitude and latitude swapped?"
        if local:
            remedy = (
                "georeference the raster with local coordinates; if only its CRS is wrong: "
                "rio edit-info --crs EPSG:CODE FILE"
            )
        names = f"{crs_name(source)} to {crs_name(target)}"
        marked = f": the coordinates of {' and '.join(local)} are local" if local else f": {err}"
        raise InputRefused(f"no way from {names}{marked}", remedy=remedy) from err
    return np.stack([x, y], axis=1)


def _matrix(transform: Transform) -> FloatArray:
    """A geotransform as a matrix (3, 3) from (column, row, 1) to (x, y, 1)."""
    return np.array([transform[:3], transform[3:], (0.0, 0.0, 1.0)])


def _apply(matrix: FloatArray, points: FloatArray) -> FloatArray:
    # (x, y) = A (column, row) + b
    return points @ matrix[:2, :2].T + matrix[:2, 2]
