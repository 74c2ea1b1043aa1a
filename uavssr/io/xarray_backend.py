"""The xarray engine `uavssr`: any cube as a lazy dataset, as `uavssr.open_cube` gives it.

xarray imports this at any `open_dataset`, so everything heavy is imported inside functions.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import xarray as xr
from xarray.backends import BackendEntrypoint


class UavssrBackend(BackendEntrypoint):
    """Opens cubes: GeoTIFF, ENVI, Zarr, and what `reconstruct --format coefficients` wrote."""

    description: ClassVar[str] = "Open hyperspectral cubes and coefficients of uavssr lazily"
    open_dataset_parameters: ClassVar[tuple[str, ...] | None] = (
        "filename_or_obj",
        "drop_variables",
        "scale",
        "assume_crs",
        "max_pixels",
        "uncertainty",
        "stf",
    )

    def open_dataset(  # type: ignore[override]  # xarray's own backends narrow it alike
        self,
        filename_or_obj: str | os.PathLike[str],
        *,
        drop_variables: str | Iterable[str] | None = None,
        scale: float | str | None = None,
        assume_crs: str | None = None,
        max_pixels: int | None = None,
        uncertainty: str | os.PathLike[str] | None = None,
        stf: str | os.PathLike[str] | None = None,
    ) -> xr.Dataset:
        """The dataset of `uavssr.open_cube`, lazy without dask unless `chunks` is given.

        Raises:
            UsageError, InputRefused: see `uavssr.open_cube`.
        """
        import uavssr.api  # noqa: F401 - registers the accessor
        from uavssr.io.cube_dataset import CubeFiles, cube_dataset

        files = CubeFiles(
            path=filename_or_obj,
            scale=scale,
            assume_crs=assume_crs,
            max_pixels=max_pixels,
            uncertainty=uncertainty,
            stf=stf,
        )
        dropped = [drop_variables] if isinstance(drop_variables, str) else drop_variables or ()
        return cube_dataset(files).drop_vars(dropped, errors="ignore")

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
