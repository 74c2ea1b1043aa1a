"""One piece of ground in two rasters: an image and a cube on any grid, for the tests of pairs.

The ground is a function of place, so that each raster is evaluated at its own pixels: nothing is
resampled, and what a correct warp must find is known exactly.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pyproj import Transformer
from rasterio.transform import Affine

from tests.helpers.cubes import listed, write_envi
from tests.helpers.models import GRID, P4M, tiny_library
from tests.helpers.rasters import write
from uavssr.sensors import Sensor, WavelengthGrid

EAST, NORTH = 500000.0, 3000000.0
PIXEL = 0.1
SIDE = 144


def field_at(east: np.ndarray, north: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Reflectance (C, ...) on the tiny grid of the ground at coordinates of UTM zone 50."""
    rng = np.random.default_rng(seed)
    frequency = np.exp(rng.uniform(np.log(0.05), np.log(1.5), 60))
    angle, phase = rng.uniform(0, 2 * np.pi, (2, 60))
    amplitude = rng.normal(size=(4, 60)) * frequency**-0.5
    wave = np.multiply.outer(2 * np.pi * frequency * np.cos(angle), east - EAST)
    wave += np.multiply.outer(2 * np.pi * frequency * np.sin(angle), north - NORTH)
    wave += phase.reshape(-1, *[1] * np.ndim(east))
    maps = np.tensordot(amplitude, np.cos(wave), 1) / 4
    share = np.exp(maps - maps.max(0))
    spectra = tiny_library().spectra[[35, 50, 75, 100]].astype(float)
    return np.tensordot(spectra.T, share / share.sum(0), 1)


def pixels(transform: Affine, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (y, x) of the pixels' middles."""
    column, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    a, b, c, d, e, f = tuple(transform)[:6]
    return a * column + b * row + c, d * column + e * row + f


def write_image(
    path: Path,
    *,
    sensor: Sensor = P4M,
    side: int = SIDE,
    gain: float = 1.0,
    offset: float = 0.0,
    noise: float = 0.003,
    east: float = EAST,
    invalid: tuple[slice, slice] | None = None,
    seed: int = 0,
) -> Path:
    """What a camera that is its data sheet sees of the ground: float32, nodata NaN."""
    transform = Affine(PIXEL, 0, east, 0, -PIXEL, NORTH)
    cube = field_at(*pixels(transform, side, side))
    image = gain * np.tensordot(sensor.srf(GRID), cube, 1) + offset
    image += np.random.default_rng(seed).normal(0, noise, image.shape)
    if invalid is not None:
        image[:, *invalid] = np.nan
    names = [role.capitalize() for role in sensor.roles]
    return write(path, image.astype("f4"), names=names, transform=transform)


def write_field_cube(
    path: Path,
    *,
    pixel: float = PIXEL,
    side: int = SIDE,
    shift: tuple[float, float] = (0.0, 0.0),
    degrees: bool = False,
    east: float = EAST,
    grid: WavelengthGrid = GRID,
    noise: float = 0.003,
    fill: float | None = None,
    seed: int = 0,
) -> Path:
    """A cube of the same ground as ENVI float32, in UTM or in degrees as Headwall's.

    Args:
        path: the raw file.
        pixel: its length in metres.
        side: of the ground it covers, in pixels of the image.
        shift: metres (north, east) by which its georeference is wrong.
        degrees: geographic coordinates.
        east: of its left side.
        grid: its bands, of those of the tiny grid.
        noise: standard deviation.
        fill: what a border of five pixels holds instead.
        seed: of the noise.
    """
    count = round(side * PIXEL / pixel)
    transform = Affine(pixel, 0, east, 0, -pixel, NORTH)
    place = f"UTM, 1, 1, {east!r}, {NORTH!r}, {pixel!r}, {pixel!r}, 50, North, WGS-84"
    x, y = pixels(transform, count, count)
    if degrees:
        to_degrees = Transformer.from_crs(32650, 4326, always_xy=True)
        left, top = to_degrees.transform(east, NORTH)
        right, bottom = to_degrees.transform(east + count * pixel, NORTH - count * pixel)
        across, down = (right - left) / count, (top - bottom) / count
        transform = Affine(across, 0, left, 0, -down, top)
        place = f"Geographic Lat/Lon, 1, 1, {left!r}, {top!r}, {across!r}, {down!r}, WGS-84"
        back = Transformer.from_crs(4326, 32650, always_xy=True)
        x, y = back.transform(*pixels(transform, count, count))
    cube = field_at(np.asarray(x) - shift[1], np.asarray(y) - shift[0])
    cube = np.stack([cube[GRID.nearest(nm)] for nm in grid.centres])
    cube += np.random.default_rng([seed, 1]).normal(0, noise, cube.shape)
    if fill is not None:
        kept = cube[:, 5:-5, 5:-5].copy()
        cube[:] = fill
        cube[:, 5:-5, 5:-5] = kept
    fields = (
        f"map info = {{{place}}}",
        "wavelength units = nm",
        listed("wavelength", grid.centres),
        *([] if fill is None else [f"data ignore value = {fill}"]),
    )
    return write_envi(path, cube.astype("f4"), *fields, crs=False)
