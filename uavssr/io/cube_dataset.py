"""Cubes as datasets: `reflectance` (wavelength, y, x) of any file, computed where it is indexed."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from uavssr.errors import InputRefused
from uavssr.io.hsi import (
    QUANTITY_TAG,
    STANDARD_ERROR,
    CubeSource,
    open_cube_source,
    open_product,
)
from uavssr.io.raster import check_aligned, coordinates
from uavssr.io.stf import read_stf, stf_has_grid, stf_path

if TYPE_CHECKING:
    from uavssr.io.checks import PathLike
    from uavssr.sensors import Float32Array, IndexArray

CHUNK_SIDE: Final = 256
"""Side in pixels of chunks, which are made up of whole blocks of the file."""

_Key = tuple[int | slice | npt.NDArray[np.integer], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CubeFiles:
    """A cube's file, and the files that belong to it."""

    path: PathLike
    """The cube."""
    scale: float | str | None = None
    """Reflectance per stored number, where the file does not say."""
    assume_crs: str | None = None
    """AUTHORITY:CODE for a file without a CRS."""
    max_pixels: int | None = None
    """Limit for rows x columns; also allows a file that is mostly sparse."""
    uncertainty: PathLike | None = None
    """The file of standard errors."""
    stf: PathLike | None = None
    """The STF file of the run; by default `<stem>.stf.nc` beside the cube, if it is there."""


def open_cube(
    path: PathLike,
    *,
    scale: float | str | None = None,
    assume_crs: str | None = None,
    max_pixels: int | None = None,
    uncertainty: PathLike | None = None,
    stf: PathLike | None = None,
) -> xr.Dataset:
    """Open a cube of any format as a lazy dataset of dask chunks that fit the file's blocks.

    Doubtful facts, such as untagged fill, are given as a `UserWarning`.

    Args:
        path: a GeoTIFF, an ENVI file, a Zarr store, or a file of coefficients.
        scale: reflectance = stored number x scale; else tags or the numbers' range must tell.
        assume_crs: AUTHORITY:CODE for a file without a CRS.
        max_pixels: limit for rows x columns; also allows a file that is mostly sparse.
        uncertainty: what `reconstruct --uncertainty` wrote, as `reflectance_se`.
        stf: the STF file of the run; by default `<stem>.stf.nc` beside the cube, if it is there.

    Returns:
        `reflectance` (wavelength, y, x) float32, NaN where invalid, and `reflectance_se` with
        `uncertainty`. Coordinates are wavelength and fwhm (nm), spatial_ref, and y, x unless the
        raster is rotated. With an STF file also its variables, as `uavssr.reconstruct` gives them.

    Raises:
        UsageError: an option makes no sense.
        InputRefused: a file is unsafe, broken or ambiguous, or the files do not fit each other.

    Examples:
        >>> import uavssr  # hsi.tif: uavssr reconstruct examples/field.tif --out hsi.tif
        >>> cube = uavssr.open_cube("hsi.tif")
        >>> cube.reflectance.dims, cube.sizes["wavelength"]
        (('wavelength', 'y', 'x'), 270)
        >>> cube.scene_centre.sel(band="red").round().item()  # nm, of the STF beside the cube
        650.0
    """
    files = CubeFiles(
        path=path,
        scale=scale,
        assume_crs=assume_crs,
        max_pixels=max_pixels,
        uncertainty=uncertainty,
        stf=stf,
    )
    dataset = cube_dataset(files)
    lazy = {name: dataset[name] for name in ("reflectance", "reflectance_se") if name in dataset}
    return dataset.assign(
        {name: array.chunk(array.encoding["preferred_chunks"]) for name, array in lazy.items()}
    )


