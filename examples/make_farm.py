"""Make the data of the tutorials: cubes of two farms, and a satellite's image of the second.

    python examples/make_farm.py [OUT_DIR]

Spectra are those of field_truth.npz, mixed by fields with random numbers of one seed; no real place
is shown. Written are, 120 x 120 pixels of 2 m,
    june_cube.tif        a farm in June: reflectance in 270 bands, as of a hyperspectral camera
    july_cube.tif        another farm in July
    july_sentinel2.tif   the same by Sentinel-2A, 10 m, bands B2 to B8A
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.transform import Affine

from uavssr.sensors import HEADWALL_NANO, Float32Array, FloatArray, load_sensor

SEED: Final = 7
FIELDS: Final = 6
"""Fields on each side of the farm."""
FIELD_PIXELS: Final = 20
PIXEL_M: Final = 2
CORNERS: Final = {"june": (503200.0, 4062480.0), "july": (504200.0, 4062480.0)}
"""Easting and northing (m) of the upper left corners in UTM zone 50 N, whole 20 m."""
NATIVE_M: Final = {"b2": 10, "b3": 10, "b4": 10, "b8": 10, "b5": 20, "b6": 20, "b7": 20, "b8a": 20}
"""Pixel of each of Sentinel-2's bands."""


def main(folder: Path) -> None:
    """Write the cubes and the satellite's image into `folder`."""
    truth = np.load(Path(__file__).with_name("field_truth.npz"))
    spectra = truth["spectra"].astype(np.float32)
    rng = np.random.default_rng(SEED)
    write_cube(folder / "june_cube.tif", farm(spectra, 0.5, rng), CORNERS["june"])
    july = farm(spectra, 0.6, rng)
    write_cube(folder / "july_cube.tif", july, CORNERS["july"])
    write_satellite(folder / "july_sentinel2.tif", july, CORNERS["july"])


def farm(spectra: Float32Array, cover: float, rng: np.random.Generator) -> Float32Array:
    """Reflectance (wavelength, y, x) of fields with crop and soil of their own.

    Args:
        spectra: (n, wavelength), reflectance of vegetation and soils.
        cover: mean share of the crop.
        rng: draws the fields.
    """
    ndvi = _ndvi(spectra)
    crops, soils = spectra[ndvi > 0.6], spectra[ndvi < 0.3]
    side = FIELDS * FIELD_PIXELS
    cube = np.empty((spectra.shape[1], side, side), np.float32)
    for row in range(0, side, FIELD_PIXELS):
        for column in range(0, side, FIELD_PIXELS):
            crop, soil = crops[rng.integers(len(crops))], soils[rng.integers(len(soils))]
            share = cover + rng.normal(0, 0.15) + rng.normal(0, 0.06, (FIELD_PIXELS,) * 2)
            share = share.clip(0, 1)
            field = np.s_[:, row : row + FIELD_PIXELS, column : column + FIELD_PIXELS]
            cube[field] = crop[:, None, None] * share + soil[:, None, None] * (1 - share)
    return cube


def _ndvi(spectra: Float32Array) -> Float32Array:
    red, nir = (np.abs(HEADWALL_NANO.centres - nm).argmin() for nm in (670, 860))
    return (spectra[:, nir] - spectra[:, red]) / (spectra[:, nir] + spectra[:, red])


def write_cube(path: Path, cube: Float32Array, corner: tuple[float, float]) -> None:
    """The cube as uint16, with its wavelengths."""
    numbers = np.round(cube * 10000).astype(np.uint16)
    with rasterio.open(path, "w", **_profile(numbers, PIXEL_M, corner)) as file:
        file.write(numbers)
        file.scales = [0.0001] * len(numbers)
        for number, (centre, fwhm) in enumerate(
            zip(HEADWALL_NANO.centres, HEADWALL_NANO.fwhm, strict=True), start=1
        ):
            file.update_tags(number, wavelength=centre, wavelength_units="nm", fwhm=fwhm)


def write_satellite(path: Path, cube: Float32Array, corner: tuple[float, float]) -> None:
    """Sentinel-2A's bands at 10 m, as of baseline 04.00: reflectance = (number - 1000) / 10000."""
    sensor = load_sensor("sentinel2a")
    responses = sensor.srf(HEADWALL_NANO)
    bands, names = [], []
    for band, response in zip(sensor.bands, responses, strict=True):
        if (native := NATIVE_M.get(band.role)) is None:
            continue
        seen = _seen_by_satellite(np.tensordot(response, cube, 1), native)
        bands.append(seen.repeat(native // 10, 0).repeat(native // 10, 1))
        names.append(band.role.upper())
    numbers = np.round(np.stack(bands) * 10000 + 1000).astype(np.uint16)
    with rasterio.open(path, "w", **_profile(numbers, 10, corner)) as file:
        file.write(numbers)
        file.descriptions = names


def _seen_by_satellite(band: FloatArray, native: int) -> FloatArray:
    """A band (y, x) through a Gaussian point spread of half a native pixel."""
    middles = (np.arange(len(band)) + 0.5) * PIXEL_M
    cells = np.arange(native / 2, len(band) * PIXEL_M, native)
    weights = np.exp(-0.5 * ((middles - cells[:, None]) / (native / 2)) ** 2)
    weights /= weights.sum(1, keepdims=True)
    return weights @ band @ weights.T


def _profile(numbers: np.ndarray, pixel: float, corner: tuple[float, float]) -> dict[str, object]:
    return {
        "driver": "GTiff",
        "count": len(numbers),
        "height": numbers.shape[1],
        "width": numbers.shape[2],
        "dtype": numbers.dtype.name,
        "crs": CRS.from_epsg(32650),
        "transform": Affine(pixel, 0, corner[0], 0, -pixel, corner[1]),
        "compress": "deflate",
        "interleave": "band",
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd())
