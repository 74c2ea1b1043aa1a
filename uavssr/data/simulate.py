"""Simulate the image that a camera takes of a hyperspectral cube on disk, and its true STF.

Memory depends on the window that is read, and no pixel on how the scene is cut into windows.
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
    SimulationOptions,
    draw_camera,
    noise,
    shift_bands,
    true_stf,
)
from uavssr.errors import InputRefused
from uavssr.io.checks import PathLike
from uavssr.io.hsi import CubeSource, open_cube_source
from uavssr.io.stf import StfEstimate, stf_arrays, write_stf
from uavssr.io.writers import (
    IMAGE_BLOCK,
    CubeDtype,
    ImageTarget,
    Part,
    check_output,
    write_image,
)
from uavssr.sensors import BoolArray, Float32Array, FloatArray, Sensor, WavelengthGrid, load_sensor
from uavssr.tiling import Progress, Tile, TileGrid, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedImage:
    """Files that `simulate` has written."""

    image: Path
    """The multispectral image."""
    stf: Path | None
    """The true STF, where it was asked for."""
    warnings: tuple[str, ...]
    """Doubtful points of the cube, a sentence each."""


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
        out: the image to write, with a tag `synthetic`.
        stf_out: the true STF to write, on the cube's wavelengths.
        seed: random seed; equal seeds give equal images.
        snr_db: 20 log10(rms / sigma) of each band's white noise over the valid pixels; inf: none.
        misregistration: standard deviation in pixels of the shifts of all bands but the first,
            clipped at 2 pixels; bilinear.
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

    Examples:
        >>> import uavssr
        >>> simulated = uavssr.simulate("hsi.tif", sensor="p4m", out="msi.tif", seed=1)
        >>> uavssr.open_msi(simulated.image, sensor="p4m").sensor.roles
        ('blue', 'green', 'red', 'rededge', 'nir')
    """
    options = SimulationOptions(
        sensor=sensor if isinstance(sensor, Sensor) else load_sensor(sensor),
        seed=seed,
        snr_db=snr_db,
        misregistration=misregistration,
        perfect=perfect,
        scale=scale,
        dtype=dtype,
        overwrite=overwrite,
        tile=tile,
    )
    return _simulate(hsi, Path(out), None if stf_out is None else Path(stf_out), options, progress)


def _simulate(
    hsi: PathLike,
    out: Path,
    stf_out: Path | None,
    options: SimulationOptions,
    progress: Progress | None,
) -> SimulatedImage:
    cube = _open_cube(hsi, options)
    for path in (out, stf_out):
        if path is not None:
            check_output(path, overwrite=options.overwrite, inputs=[cube.path])
    target = ImageTarget(
        path=out,
        height=cube.height,
        width=cube.width,
        crs_wkt=cube.place.crs_wkt,
        transform=cube.place.transform,
        sensor=options.sensor,
        dtype=options.dtype,
        tags=_tags(options, cube),
        overwrite=options.overwrite,
        inputs=[cube.path],
    )
    camera = draw_camera(options, cube.grid)
    observation = _Observation(cube, camera, options.tile, progress)
    rms, valid_fraction = observation.brightness()
    sigma = rms * 10 ** (-options.snr_db / 20)
    if stf_out is not None:
        estimate = true_stf(camera, sigma, valid_fraction)
        _write_stf(stf_out, estimate, cube.grid, target)
    image = write_image(target, observation.image(sigma, options.seed))
    return SimulatedImage(image=image, stf=stf_out, warnings=cube.warnings)


def _open_cube(hsi: PathLike, options: SimulationOptions) -> CubeSource:
    """Open a cube; refuse one with wide gaps, or that does not cover the sensor's bands."""
    cube = open_cube_source(hsi, scale=options.scale)
    gap = float(np.diff(cube.grid.centres).max())
    if gap > MAX_GAP_NM:
        raise InputRefused(
            f"its wavelengths are up to {gap:g} nm apart, more than {MAX_GAP_NM:g}",
            path=cube.path,
            remedy="give a hyperspectral cube: spectra between the bands would be guessed",
        )
    try:
        options.sensor.srf(cube.grid)
    except InputRefused as err:
        remedy = "take a cube that covers the camera, or leave the band out of a sensor file"
        raise InputRefused(err.fact, path=cube.path, remedy=remedy) from err
    return cube


