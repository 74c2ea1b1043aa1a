"""Simulate the image that a camera takes of a hyperspectral cube on disk, and its true STF.

The camera is drawn as in training. Memory depends on the window that is read, not on the scene,
and no pixel depends on how the scene is cut into windows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uavssr._version import __version__
from uavssr.data.pair_sources import MAX_GAP_NM
from uavssr.data.random_cameras import MAX_BAND_SHIFT
from uavssr.data.simulated_camera import (
    SimulatedCamera,
    draw_camera,
    noise,
    shift_bands,
    true_stf,
)
from uavssr.errors import InputRefused, UsageError
from uavssr.io.checks import PathLike
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedImage:
    """Files that `simulate` has written."""

    image: Path
    """The multispectral image."""
    stf: Path | None
    """The true STF, where it was asked for."""


def simulate(
    hsi: PathLike,
    *,
    sensor: str | Path | Sensor,
    out: PathLike,
    stf_out: PathLike | None = None,
    seed: int = 0,
    snr_db: float = 40.0,
    misregistration: float = 0.0,
    perfect: bool = False,
    scale: float | str | None = None,
    dtype: CubeDtype = "uint16",
    overwrite: bool = False,
    tile: int = 2 * IMAGE_BLOCK,
    progress: Progress | None = None,
) -> SimulatedImage:
    """Write the image that a camera near its data sheet would take of a hyperspectral cube.

    The cube is read twice: for the brightness that the noise relates to, then for the image. A
    pixel is nodata in all bands where the cube is invalid, or where a shifted band has no data.

    Args:
        hsi: the cube, GeoTIFF or ENVI, whose wavelengths cover the sensor's bands.
        sensor: a known camera, a sensor file, or a Sensor.
        out: the image to write, with a tag `synthetic`. `open_msi` reads that of a known camera
            without further options.
        stf_out: the true STF to write, on the cube's wavelengths: for `reconstruct(stf=...)` with a
            model of these wavelengths, and for `evaluate(true_stf=...)`.
        seed: random seed; equal seeds give equal images.
        snr_db: 20 log10(rms / sigma) of each band's white noise over the valid pixels; inf: none.
        misregistration: standard deviation in pixels of the shifts of all bands but the first,
            down and right, clipped at 2 pixels; bilinear.
        perfect: take the data sheet itself as the true camera.
        scale: reflectance = number in the cube x scale, where the file does not say.
        dtype: uint16 (clipped to 0..6.5534 and rounded to 0.0001) or float32.
        overwrite: replace existing outputs.
        tile: side of the windows in pixels, a multiple of 128; it changes no pixel.
        progress: called with (task, pixels just finished, pixels in all).

    Raises:
        UsageError: an option is out of its range.
        InputRefused: the cube is refused, or does not cover the sensor's bands.
        OutputError: an output exists, is the input, or cannot be written.
    """
    _check(seed, snr_db, misregistration, tile)
    data_sheet = sensor if isinstance(sensor, Sensor) else load_sensor(sensor)
    cube = _open_dense_cube(hsi, scale)
    for path in (out, stf_out):
        if path is not None:
            check_output(path, overwrite=overwrite, inputs=[cube.path])
    camera = draw_camera(
        data_sheet, cube, seed=seed, misregistration=misregistration, perfect=perfect
    )
    observation = _Observation(cube=cube, camera=camera, tile=tile, progress=progress)
    rms, valid_fraction = observation.brightness()
    sigma = rms * 10 ** (-snr_db / 20)
    tags = _tags(camera, cube, snr_db=snr_db, seed=seed, perfect=perfect)
    tags["uavssr_misregistration"] = f"{misregistration:g}"
    if stf_out is not None:
        ds = stf_dataset(
            sensor=data_sheet,
            grid=cube.grid,
            nominal=data_sheet.srf(cube.grid),
            scene=true_stf(camera, sigma, valid_fraction),
            crs_wkt=cube.place.crs_wkt,
            transform=cube.place.transform,
            attrs=tags,
        )
        write_stf(ds.drop_dims("tile"), stf_out, overwrite=overwrite, inputs=[cube.path])
    target = ImageTarget(
        path=Path(out),
        height=cube.height,
        width=cube.width,
        crs_wkt=cube.place.crs_wkt,
        transform=cube.place.transform,
        sensor=data_sheet,
        dtype=dtype,
        tags=tags,
        overwrite=overwrite,
        inputs=[cube.path],
    )
    image = write_image(target, observation.image(sigma, seed))
    return SimulatedImage(image=image, stf=None if stf_out is None else Path(stf_out))


def _check(seed: int, snr_db: float, misregistration: float, tile: int) -> None:
    if seed < 0:
        raise UsageError(f"the seed must not be negative, got {seed}")
    if math.isnan(snr_db) or snr_db < 0:
        raise UsageError(f"the SNR must be 0 dB or more, got {snr_db}")
    if not 0 <= misregistration <= MAX_BAND_SHIFT:
        raise UsageError(f"misregistration must be 0 to 2 pixels, got {misregistration}")
    if tile < IMAGE_BLOCK or tile % IMAGE_BLOCK:
        raise UsageError(f"a tile must be a multiple of {IMAGE_BLOCK} pixels, got {tile}")


def _open_dense_cube(hsi: PathLike, scale: float | str | None) -> CubeSource:
    """Open a cube and refuse one with wide gaps between its wavelengths."""
    cube = open_cube(hsi, scale=scale)
    gap = float(np.diff(cube.grid.centres).max()) if len(cube.grid) > 1 else np.inf
    if gap > MAX_GAP_NM:
        raise InputRefused(
            f"its wavelengths are up to {gap:g} nm apart, more than {MAX_GAP_NM:g}",
            path=cube.path,
            remedy="give a hyperspectral cube: spectra between the bands would be guessed",
        )
    return cube


def _tags(
    camera: SimulatedCamera, cube: CubeSource, *, snr_db: float, seed: int, perfect: bool
) -> dict[str, str]:
    """Return the tags of the image and the STF that say how they were made."""
    drawn = "its data sheet" if perfect else f"drawn near its data sheet, seed {seed}"
    return {
        "synthetic": f"simulated from {cube.path.name}; no camera took this image",
        "uavssr_version": __version__,
        "uavssr_input": cube.label,
        "uavssr_camera": f"{camera.sensor.name}, {drawn}",
        "uavssr_seed": str(seed),
        "uavssr_snr_db": f"{snr_db:g}",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Observation:
    """A cube and the camera that observes it, window by window."""

    cube: CubeSource
    """C bands."""
    camera: SimulatedCamera
    """c bands."""
    tile: int
    """Side of the windows in pixels."""
    progress: Progress | None
    """Called after each window."""

    def brightness(self) -> tuple[FloatArray, float]:
        """Root mean square (c,) of the bands over the valid pixels, and these pixels' share."""
        sums, count = [], 0
        for tile in self._tiles():
            image, valid = self._clean(tile.core)
            for block in TileGrid(height=valid.shape[0], width=valid.shape[1], tile=IMAGE_BLOCK):
                part = image[:, block.core.rows, block.core.cols].astype(float)
                sums.append(np.nansum(np.square(part), axis=(1, 2)))
            count += int(valid.sum())
            self._report("measuring the brightness", tile.core)
        # An exact sum over fixed blocks is the same in any order, hence for any window.
        total = np.array([math.fsum(band) for band in np.transpose(sums)])
        return np.sqrt(total / count), count / (self.cube.height * self.cube.width)

    def image(self, sigma: FloatArray, seed: int) -> Iterator[Part]:
        """Yield each window, its image (c, h, w) with shifts and noise, and its valid pixels.

        Args:
            sigma: (c,) standard deviations of the noise in reflectance.
            seed: of the noise.
        """
        halo = MAX_BAND_SHIFT if self.camera.shifts.any() else 0
        for tile in self._tiles(halo):
            clean, _ = self._clean(tile.read)
            image = shift_bands(clean, self.camera.shifts, tile.core, tile.read, halo)
            valid = np.asarray(np.isfinite(image).all(0))
            if sigma.any():
                image += noise(seed, sigma, tile.core)
            yield tile.core, image, valid
            self._report("writing the image", tile.core)

    def _tiles(self, halo: int = 0) -> TileGrid:
        return TileGrid(height=self.cube.height, width=self.cube.width, tile=self.tile, halo=halo)

    def _clean(self, window: Window) -> tuple[Float32Array, BoolArray]:
        """The image (c, h, w) without shifts and noise, NaN where invalid, and the valid pixels."""
        spectra, valid = self.cube.read(window)
        # Y = R X
        image = self.camera.rows @ spectra.reshape(len(spectra), -1)
        return image.reshape(-1, *valid.shape), valid

    def _report(self, task: str, window: Window) -> None:
        if self.progress is not None:
            pixels = window.height * window.width
            self.progress(task, pixels, self.cube.height * self.cube.width)
