"""The satellite's cells of a scene by way of files: PSF, a shift, and the search for it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import Affine

from uavssr.calibration import SatelliteCells, read_satellite_cells
from uavssr.io.msi import open_msi
from uavssr.io.satellite import SatelliteRequest, open_satellite
from uavssr.sensors import Float32Array, FloatArray, Sensor

PIXEL_M = 2.5
"""Side of a pixel of the camera's image: a cell of 20 m is 8 pixels."""
CELL_M = 20.0
"""Side of a cell, to which each band's native pixel is a divisor."""
FINE_BANDS = ("b2", "b3", "b4", "b8")
"""Bands of 10 m."""
MARGIN = 2
"""Cells by which the satellite's image goes beyond the scene, which is mirrored there."""
PADDING = 36
"""Pixels of mirrored ground: margin, shift and the PSF's reach."""
ORIGIN = (500000.0, 4000000.0)
"""Left and top of the scene in UTM zone 32 N."""
DAY = date(2022, 6, 15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """A satellite's view of a scene."""

    satellite: Sensor
    response: FloatArray
    """(b, C)."""
    factor: FloatArray
    """(b,) systematic error."""
    shift: FloatArray
    """Metres (down, right) by which its image lies off."""


def cells_of_files(
    cube: Float32Array, image: Float32Array, sensor: Sensor, view: Pass
) -> SatelliteCells:
    """The cells of an image (c, y, x) of a cube (C, y, x), written, registered and read back."""
    with tempfile.TemporaryDirectory() as folder:
        field, stack = Path(folder) / "field.tif", Path(folder) / "satellite.tif"
        _write(field, image, PIXEL_M, ORIGIN, sensor.roles)
        west, north = ORIGIN[0] - MARGIN * CELL_M, ORIGIN[1] + MARGIN * CELL_M
        numbers = np.round(_stack(cube, view) * 10000 + 1000).clip(1, 65000).astype("u2")
        _write(stack, numbers, CELL_M / 2, (west, north), view.satellite.roles)
        request = SatelliteRequest(
            path=stack, sensor=view.satellite, scale=1e-4, offset=-0.1, acquired=DAY
        )
        msi = open_msi(field, sensor=sensor.name)
        return read_satellite_cells(msi, [open_satellite(request)], flight=DAY)


def _stack(cube: Float32Array, view: Pass) -> FloatArray:
    """Reflectance (b, y, x) at 10 m; bands of 20 m are repeated."""
    height, width = cube.shape[1:]
    images = np.tensordot(view.response, cube, 1)
    padded = np.pad(images, ((0, 0), *[(PADDING, PADDING)] * 2), mode="reflect")
    bands = []
    for role, band, factor in zip(view.satellite.roles, padded, view.factor, strict=True):
        native = CELL_M / 2 if role in FINE_BANDS else CELL_M
        rows, cols = (
            _weights(size, native, offset)
            for size, offset in zip((height, width), view.shift, strict=True)
        )
        seen = rows @ band @ cols.T * factor
        repeat = round(native / (CELL_M / 2))
        bands.append(seen.repeat(repeat, 0).repeat(repeat, 1))
    return np.stack(bands)


def _weights(size: int, native: float, shift: float) -> FloatArray:
    """Weights (cells, pixels) along an axis: Gaussians with a deviation of half a native pixel."""
    cells = int(size * PIXEL_M // CELL_M + 2 * MARGIN) * round(CELL_M / native)
    middles = (np.arange(cells) + 0.5) * native - MARGIN * CELL_M - shift
    pixels = (np.arange(size + 2 * PADDING) - PADDING + 0.5) * PIXEL_M
    weights = np.exp(-0.5 * ((pixels - middles[:, None]) / (native / 2)) ** 2)
    return np.asarray(weights / weights.sum(1, keepdims=True))


def _write(
    path: Path,
    values: np.ndarray,
    metres: float,
    origin: tuple[float, float],
    names: tuple[str, ...],
) -> None:
    count, height, width = values.shape
    place = Affine(metres, 0, origin[0], 0, -metres, origin[1])
    options = {"crs": "EPSG:32632", "transform": place, "dtype": values.dtype}
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, **options
    ) as file:
        file.write(values)
        file.descriptions = names