def _tags(options: SimulationOptions, cube: CubeSource) -> dict[str, str]:
    """The tags of the image and the STF that say how they were made."""
    drawn = f"drawn near its data sheet, seed {options.seed}"
    if options.perfect:
        drawn = "its data sheet"
    return {
        "synthetic": f"simulated from {cube.path.name}; no camera took this image",
        "uavssr_version": __version__,
        "uavssr_input": cube.label,
        "uavssr_camera": f"{options.sensor.name}, {drawn}",
        "uavssr_seed": str(options.seed),
        "uavssr_snr_db": f"{options.snr_db:g}",
        "uavssr_misregistration": f"{options.misregistration:g}",
    }


def _write_stf(path: Path, true: StfEstimate, grid: WavelengthGrid, target: ImageTarget) -> None:
    stf = stf_arrays(
        sensor=target.sensor,
        grid=grid,
        nominal=target.sensor.srf(grid),
        scene=true,
        crs_wkt=target.crs_wkt,
        transform=target.transform,
        attrs=target.tags,
    )
    ds = stf.dataset().drop_dims("tile")
    write_stf(ds, path, overwrite=target.overwrite, inputs=target.inputs)


@dataclass(frozen=True, slots=True)
class _Observation:
    """A cube and the camera that observes it, window by window."""

    cube: CubeSource
    camera: SimulatedCamera
    tile: int
    progress: Progress | None

    def brightness(self) -> tuple[FloatArray, float]:
        """Root mean square (c,) of the bands over the valid pixels, and these pixels' share."""
        sums, count = [], 0
        for tile in self._tiles("measuring the brightness"):
            image, valid = self._clean(tile.core)
            for block in TileGrid(height=valid.shape[0], width=valid.shape[1], tile=IMAGE_BLOCK):
                part = image[:, block.core.rows, block.core.cols].astype(float)
                sums.append(np.nansum(np.square(part), axis=(1, 2)))
            count += int(valid.sum())
        # An exact sum over fixed blocks is the same in any order, hence for any window.
        total = np.array([math.fsum(band) for band in np.transpose(sums)])
        return np.sqrt(total / count), count / (self.cube.height * self.cube.width)

    def image(self, sigma: FloatArray, seed: int) -> Iterator[Part]:
        """Yield each window, its image (c, h, w) with shifts and noise, and its valid pixels."""
        halo = MAX_BAND_SHIFT if self.camera.shifts.any() else 0
        for tile in self._tiles("writing the image", halo):
            clean, _ = self._clean(tile.read)
            image = shift_bands(clean, self.camera.shifts, tile)
            valid = np.asarray(np.isfinite(image).all(0))
            if sigma.any():
                image += noise(seed, sigma, tile.core)
            yield tile.core, image, valid

    def _tiles(self, task: str, halo: int = 0) -> Iterator[Tile]:
        """The tiles of the scene; progress is reported when the next one is asked for."""
        height, width = self.cube.height, self.cube.width
        for tile in TileGrid(height=height, width=width, tile=self.tile, halo=halo):
            yield tile
            if self.progress is not None:
                self.progress(task, tile.core.height * tile.core.width, height * width)

    def _clean(self, window: Window) -> tuple[Float32Array, BoolArray]:
        """The image (c, h, w) without shifts and noise, NaN where invalid, and the valid pixels."""
        spectra, valid = self.cube.read(window)
        # Y = R X
        image = self.camera.rows @ spectra.reshape(len(spectra), -1)
        return image.reshape(-1, *valid.shape), valid
