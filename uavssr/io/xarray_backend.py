"""The xarray engine `uavssr`: coefficients as a lazy cube, computed where it is indexed.

xarray imports this at any `open_dataset`, so everything heavy is imported inside functions.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

if TYPE_CHECKING:
    from uavssr.io.hsi import CoefficientSource
    from uavssr.sensors import Float32Array, IndexArray

STRIP: Final = 256
"""Rows whose coefficients are in memory at a time, and side of the suggested chunks; pixels."""

_Key = tuple[int | slice | npt.NDArray[np.integer], ...]


class UavssrBackend(BackendEntrypoint):
    """Opens what `uavssr reconstruct --format coefficients` wrote."""

    description: ClassVar[str] = "Open hyperspectral coefficients of uavssr (.tif) as a lazy cube"
    open_dataset_parameters: ClassVar[tuple[str, ...] | None] = (
        "filename_or_obj",
        "drop_variables",
    )

    def open_dataset(  # type: ignore[override]  # xarray's own backends narrow it alike
        self,
        filename_or_obj: str | os.PathLike[str],
        *,
        drop_variables: str | Iterable[str] | None = None,
    ) -> xr.Dataset:
        """A dataset with `reflectance` (wavelength, y, x) float32, NaN where invalid.

        Raises:
            InputRefused: no file of coefficients, or a damaged one.
        """
        from uavssr.io.hsi import open_coefficients

        dataset = _dataset(open_coefficients(filename_or_obj))
        dropped = [drop_variables] if isinstance(drop_variables, str) else drop_variables or ()
        return dataset.drop_vars(dropped, errors="ignore")

    def guess_can_open(self, filename_or_obj: object) -> bool:
        """Whether it is a local GeoTIFF whose tags say that it holds coefficients."""
        if not isinstance(filename_or_obj, str | os.PathLike):
            return False
        if Path(filename_or_obj).suffix.lower() not in (".tif", ".tiff"):
            return False
        from uavssr.errors import InputRefused
        from uavssr.io.hsi import is_coefficient_file

        try:
            return is_coefficient_file(filename_or_obj)
        except InputRefused:
            return False


def _dataset(source: CoefficientSource) -> xr.Dataset:
    from uavssr.io.raster import coordinates

    grid, size = source.basis.grid, {"height": source.height, "width": source.width}
    lazy = indexing.LazilyIndexedArray(LazyCube(source))
    about = {"long_name": "reflectance", "units": "1", "grid_mapping": "spatial_ref"}
    chunks = {"y": STRIP, "x": STRIP}
    cube = xr.Variable(("wavelength", "y", "x"), lazy, about, {"preferred_chunks": chunks})
    nm = {"units": "nm", "standard_name": "radiation_wavelength"}
    width = {"units": "nm", "long_name": "full width at half maximum"}
    return xr.Dataset(
        {"reflectance": cube},
        coords={
            "wavelength": ("wavelength", grid.centres, nm),
            "fwhm": ("wavelength", grid.fwhm, width),
            **coordinates(source.place.crs_wkt, source.place.transform, **size),
        },
        attrs=source.provenance(),
    )


class LazyCube(BackendArray):
    """The cube of a file of coefficients, for any thread or process."""

    def __init__(self, source: CoefficientSource) -> None:
        self.source = source
        self.shape = len(source.basis.grid), source.height, source.width
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
        strips = rows // STRIP
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
        coefficients, valid = self.source.coefficients(window)
        down, across = np.ix_(rows - top, cols - left)
        cube = self.source.basis.expand(coefficients[:, down, across], bands=bands.tolist())
        cube[:, ~valid[down, across]] = np.nan
        return cube
