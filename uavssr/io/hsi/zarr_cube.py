"""Cubes in Zarr stores, as xarray and uavssr write them: place, wavelengths, scale and pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from rasterio.crs import CRS
from rasterio.errors import CRSError

from uavssr.errors import InputRefused
from uavssr.io.checks import Layout, check_layout
from uavssr.io.hsi.wavelengths import Column, make_grid
from uavssr.io.hsi.zarr_array import ZARR_REMEDY, open_array, read_json
from uavssr.io.raster import BandMetadata, Place, make_place, nanometres
from uavssr.sensors import BoolArray, Float32Array, NumberArray, WavelengthGrid
from uavssr.tiling import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class ZarrReader:
    """Reads windows of a cube, from any thread or process."""

    path: Path
    """The store."""
    array: zarr.Array[Any]
    """(wavelength, y, x)."""

    @classmethod
    def of(cls, path: Path, *, max_pixels: int | None) -> ZarrReader:
        """The reader of a store's cube; any other store and too large ones are refused."""
        array = open_array(path, "reflectance")
        named = array.attrs.get("_ARRAY_DIMENSIONS")
        if named != ["wavelength", "y", "x"] or len(array.shape) != len(named):
            raise InputRefused(
                "its array reflectance has other dimensions than (wavelength, y, x)",
                path=path,
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
        check_layout(layout, path=path, file_bytes=claimed, max_pixels=max_pixels)
        return cls(path=path, array=array)

    @property
    def height(self) -> int:
        """Rows of the scene."""
        return self.array.shape[1]

    @property
    def width(self) -> int:
        """Columns of the scene."""
        return self.array.shape[2]

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns of a chunk."""
        return self.array.chunks[1], self.array.chunks[2]

    @property
    def nodata(self) -> float:
        """The stored number of missing chunks."""
        return float(self.array.fill_value or 0)

    def read(self, window: Window) -> tuple[NumberArray, BoolArray]:
        """Stored numbers (band, y, x); all pixels may be valid, as a store has no mask."""
        bottom, right = window.row + window.height, window.col + window.width
        if min(window.row, window.col) < 0 or bottom > self.height or right > self.width:
            raise ValueError(f"{window} reaches outside a scene of {self.height} x {self.width}")
        numbers = np.ascontiguousarray(self.array[:, window.rows, window.cols])
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
            numbers = np.asarray(self.array[band, rows])
            valid = np.isfinite(numbers) & (numbers != self.nodata)
            into = np.ix_(np.arange(rows.start, rows.stop) * shape[0] // height, cols)
            np.add.at(total, into, np.where(valid, numbers, 0))
            np.add.at(count, into, valid)
        return (total / np.where(count > 0, count, np.nan)).astype(np.float32)


def read_store_place(path: Path, size: tuple[int, int], assume_crs: str | None) -> Place:
    """The place that a store's variable spatial_ref states for a cube of (rows, columns)."""
    about = read_json(path, "spatial_ref/.zattrs")
    wkt, numbers = about.get("crs_wkt"), str(about.get("GeoTransform", "")).split()
    try:
        c, a, b, f, d, e = map(float, numbers)
        crs = CRS.from_wkt(str(wkt)) if wkt else None
    except (CRSError, ValueError) as err:
        raise InputRefused(
            f"its spatial_ref holds no CRS and GeoTransform ({err})", path=path, remedy=ZARR_REMEDY
        ) from err
    return make_place(path, crs=crs, transform=(a, b, c, d, e, f), size=size, assume_crs=assume_crs)


def read_store_tags(path: Path) -> dict[str, str]:
    """The attributes of a store by their names in lower case."""
    return {key.lower(): str(value) for key, value in read_json(path, ".zattrs").items()}


def read_store_grid(path: Path, *, count: int) -> WavelengthGrid:
    """The wavelengths of a store's cube of `count` bands; each needs one."""
    centres = _column(path, "wavelength", count)
    if None in centres:
        raise InputRefused("not a wavelength for every band", path=path, remedy=ZARR_REMEDY)
    unknown: Column = [None] * count
    widths = _column(path, "fwhm", count) if (path / "fwhm").is_dir() else unknown
    return make_grid(path, centres, widths)


def _column(path: Path, name: str, count: int) -> Column:
    array = open_array(path, name)
    if array.shape != (count,):
        raise InputRefused(f"its {name} has shape {array.shape}, not ({count},)", path=path)
    units = str(array.attrs.get("units", ""))
    return [nanometres(repr(value), units) for value in np.asarray(array[:]).tolist()]


def store_bands(reader: ZarrReader, grid: WavelengthGrid) -> list[BandMetadata]:
    """Type, nodata and scale of the bands of a store's cube."""
    attributes = reader.array.attrs
    return [
        BandMetadata(
            file=reader.path,
            index=number,
            alone=False,
            description="",
            colour="undefined",
            wavelength=float(centre),
            wavelength_from="wavelength coordinate",
            fwhm=float(width),
            dtype=reader.array.dtype.name,
            nodata=_fill_value(reader.array),
            scale=_number(attributes.get("scale_factor"), 1.0),
            offset=_number(attributes.get("add_offset"), 0.0),
            masked=False,
        )
        for number, (centre, width) in enumerate(zip(grid.centres, grid.fwhm, strict=True), start=1)
    ]


def _fill_value(array: zarr.Array[Any]) -> float | None:
    """The stored number that stands for no data, by CF's attributes or the array itself."""
    for value in (*map(array.attrs.get, ("_FillValue", "missing_value")), array.fill_value):
        if value is not None:
            return float(value)
    return None


def _number(value: object, default: float) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else default
