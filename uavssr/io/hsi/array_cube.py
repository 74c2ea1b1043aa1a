"""Cubes as arrays of xarray: read window by window, so that lazy ones are computed in parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from uavssr.errors import InputRefused
from uavssr.io.hsi.cube import CubeSource, as_tagged, judged
from uavssr.io.hsi.wavelengths import Column, make_grid
from uavssr.io.raster import BandMetadata, array_place, nanometres
from uavssr.sensors import BoolArray, Float32Array, NumberArray, WavelengthGrid
from uavssr.tiling import Window

if TYPE_CHECKING:
    import xarray as xr

_DIMS: Final = ("wavelength", "y", "x")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArrayReader:
    """Reads windows of a cube in memory, or computes those of a lazy one."""

    array: xr.DataArray
    """(wavelength, y, x)."""

    @property
    def height(self) -> int:
        """Rows."""
        return self.array.sizes["y"]

    @property
    def width(self) -> int:
        """Columns."""
        return self.array.sizes["x"]

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns of the first chunk; the whole scene without chunks."""
        chunks = self.array.chunksizes
        rows, cols = (chunks.get(d, (self.array.sizes[d],))[0] for d in ("y", "x"))
        return rows, cols

    def read(self, window: Window) -> tuple[NumberArray, BoolArray]:
        """Numbers (band, y, x); all pixels may be valid, as an array has no mask."""
        numbers = self.array.isel(y=window.rows, x=window.cols).to_numpy()
        return numbers, np.ones(numbers.shape[1:], bool)

    def decimated(self, bands: Sequence[int], shape: tuple[int, int]) -> Float32Array:
        """Means (len(bands), *shape) of the finite numbers, NaN where there are none."""
        numbers = self.array.isel(wavelength=list(bands)).to_numpy()
        finite = np.isfinite(numbers)
        rows, cols = (np.arange(n) * m // n for n, m in zip(numbers.shape[1:], shape, strict=True))
        into = np.ix_(rows, cols)
        total, count = np.zeros((2, len(bands), *shape))
        for band, valid in enumerate(finite):
            np.add.at(total[band], into, np.where(valid, numbers[band], 0))
            np.add.at(count[band], into, valid)
        return (total / np.where(count > 0, count, np.nan)).astype(np.float32)


def cube_of_array(cube: xr.DataArray | xr.Dataset) -> CubeSource:
    """A cube that is an array (wavelength, y, x), or the variable `reflectance` of a dataset.

    Numbers are reflectance if the attribute `units` is "1", or uavssr made the cube; others are
    judged as those of a file are.

    Raises:
        InputRefused: no such array, no CRS, no wavelengths, or numbers that are no reflectance.
    """
    array = _reflectance(cube)
    path = Path("array" if array.name is None else str(array.name))
    tags = {str(key): str(value) for key, value in {**array.attrs, **cube.attrs}.items()}
    array, grid = _by_wavelength(array, path)
    bands = [_band(array, path, number) for number in range(1, len(grid) + 1)]
    opened = as_tagged(array_place(array, path), grid, bands, ArrayReader(array=array), tags)
    if opened.cube.model or array.attrs.get("units") == "1":
        return opened.cube
    return judged(opened, None)


def _reflectance(cube: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """The array with its dimensions in order."""
    import xarray as xr

    if isinstance(cube, xr.Dataset):
        name = "reflectance"
        if name not in cube:
            raise InputRefused(
                f"the dataset has no variable {name} (but {', '.join(map(str, cube)) or 'none'})",
                remedy=f"name it {name}, or give its array",
            )
        cube = cube[name]
    if set(cube.dims) != set(_DIMS):
        raise InputRefused(
            f"the array has the dimensions {cube.dims}, and not {_DIMS}",
            remedy="rename them: array.rename(old=new)",
        )
    return cube.transpose(*_DIMS)


def _by_wavelength(array: xr.DataArray, path: Path) -> tuple[xr.DataArray, WavelengthGrid]:
    """The array by increasing wavelength, and its grid."""
    if "wavelength" not in array.coords:
        raise InputRefused("no coordinate wavelength", path=path, remedy="assign it, in nm")
    if array["wavelength"][0] > array["wavelength"][-1]:
        array = array.isel(wavelength=slice(None, None, -1))
    centres = _column(array["wavelength"])
    if None in centres:
        raise InputRefused("a wavelength that is no number", path=path, remedy="assign it, in nm")
    unknown: Column = [None] * len(centres)
    widths = _column(array["fwhm"]) if "fwhm" in array.coords else unknown
    return array, make_grid(path, centres, widths)


def _column(values: xr.DataArray) -> Column:
    units = str(values.attrs.get("units", ""))
    return [nanometres(repr(value), units) for value in values.to_numpy().tolist()]


def _band(array: xr.DataArray, path: Path, number: int) -> BandMetadata:
    """What a band states of itself; numbers that rioxarray has not scaled have scale attributes."""
    nodata = array.attrs.get("_FillValue")
    return BandMetadata(
        file=path,
        index=number,
        alone=False,
        description="",
        colour="undefined",
        wavelength=None,
        wavelength_from="",
        fwhm=None,
        dtype=array.dtype.name,
        nodata=None if nodata is None else float(nodata),
        scale=float(array.attrs.get("scale_factor", 1)),
        offset=float(array.attrs.get("add_offset", 0)),
        masked=False,
    )
