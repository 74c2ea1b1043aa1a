"""Make examples/field.tif, a synthetic P4M orthomosaic of a crop trial, and its true spectra.

    python examples/make_field.py [OUT_DIR]

The field comes from PROSAIL (`pip install prosail`), a bio-optical water model and
random numbers of one seed, so it may be distributed with the project. The camera that "took" it
differs a little from its data sheet; the band tags `true_centre_shift_nm` and `true_gain` say by
how much. field_truth.npz holds the truth, to compare estimates with:
    row, col (n,)             pixels of field.tif
    spectra (n, 270) float16  their true reflectance, before blur, misregistration and noise
    wavelength_nm (270,)      the bands of HEADWALL_NANO
    material (n,)             main material of each pixel
    stf (5, 270) float32      the true camera: image = stf @ spectrum
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import rasterio
from field_scene import GSD, HEIGHT, WIDTH, Ground, Painting, paint_scene
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.transform import Affine
from scipy import ndimage

from uavssr.sensors import (
    HEADWALL_NANO,
    BoolArray,
    Float32Array,
    FloatArray,
    Sensor,
    load_sensor,
)

SEED: Final = 20260
CORNER: Final = (504210.0, 4062480.0)
"""Easting and northing (m) of the upper left corner in UTM zone 50 N."""
FULL_SCALE: Final = 32768
"""Number for a reflectance of 1, as Agisoft Metashape writes it."""
SNR_DB: Final = 40.0
MISREGISTRATION: Final = 0.3
"""Shift of each band except green, in pixels."""
TRUTH_PIXELS: Final = 200
DESCRIPTIONS: Final = ("Blue", "Green", "Red", "RedEdge", "NIR")
SYNTHETIC: Final = (
    "Synthetic: PROSAIL canopies and soils, drawn by examples/make_field.py; no real place and no "
    "real camera."
)


def main(folder: Path) -> None:
    """Draw the field, take its image, and write field.tif and field_truth.npz into `folder`."""
    rng = np.random.default_rng(SEED)
    y, x = (np.mgrid[:HEIGHT, :WIDTH] + 0.5) * GSD
    ground = Ground(x=x, y=y, rng=rng)
    art = paint_scene(ground)
    brightness = np.exp(0.06 * ground.noise(0.05) + 0.04 * ground.noise(0.4))
    sensor, shift, gain = true_camera(rng)
    stf = gain[:, None] * sensor.srf(HEADWALL_NANO)
    valid = flown(ground)
    image = photograph(art.render(stf, brightness), rng)
    write_image(folder / "field.tif", image, valid, shift, gain)
    write_truth(folder / "field_truth.npz", art, brightness, valid, stf, rng)


def true_camera(rng: np.random.Generator) -> tuple[Sensor, FloatArray, FloatArray]:
    """Draw a P4M near its data sheet: the sensor, its shifts (nm) and its gains."""
    nominal = load_sensor("p4m")
    shift = np.round(rng.uniform(-4, 4, len(nominal)), 1)
    gain = np.round(rng.uniform(0.95, 1.05, len(nominal)), 3)
    moved = zip(nominal.bands, shift, strict=True)
    bands = tuple(replace(band, centre=band.centre + float(by)) for band, by in moved)
    return replace(nominal, name="p4m-true", bands=bands), shift, gain


def flown(ground: Ground) -> BoolArray:
    """Return the pixels with data: a tilted swath with a ragged edge and one missing corner."""
    ragged = 0.12 * ground.noise(0.6) + 0.05 * ground.noise(0.1)
    u, v = ground.turned(GSD * WIDTH / 2, GSD * HEIGHT / 2, -1.6)
    inside = np.minimum(18.6 - np.abs(u), 16.2 - np.abs(v))
    corner = ground.x + 1.2 * ground.y - 7.5 + 0.8 * np.sign(np.sin(ground.x * 1.9))
    return np.asarray(np.minimum(inside, corner) + ragged > 0)


def photograph(seen: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Blur the bands, shift them by 0.3 pixels and add noise: (5, HEIGHT, WIDTH) reflectance."""
    bands = []
    for index, image in enumerate(seen):
        angle = rng.uniform(0, 2 * np.pi)
        step = 0.0 if index == 1 else MISREGISTRATION
        move = (step * np.sin(angle), step * np.cos(angle))
        taken = ndimage.shift(ndimage.gaussian_filter(image, 0.45), move, order=3, mode="nearest")
        noise = 10 ** (-SNR_DB / 20) * float(np.sqrt((image**2).mean()))
        bands.append(taken + rng.normal(0, noise, taken.shape))
    return np.asarray(bands, np.float32)


def write_image(
    path: Path, image: Float32Array, valid: BoolArray, shift: FloatArray, gain: FloatArray
) -> None:
    """Write reflectance (5, y, x) as Metashape does: uint16, 32768 for 1, 0 for nodata."""
    numbers = np.clip(np.rint(image * FULL_SCALE), 1, 65535).astype(np.uint16) * valid
    profile = {
        "driver": "GTiff",
        "dtype": "uint16",
        "count": len(image),
        "height": HEIGHT,
        "width": WIDTH,
        "crs": CRS.from_epsg(32650),
        "transform": Affine(GSD, 0.0, CORNER[0], 0.0, -GSD, CORNER[1]),
        "nodata": 0,
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "deflate",
        "zlevel": 9,
        "predictor": 2,
        "interleave": "band",
    }
    with rasterio.open(path, "w", **profile) as out:
        out.write(numbers)
        out.scales, out.offsets = (1 / FULL_SCALE,) * len(image), (0.0,) * len(image)
        out.descriptions = DESCRIPTIONS
        out.colorinterp = [getattr(ColorInterp, name.lower()) for name in DESCRIPTIONS]
        out.update_tags(sensor="p4m", synthetic=SYNTHETIC, seed=str(SEED))
        for index, band in enumerate(load_sensor("p4m").bands):
            out.update_tags(
                index + 1,
                wavelength=f"{band.centre:g}",
                wavelength_units="nm",
                fwhm=f"{band.fwhm:g}",
                true_centre_shift_nm=f"{shift[index]:g}",
                true_gain=f"{gain[index]:g}",
            )


def write_truth(
    path: Path,
    art: Painting,
    brightness: FloatArray,
    valid: BoolArray,
    stf: FloatArray,
    rng: np.random.Generator,
) -> None:
    """Write the true spectra of random valid pixels, at most 6 of one material."""
    owner = np.asarray(art.names)[np.stack(art.weights).argmax(0)]
    row, col = np.nonzero(valid)
    order = rng.permutation(row.size)
    seen: dict[str, int] = {}
    chosen: list[int] = []
    for at in order:
        name = str(owner[row[at], col[at]])
        seen[name] = seen.get(name, 0) + 1
        if seen[name] <= 6 and len(chosen) < TRUTH_PIXELS:
            chosen.append(at)
    row, col = row[chosen].astype(np.int16), col[chosen].astype(np.int16)
    np.savez_compressed(
        path,
        row=row,
        col=col,
        spectra=art.spectra_at(row, col, brightness).astype(np.float16),
        wavelength_nm=HEADWALL_NANO.centres,
        material=owner[row, col],
        stf=stf.astype(np.float32),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