def cube_dataset(files: CubeFiles) -> xr.Dataset:
    """The dataset that `open_cube` describes, lazy without dask.

    Raises:
        UsageError, InputRefused: see `open_cube`.
    """
    cube = open_cube_source(
        files.path,
        scale=files.scale,
        assume_crs=files.assume_crs,
        max_pixels=files.max_pixels,
    )
    for text in cube.warnings:
        warnings.warn(text, UserWarning, stacklevel=3)
    nm = {"units": "nm", "standard_name": "radiation_wavelength"}
    width = {"units": "nm", "long_name": "full width at half maximum"}
    place, size = cube.place, {"height": cube.height, "width": cube.width}
    dataset = xr.Dataset(
        {"reflectance": _variable(cube, "reflectance")},
        coords={
            "wavelength": ("wavelength", cube.grid.centres, nm),
            "fwhm": ("wavelength", cube.grid.fwhm, width),
            **coordinates(place.crs_wkt, place.transform, **size),
        },
        attrs=dict(cube.provenance),
    )
    if files.uncertainty is not None:
        errors = open_product(files.uncertainty)
        if errors.provenance.get(QUANTITY_TAG) != STANDARD_ERROR:
            raise InputRefused(
                f"does not hold the {STANDARD_ERROR}",
                path=errors.path,
                remedy="give what uavssr reconstruct --uncertainty wrote",
            )
        check_aligned(errors.place, place)
        if not errors.grid.matches(cube.grid):
            raise InputRefused(
                f"has other wavelengths than {cube.path}",
                path=errors.path,
                remedy="give the standard errors that the run of this cube wrote",
            )
        dataset["reflectance_se"] = _variable(errors, STANDARD_ERROR)
    return _with_stf(dataset, cube, files.stf)


def _with_stf(dataset: xr.Dataset, cube: CubeSource, stf: PathLike | None) -> xr.Dataset:
    """The dataset with the scene's STF, where a file is given or lies beside the cube."""
    beside = stf_path(cube.path)
    if stf is None and not (cube.model and beside.exists() and stf_has_grid(beside, cube.grid)):
        return dataset
    scene = read_stf(beside if stf is None else stf, sensor=None, grid=cube.grid)
    scene = scene.drop_dims("tile", errors="ignore").drop_vars(("wavelength", "spatial_ref"))
    return dataset.assign_coords(band=scene["band"]).assign(scene.data_vars)


def _variable(cube: CubeSource, title: str) -> xr.Variable:
    lazy = indexing.LazilyIndexedArray(LazyCube(cube))
    about = {"long_name": title, "units": "1", "grid_mapping": "spatial_ref"}
    rows, cols = chunk_shape(cube)
    chunks = {"y": rows, "x": cols}
    return xr.Variable(("wavelength", "y", "x"), lazy, about, {"preferred_chunks": chunks})


def chunk_shape(cube: CubeSource) -> tuple[int, int]:
    """Rows and columns of chunks of about 256 x 256 pixels, made up of whole blocks."""
    rows, cols = cube.block
    cols *= max(1, CHUNK_SIDE // cols)
    rows *= max(1, CHUNK_SIDE**2 // cols // rows)
    return min(rows, cube.height), min(cols, cube.width)


class LazyCube(BackendArray):
    """The reflectance of a cube's file, for any thread or process."""

    def __init__(self, source: CubeSource) -> None:
        self.source = source
        self.rows = chunk_shape(source)[0]
        self.shape = len(source.grid), source.height, source.width
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Float32Array:
        support = indexing.IndexingSupport.OUTER
        part: Float32Array = indexing.explicit_indexing_adapter(
            key, self.shape, support, self._read
        )
        return part

    def _read(self, key: _Key) -> Float32Array:
        """The part that an index of integers, slices and arrays, one for each axis, selects."""
        bands, rows, cols = (
            np.atleast_1d(np.arange(length)[index])
            for length, index in zip(self.shape, key, strict=True)
        )
        cube = np.empty((bands.size, rows.size, cols.size), np.float32)
        strips = rows // self.rows
        for strip in np.unique(strips) if cube.size else ():
            chosen = strips == strip
            cube[:, chosen] = self._strip(bands, rows[chosen], cols)
        whole = (k for k, index in enumerate(key) if isinstance(index, int | np.integer))
        return cube.squeeze(tuple(whole))

    def _strip(self, bands: IndexArray, rows: IndexArray, cols: IndexArray) -> Float32Array:
        """Reflectance (band, y, x) at the rows and columns of one strip, none of them empty."""
        from uavssr.tiling import Window

        top, left = int(rows.min()), int(cols.min())
        window = Window(top, left, int(rows.max()) - top + 1, int(cols.max()) - left + 1)
        down, across = np.ix_(rows - top, cols - left)
        return self.source.read_bands(window, bands.tolist())[:, down, across]
