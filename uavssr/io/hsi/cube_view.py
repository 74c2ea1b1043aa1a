"""A finished cube of any of our formats, at the size of a figure and at single places.

For outputs of our own: `cube` reads those of others. Must not choose what is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.transform import Affine
from rasterio.windows import Window as RasterioWindow

from uavssr.errors import InputRefused
from uavssr.io.hsi.spectral_basis import CubeBasis, holds_coefficients
from uavssr.io.hsi.zarr_cube import (
    ZarrArray,
    ZarrReader,
    is_zarr,
    read_georeference,
    read_store_grid,
    store_facts,
)
from uavssr.sensors import Float32Array, FloatArray
from uavssr.tiling import Window

_REMEDY = "give a cube that uavssr wrote"


class CubeView(Protocol):
    """What can be seen of a cube, whatever its format."""

    @property
    def wavelengths(self) -> FloatArray:
        """(C,) nm."""

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def place(self) -> tuple[CRS | None, Affine]:
        """CRS and transform."""

    def decimated(self, bands: Sequence[int], shape: tuple[int, int]) -> Float32Array:
        """Means (len(bands), *shape) of reflectance, NaN where there is none."""

    def spectra(self, window: Window) -> Float32Array:
        """Reflectance (C, h, w) at full resolution, NaN where there is none."""


@contextmanager
def view_cube(path: Path) -> Iterator[CubeView]:
    """Open a cube to look at it.

    Raises:
        InputRefused: not a cube with wavelengths.
        RasterioError: GDAL cannot open it.
    """
    if is_zarr(path):
        yield StoreView.of(path)
        return
    driver = "ENVI" if path.suffix.lower() in (".dat", ".img") else "GTiff"
    readdir = "TRUE" if driver == "ENVI" else "EMPTY_DIR"
    with (
        rasterio.Env(GDAL_PAM_ENABLED="NO", GDAL_DISABLE_READDIR_ON_OPEN=readdir),
        rasterio.open(path, driver=driver) as dataset,
    ):
        tags = dataset.tags()
        if holds_coefficients(tags):
            basis = CubeBasis.of_tags(tags, rank=dataset.count, path=path)
            yield CoefficientView(dataset=dataset, basis=basis)
        else:
            yield FileView(dataset=dataset, wavelengths=_wavelengths(dataset, path))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """What views of files that GDAL opens have in common."""

    dataset: DatasetReader
    """The open file."""

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.dataset.height, self.dataset.width

    @property
    def place(self) -> tuple[CRS | None, Affine]:
        """CRS and transform."""
        return self.dataset.crs, self.dataset.transform

    def _mean(self, bands: Sequence[int], shape: tuple[int, int]) -> Float32Array:
        """Stored numbers through the overviews."""
        read = self.dataset.read(
            [k + 1 for k in bands],
            out_shape=(len(bands), *shape),
            resampling=Resampling.average,
            masked=True,
        )
        return np.ma.filled(read.astype(np.float32), np.nan)

    def _at(self, window: Window) -> Float32Array:
        part = RasterioWindow(window.col, window.row, window.width, window.height)
        read = self.dataset.read(window=part, masked=True)
        return np.ma.filled(read.astype(np.float32), np.nan)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileView(_Opened):
    """A GeoTIFF or an ENVI file that holds a cube."""

    wavelengths: FloatArray
    """(C,) nm."""

    def decimated(self, bands: Sequence[int], shape: tuple[int, int]) -> Float32Array:
        """Means (len(bands), *shape) of reflectance, NaN where there is none."""
        return self._mean(bands, shape) * np.float32(self.dataset.scales[0])

    def spectra(self, window: Window) -> Float32Array:
        """Reflectance (C, h, w) at full resolution, NaN where there is none."""
        return self._at(window) * np.float32(self.dataset.scales[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class CoefficientView(_Opened):
    """A GeoTIFF of coefficients; the mean of spectra is that of the mean coefficients."""

    basis: CubeBasis
    """What they are coefficients of."""

    @property
    def wavelengths(self) -> FloatArray:
        """(C,) nm."""
        return self.basis.grid.centres

    def decimated(self, bands: Sequence[int], shape: tuple[int, int]) -> Float32Array:
        """Means (len(bands), *shape) of reflectance, NaN where there is none."""
        return self.basis.expand(self._mean(range(self.basis.rank), shape), bands=bands)

    def spectra(self, window: Window) -> Float32Array:
        """Reflectance (C, h, w) at full resolution, NaN where there is none."""
        return self.basis.expand(self._at(window))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreView:
    """A Zarr store, which has no overviews: a preview reads all of its bands' chunks."""

    reader: ZarrReader
    """Gives the stored numbers."""
    wavelengths: FloatArray
    """(C,) nm."""
    place: tuple[CRS | None, Affine]
    """CRS and transform."""
    scale: float
    """Reflectance of one count."""

    @classmethod
    def of(cls, path: Path) -> StoreView:
        """Open a store.

        Raises:
            InputRefused: it holds no cube of ours.
        """
        array = ZarrArray.of(path, "reflectance")
        grid = read_store_grid(path, count=array.shape[0])
        crs, transform = read_georeference(path)
        return cls(
            reader=ZarrReader(array=array),
            wavelengths=grid.centres,
            place=(crs, Affine(*transform)),
            scale=store_facts(array, grid)[0].scale,
        )

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.reader.height, self.reader.width

    def decimated(self, bands: Sequence[int], shape: tuple[int, int]) -> Float32Array:
        """Means (len(bands), *shape) of reflectance, NaN where there is none."""
        return np.stack([self._decimated(band, shape) for band in bands])

    def _decimated(self, band: int, shape: tuple[int, int]) -> Float32Array:
        """One band, a row of chunks at a time: each pixel counts where its centre falls."""
        (height, width), side = self.size, self.reader.array.chunks[1]
        total, count = np.zeros(shape), np.zeros(shape)
        cols = np.arange(width) * shape[1] // width
        for top in range(0, height, side):
            rows = slice(top, min(top + side, height))
            box = slice(band, band + 1), rows, slice(0, width)
            values = self._reflectance(self.reader.array.read(box)[0])
            into = np.ix_(np.arange(rows.start, rows.stop) * shape[0] // height, cols)
            known = np.isfinite(values)
            np.add.at(total, into, np.where(known, values, 0))
            np.add.at(count, into, known)
        with np.errstate(invalid="ignore"):
            return (total / np.where(count > 0, count, np.nan)).astype(np.float32)

    def spectra(self, window: Window) -> Float32Array:
        """Reflectance (C, h, w) at full resolution, NaN where there is none."""
        return self._reflectance(self.reader.read(window)[0])

    def _reflectance(self, numbers: npt.NDArray[np.generic]) -> Float32Array:
        fill = self.reader.array.fill
        values = np.where(numbers == fill, np.nan, numbers) * self.scale
        return values.astype(np.float32)


def _wavelengths(dataset: DatasetReader, path: Path) -> FloatArray:
    try:
        return np.array([float(dataset.tags(k)["wavelength"]) for k in dataset.indexes])
    except (KeyError, ValueError) as err:
        raise InputRefused("its bands have no wavelengths", path=path, remedy=_REMEDY) from err
