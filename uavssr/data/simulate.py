"""What a camera would see of a cube on disk: `simulate` writes the image and the true STF.

The camera is drawn as in training (`cameras.draw_cameras`). Memory depends on the window that is
read, not on the scene, and no pixel depends on where windows end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from uavssr._version import __version__
from uavssr.data.pair_sources import GAP_NM
from uavssr.data.simulated_camera import (
    MARGIN,
    MAX_SHIFT,
    Camera,
    draw_camera,
    noise,
    registered,
    true_stf,
)
from uavssr.errors import InputRefused, UsageError
from uavssr.io.hsi import CubeSource, open_cube
from uavssr.io.stf import stf_dataset, write_stf
from uavssr.io.writers import (
    IMAGE_BLOCK,
    CubeDtype,
    ImageTarget,
    Part,
    check_output,
    write_image,
)
from uavssr.sensors import BoolArray, Float32Array, FloatArray, Sensor, load_sensor
from uavssr.tiling import Progress, TileGrid, Window

AnyPath = str | PathLike[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """What `simulate` has written."""

    image: Path
    """The multispectral image."""
    stf: Path | None
    """The true STF, where it was asked for."""


def simulate(
    hsi: AnyPath,
    *,
    sensor: str | Path | Sensor,
    out: AnyPath,
    stf_out: AnyPath | None = None,
    seed: int = 0,
    snr_db: float = 40.0,
    misregistration: float = 0.0,
    perfect: bool = False,
    scale: float | str | None = None,
    dtype: CubeDtype = "uint16",
    overwrite: bool = False,
    tile: int = 2 * IMAGE_BLOCK,
    progress: Progress | None = None,
) -> Simulated:
    """Write the image that a camera near a data sheet would take of a hyperspectral cube.

    The cube is read twice: for the brightness that the noise relates to, then for the image. Pixels
    that are invalid in the cube, or that a shifted band has no data for, are nodata in all bands.

    Args:
        hsi: the cube, GeoTIFF or ENVI, whose wavelengths cover the sensor's bands.
        sensor: a known camera, a sensor file, or a Sensor.
        out: the image to write, which `open_msi` reads without further options if it is a known
            camera's; it has a tag `synthetic`.
        stf_out: the true STF to write, on the cube's wavelengths: for `reconstruct(stf=...)` with a
            model of these wavelengths, and for `evaluate(true_stf=...)`.
        seed: of the camera, of the shifts and of the noise; equal seeds give equal images.
        snr_db: 20 log10(rms / sigma) of each band's white noise over the valid pixels; inf: none.
        misregistration: standard deviation in pixels of the shifts of all bands but the first,
            down and right, clipped at 2 pixels; bilinear.
        perfect: the camera is exactly its data sheet.
        scale: reflectance = number in the cube x scale, where the file does not tell.
        dtype: uint16 (clipped to 0..6.5534 and rounded to 0.0001) or float32.
        overwrite: whether existing outputs may be replaced.
        tile: side of the windows in pixels, a multiple of 128; it changes no pixel.
        progress: told what was done, how many pixels, and of how many.

    Raises:
        UsageError: an option makes no sense.
        InputRefused: the cube is refused, or does not cover the sensor's bands.
        OutputError: an output exists, is the input, or cannot be written.
    """
    _check(seed, snr_db, misregistration, tile)
    taken_by = sensor if isinstance(sensor, Sensor) else load_sensor(sensor)
    cube = open_cube(hsi, scale=scale)
    gap = float(np.diff(cube.grid.centres).max()) if len(cube.grid) > 1 else np.inf
    if gap > GAP_NM:
        raise InputRefused(
            f"its wavelengths are up to {gap:g} nm apart, more than {GAP_NM:g}",
            path=cube.path,
            remedy="give a hyperspectral cube: what a camera sees between would be made up",
        )
    for target in (out, stf_out):
        if target is not None:
            check_output(target, overwrite=overwrite, inputs=[cube.path])
    camera = draw_camera(
        taken_by, cube, seed=seed, misregistration=misregistration, perfect=perfect
    )
    rms, share = _brightness(cube, camera, tile, progress)
    sigma = rms * 10 ** (-snr_db / 20)
    tags = _provenance(cube, camera, seed, snr_db, misregistration, perfect=perfect)
    if stf_out is not None:
        truth = true_stf(camera, sigma, share)
        ds = stf_dataset(
            sensor=taken_by,
            grid=cube.grid,
            nominal=taken_by.srf(cube.grid),
            scene=truth,
            crs_wkt=cube.place.crs_wkt,
            transform=cube.place.transform,
            attrs=tags,
        )
        write_stf(ds.drop_dims("tile"), stf_out, overwrite=overwrite, inputs=[cube.path])
    image_target = ImageTarget(
        path=Path(out),
        height=cube.height,
        width=cube.width,
        crs_wkt=cube.place.crs_wkt,
        transform=cube.place.transform,
        sensor=taken_by,
        dtype=dtype,
        tags=tags,
        overwrite=overwrite,
        inputs=[cube.path],
    )
    image = write_image(image_target, _image(cube, camera, sigma, seed, tile, progress))
    return Simulated(image=image, stf=None if stf_out is None else Path(stf_out))


def _check(seed: int, snr_db: float, misregistration: float, tile: int) -> None:
    if seed < 0:
        raise UsageError(f"the seed must not be negative, got {seed}")
    if math.isnan(snr_db) or snr_db < 0:
        raise UsageError(f"the SNR must be 0 dB or more, got {snr_db}")
    if not 0 <= misregistration <= MAX_SHIFT:
        raise UsageError(f"misregistration must be 0 to 2 pixels, got {misregistration}")
    if tile < IMAGE_BLOCK or tile % IMAGE_BLOCK:
        raise UsageError(f"a tile must be a multiple of {IMAGE_BLOCK} pixels, got {tile}")


def _windows(cube: CubeSource, tile: int, halo: int = 0) -> TileGrid:
    return TileGrid(height=cube.height, width=cube.width, tile=tile, halo=halo)


def _seen(cube: CubeSource, camera: Camera, window: Window) -> tuple[Float32Array, BoolArray]:
    """The image (c, h, w) without shifts and noise, NaN where invalid, and the valid pixels."""
    spectra, valid = cube.read(window)
    image = camera.rows @ spectra.reshape(len(spectra), -1)
    return image.reshape(-1, *valid.shape), valid


def _brightness(
    cube: CubeSource, camera: Camera, tile: int, progress: Progress | None
) -> tuple[FloatArray, float]:
    """Root mean square of each band (c,) over the valid pixels, and their share of the scene."""
    total, count = [], 0
    for each in _windows(cube, tile):
        image, valid = _seen(cube, camera, each.core)
        for block in TileGrid(height=valid.shape[0], width=valid.shape[1], tile=IMAGE_BLOCK):
            part = image[:, block.core.rows, block.core.cols].astype(float)
            total.append(np.nansum(np.square(part), axis=(1, 2)))
        count += int(valid.sum())
        _tell(progress, "measuring the brightness", each.core, cube)
    # An exact sum over fixed blocks is the same in any order, hence for any window.
    sums = np.array([math.fsum(band) for band in np.transpose(total)])
    return np.sqrt(sums / count), count / (cube.height * cube.width)


def _image(
    cube: CubeSource,
    camera: Camera,
    sigma: FloatArray,
    seed: int,
    tile: int,
    progress: Progress | None,
) -> Iterator[Part]:
    halo = MARGIN if camera.shifts.any() else 0
    for each in _windows(cube, tile, halo):
        clean, _ = _seen(cube, camera, each.read)
        image = registered(clean, camera.shifts, each.core, each.read, halo)
        valid = np.asarray(np.isfinite(image).all(0))
        if sigma.any():
            image += noise(seed, sigma, each.core)
        yield each.core, image, valid
        _tell(progress, "writing the image", each.core, cube)


def _provenance(
    cube: CubeSource,
    camera: Camera,
    seed: int,
    snr_db: float,
    misregistration: float,
    *,
    perfect: bool,
) -> dict[str, str]:
    drawn = "its data sheet" if perfect else f"drawn near its data sheet, seed {seed}"
    return {
        "synthetic": f"simulated from {cube.path.name}; no camera took this image",
        "uavssr_version": __version__,
        "uavssr_input": cube.label,
        "uavssr_camera": f"{camera.sensor.name}, {drawn}",
        "uavssr_seed": str(seed),
        "uavssr_snr_db": f"{snr_db:g}",
        "uavssr_misregistration": f"{misregistration:g}",
    }


def _tell(progress: Progress | None, what: str, window: Window, cube: CubeSource) -> None:
    if progress is not None:
        progress(what, window.height * window.width, cube.height * cube.width)
