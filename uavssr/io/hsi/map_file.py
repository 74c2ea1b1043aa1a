"""A file of maps that this run wrote, read back window by window."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
import rasterio.windows

from uavssr.errors import InputRefused
from uavssr.io.checks import GDAL_ERRORS
from uavssr.io.raster import Transform
from uavssr.sensors import BoolArray, Float32Array
from uavssr.tiling import Window


class MapPlace(NamedTuple):
    """Where maps lie."""

    crs_wkt: str
    """Their coordinate reference system."""
    transform: Transform
    """Affine a, b, c, d, e, f."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapFile:
    """Float maps, NaN where there is no value; the file is opened when it is read.

    `warp.WarpedCube` brings them to another grid.
    """

    path: Path
    """The GeoTIFF."""
    bands: int
    """Number of maps."""
    height: int
    """Rows."""
    width: int
    """Columns."""
    place: MapPlace
    """CRS and geotransform."""

    def read(self, window: Window) -> tuple[Float32Array, BoolArray]:
        """The maps (L, y, x), and the pixels with a value in each (y, x).

        Raises:
            InputRefused: the file cannot be read.
        """
        pixels = rasterio.windows.Window(window.col, window.row, window.width, window.height)
        try:
            with rasterio.open(self.path, driver="GTiff") as file:
                numbers: Float32Array = file.read(window=pixels, out_dtype=np.float32)
        except GDAL_ERRORS as err:
            raise InputRefused(f"cannot be read back: {err}", path=self.path) from err
        return numbers, np.asarray(np.isfinite(numbers).all(0))
