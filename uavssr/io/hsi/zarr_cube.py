"""Cubes in Zarr stores, as xarray and uavssr write them: place, wavelengths, scale and pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS
from rasterio.errors import CRSError

from uavssr.errors import InputRefused
from uavssr.io.checks import Layout, check_layout
from uavssr.io.hsi.wavelengths import make_grid
from uavssr.io.hsi.zarr_array import ZARR_REMEDY, ZarrArray, read_json
from uavssr.io.raster import BandMetadata, Transform, nanometres
from uavssr.sensors import BoolArray, Float32Array, WavelengthGrid
from uavssr.tiling import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class ZarrReader:
    """Reads windows of a cube, from any thread or process."""

    array: ZarrArray
    """(wavelength, y, x)."""

    @property
    def height(self) -> int:
        """Rows of the scene."""
        return self.array.shape[1]

    @property
    def width(self) -> int:
        """Columns of the scene."""
        return self.array.shape[2]

    def read(self, window: Window) -> tuple[npt.NDArray[np.generic], BoolArray]:
        """Stored numbers (band, y, x); all pixels may be valid, as a store has no mask.

        Raises:
            ValueError: the window reaches outside the scene.
            InputRefused: a chunk cannot be decoded.
        """
        bottom, right = window.row + window.height, window.col + window.width
        if min(window.row, window.col) < 0 or bottom > self.height or right > self.width:
            raise ValueError(f"{window} reaches outside a scene of {self.height} x {self.width}")
        numbers = self.array.read((slice(0, self.array.shape[0]), window.rows, window.cols))
        return numbers, np.ones(numbers.shape[1:], bool)

    def decimated(self, bands: Sequence[int], shape: tuple[int, int]) -> Float32Array:
        """Means (len(bands), *shape) of the valid stored numbers, NaN where there are none.

        A store has no overviews: all chunks that hold these bands are read.
        """
        return np.stack([self._decimated(band, shape) for band in bands])

    def _decimated(self, band: int, shape: tuple[int, int]) -> Float32Array:
        """One band, read by rows of chunks; a pixel counts where its upper left corner falls."""
        (height, width), side = self.array.shape[1:], self.array.chunks[1]
        total, count = np.zeros(shape), np.zeros(shape)
        cols = np.arange(width) * shape[1] // width
        for top in range(0, height, side):
            rows = slice(top, min(top + side, height))
            numbers = self.array.read((slice(band, band + 1), rows, slice(0, width)))[0]
            valid = np.isfinite(numbers) & (numbers != self.array.fill)
            into = np.ix_(np.arange(rows.start, rows.stop) * shape[0] // height, cols)
            np.add.at(total, into, np.where(valid, numbers, 0))
            np.add.at(count, into, valid)
        return (total / np.where(count > 0, count, np.nan)).astype(np.float32)


def is_zarr(path: Path) -> bool:
    """Whether a path is a folder that might be a Zarr store of version 2 or 3."""
    return path.is_dir() and any((path / name).is_file() for name in (".zgroup", "zarr.json"))


def check_cube(array: ZarrArray, *, max_pixels: int | None) -> None:
    """Refuse an array that is no cube or would exhaust the machine.

    Raises:
        InputRefused: other dimensions, or beyond the limits of `check_layout`.
    """
    if array.attributes.get("_ARRAY_DIMENSIONS") != ["wavelength", "y", "x"]:
        raise InputRefused(
            f"its array {array.name} has other dimensions than (wavelength, y, x)",
            path=array.path,
            remedy=ZARR_REMEDY,
        )
    bands, height, width = array.shape
    layout = Layout(
        width=width,
        height=height,
        bands=bands,
        bits=8 * array.dtype.itemsize,
        is_complex=False,
        block=(array.chunks[1], array.chunks[2]),
        block_bytes=math.prod(array.chunks) * array.dtype.itemsize,
    )
    claimed = layout.claimed_bytes  # a store does not state the bytes that it takes
    check_layout(layout, path=array.path, file_bytes=claimed, max_pixels=max_pixels)


def read_georeference(path: Path) -> tuple[CRS | None, Transform]:
    """The CRS and the geotransform (a, b, c, d, e, f) that the variable spatial_ref states.

    Raises:
        InputRefused: it states none that can be read.
    """
    about = read_json(path, "spatial_ref/.zattrs")
    wkt, numbers = about.get("crs_wkt"), str(about.get("GeoTransform", "")).split()
    try:
        c, a, b, f, d, e = map(float, numbers)
        return CRS.from_wkt(str(wkt)) if wkt else None, (a, b, c, d, e, f)
    except (CRSError, ValueError) as err:
        raise InputRefused(
            f"its spatial_ref holds no CRS and GeoTransform ({err})", path=path, remedy=ZARR_REMEDY
        ) from err


def read_store_grid(path: Path, *, count: int) -> WavelengthGrid:
    """The wavelengths of a store's cube of `count` bands.

    Raises:
        InputRefused: there is not one for each band, or they do not increase.
    """
    centres = _column(path, "wavelength", count)
    if None in centres:
        raise InputRefused("not a wavelength for every band", path=path, remedy=ZARR_REMEDY)
    unknown: list[float | None] = [None] * count
    widths = _column(path, "fwhm", count) if (path / "fwhm").is_dir() else unknown
    return make_grid(path, centres, widths)


def _column(path: Path, name: str, count: int) -> list[float | None]:
    array = ZarrArray.of(path, name)
    if array.shape != (count,):
        raise InputRefused(f"its {name} has shape {array.shape}, not ({count},)", path=path)
    values = array.read((slice(0, count),)).tolist()
    units = str(array.attributes.get("units", ""))
    return [nanometres(repr(value), units) for value in values]


def store_facts(array: ZarrArray, grid: WavelengthGrid) -> list[BandMetadata]:
    """Type, nodata and scale of the bands of a store's cube."""
    return [
        BandMetadata(
            file=array.path,
            index=number,
            alone=False,
            description="",
            colour="undefined",
            wavelength=float(centre),
            wavelength_from="wavelength coordinate",
            fwhm=float(width),
            dtype=array.dtype.name,
            nodata=array.fill,
            scale=_number(array.attributes.get("scale_factor"), 1.0),
            offset=_number(array.attributes.get("add_offset"), 0.0),
            masked=False,
        )
        for number, (centre, width) in enumerate(zip(grid.centres, grid.fwhm, strict=True), start=1)
    ]


def _number(value: object, default: float) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else default
