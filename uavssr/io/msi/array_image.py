"""Images as arrays of xarray: written to a temporary GeoTIFF, which is checked as any file is."""

from __future__ import annotations

import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import rasterio
from rasterio.transform import Affine
from rasterio.windows import Window as FileWindow

from uavssr.errors import InputRefused
from uavssr.io.checks import GDAL_ERRORS
from uavssr.io.msi.request import Request
from uavssr.io.msi.source import MsiSource, open_request
from uavssr.io.raster import array_place
from uavssr.tiling import TileGrid

if TYPE_CHECKING:
    import xarray as xr
    from rasterio.io import DatasetWriter

_DIMS: Final = ("band", "y", "x")
_WINDOW: Final = 1024
"""Side in pixels of the windows in which a lazy array is computed."""
_STRUCTURE: Final = {"_FillValue", "scale_factor", "add_offset", "long_name", "grid_mapping"}
"""Attributes that describe the numbers; the others are tags."""


def open_image_array(image: xr.DataArray | xr.Dataset, request: Request) -> MsiSource:
    """Open an image in memory; its numbers, names and tags are judged as those of a file are.

    Names of bands are taken from the coordinate `band` where that holds texts, from the attribute
    `long_name` (as rioxarray gives it), or from the names of a dataset's variables.

    Args:
        image: (band, y, x), or a dataset of arrays (y, x), with a CRS that rioxarray finds.
        request: the options; its paths are not used.

    Raises:
        UsageError: an option makes no sense.
        InputRefused: see `open_msi`; in messages a file of the array's name stands for it.
    """
    array = _as_array(image)
    name = re.sub(r"\W+", "_", "image" if array.name is None else str(array.name))[:60] or "image"
    folder = Path(tempfile.mkdtemp(prefix="uavssr_"))
    path = folder / f"{name}.tif"
    try:
        _write(array, path)
        source = open_request(replace(request, paths=(path,)))
    except InputRefused as err:
        shutil.rmtree(folder, ignore_errors=True)
        shown = str(err).replace(f"{folder}/", "")
        raise InputRefused(shown) from err
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(source, shutil.rmtree, folder, ignore_errors=True)
    return source


def _as_array(image: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """(band, y, x) of an array or of a dataset."""
    import xarray as xr

    if isinstance(image, xr.Dataset):
        cubes = [array for array in image.data_vars.values() if set(array.dims) == set(_DIMS)]
        bands = [array for array in image.data_vars.values() if set(array.dims) == {"y", "x"}]
        if len(cubes) == 1:
            image = cubes[0]
        elif bands and not cubes:
            image = xr.concat(bands, "band").assign_coords(band=[str(b.name) for b in bands])
        else:
            raise InputRefused(
                f"the dataset holds {len(cubes)} variables (band, y, x) and {len(bands)} (y, x)",
                remedy="give the array of the image",
            )
    if set(image.dims) != set(_DIMS):
        raise InputRefused(
            f"the array has the dimensions {image.dims}, and not {_DIMS}",
            remedy="rename them: array.rename(old=new)",
        )
    return image.transpose(*_DIMS)


def _write(array: xr.DataArray, path: Path) -> None:
    place = array_place(array, Path(path.name))
    try:
        with (
            rasterio.Env(GDAL_PAM_ENABLED="NO"),
            rasterio.open(
                path,
                "w",
                driver="GTiff",
                count=array.sizes["band"],
                height=place.height,
                width=place.width,
                dtype=array.dtype.name,
                crs=rasterio.CRS.from_wkt(place.crs_wkt),
                transform=Affine(*place.transform),
                nodata=_nodata(array),
                BIGTIFF="IF_SAFER",
                tiled=True,
            ) as file,
        ):
            _describe(file, array)
            for tile in TileGrid(height=place.height, width=place.width, tile=_WINDOW):
                core = tile.core
                part = array.isel(y=core.rows, x=core.cols).to_numpy()
                window = FileWindow(core.col, core.row, core.width, core.height)
                file.write(part, window=window)
    except (*GDAL_ERRORS, TypeError) as err:
        raise InputRefused(
            f"numbers of {array.dtype} cannot be written: {err}",
            path=path,
            remedy="give uint8, uint16, int16, float32 or float64",
        ) from err


def _nodata(array: xr.DataArray) -> float | None:
    """The number that stands for no data; NaN where rioxarray has put it in place already."""
    stated = array.attrs.get("_FillValue")
    if stated is not None:
        return float(stated)
    return float("nan") if array.dtype.kind == "f" else None


def _describe(file: DatasetWriter, array: xr.DataArray) -> None:
    """Names, wavelengths and scales of the bands, and the tags."""
    count = array.sizes["band"]
    tags = {str(k): str(v) for k, v in array.attrs.items() if k not in _STRUCTURE}
    file.update_tags(**tags)
    file.scales = tuple(_numbers(array.attrs.get("scale_factor", 1), count))
    file.offsets = tuple(_numbers(array.attrs.get("add_offset", 0), count))
    for number, name in enumerate(_names(array), start=1):
        file.set_band_description(number, name)
    if "wavelength" in array.coords and array["wavelength"].dims == ("band",):
        units = str(array["wavelength"].attrs.get("units", ""))
        for number, nm in enumerate(array["wavelength"].to_numpy().tolist(), start=1):
            file.update_tags(number, wavelength=repr(nm), wavelength_units=units)


def _numbers(stated: object, count: int) -> list[float]:
    """One number for each band, of a number or a list."""
    return np.broadcast_to(np.asarray(stated, float), count).tolist()


def _names(array: xr.DataArray) -> Iterator[str]:
    """The bands' names; nothing where the array states none."""
    stated = array.attrs.get("long_name", ())
    names: Sequence[object] = (stated,) if isinstance(stated, str) else stated
    if "band" in array.coords and array["band"].dtype.kind in "UO":
        names = array["band"].to_numpy().tolist()
    if len(names) == array.sizes["band"]:
        yield from map(str, names)
