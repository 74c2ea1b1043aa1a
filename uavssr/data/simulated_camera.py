"""A true camera near its data sheet, the shifts of its bands, and its noise, window by window."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from uavssr.data.random_cameras import MAX_BAND_SHIFT, draw_cameras, shift_band
from uavssr.errors import UsageError
from uavssr.io.stf import StfEstimate
from uavssr.io.writers import IMAGE_BLOCK, CubeDtype
from uavssr.sensors import Float32Array, FloatArray, Sensor, WavelengthGrid
from uavssr.tiling import Tile, TileGrid, Window

_CAMERA_STREAM, _SHIFT_STREAM, _NOISE_STREAM = 5, 6, 7
"""Ends of the seeds: separate random streams, so that no option changes the draws of another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationOptions:
    """The options of `uavssr.simulate`, where they are documented."""

    sensor: Sensor
    seed: int
    snr_db: float
    misregistration: float
    perfect: bool
    scale: float | str | None
    dtype: CubeDtype
    overwrite: bool
    tile: int

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UsageError(f"the seed must not be negative, got {self.seed}")
        if not self.snr_db >= 0:
            raise UsageError(f"the SNR must be 0 dB or more, got {self.snr_db}")
        if not 0 <= self.misregistration <= MAX_BAND_SHIFT:
            raise UsageError(f"misregistration must be 0 to 2 pixels, got {self.misregistration}")
        if self.tile < IMAGE_BLOCK or self.tile % IMAGE_BLOCK:
            raise UsageError(f"a tile must be a multiple of {IMAGE_BLOCK} pixels, got {self.tile}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulatedCamera:
    """One true camera of c bands, and its data sheet."""

    sensor: Sensor
    """The data sheet."""
    rows: Float32Array
    """(c, C) true STF: image = rows @ cube."""
    theta: FloatArray
    """(c, 3) true shift (nm), log stretch and log gain against the data sheet."""
    shifts: FloatArray
    """(c, 2) pixels by which each band lies further down and right than the cube."""


def draw_camera(options: SimulationOptions, grid: WavelengthGrid) -> SimulatedCamera:
    """Draw the true camera of a data sheet, for the C wavelengths of a cube."""
    sensor, seed = options.sensor, options.seed
    rng = np.random.default_rng([seed, _SHIFT_STREAM])
    shifts = rng.normal(size=(len(sensor), 2)) * options.misregistration
    shifts[0] = 0
    rows, theta = sensor.srf(grid).astype(np.float32), np.zeros((len(sensor), 3))
    if not options.perfect:
        drawn = draw_cameras(np.random.default_rng([seed, _CAMERA_STREAM]), [sensor], grid)
        rows, theta = drawn.rows[0], drawn.theta[0].astype(float)
    shifts = np.clip(shifts, -MAX_BAND_SHIFT, MAX_BAND_SHIFT)
    return SimulatedCamera(sensor=sensor, rows=rows, theta=theta, shifts=shifts)


def shift_bands(image: Float32Array, shifts: FloatArray, tile: Tile) -> Float32Array:
    """Shift the bands of an image and return its core (c, h, w), NaN where a band has no data.

    Args:
        image: (c, y, x) the window that a tile reads, NaN where invalid.
        shifts: (c, 2) pixels down and right.
        tile: its core, and the window that it reads: the core and a halo within the scene.
    """
    core, halo = tile.core, MAX_BAND_SHIFT
    whole = Window(core.row - halo, core.col - halo, core.height + 2 * halo, core.width + 2 * halo)
    padded = np.full((len(image), whole.height, whole.width), np.nan, np.float32)
    padded[:, *tile.read.within(whole)] = image
    shifted = [shift_band(band, shift) for band, shift in zip(padded, shifts, strict=True)]
    return np.stack(shifted)[:, *core.within(whole)]


def noise(seed: int, sigma: FloatArray, window: Window) -> Float32Array:
    """Draw white noise (c, h, w) of standard deviations (c,), block by block of the scene.

    The window starts at a corner of the scene's blocks of `IMAGE_BLOCK` pixels.
    """
    values = np.empty((len(sigma), window.height, window.width), np.float32)
    for block in TileGrid(height=window.height, width=window.width, tile=IMAGE_BLOCK):
        rows, cols = block.core.rows, block.core.cols
        place = (window.row + rows.start) // IMAGE_BLOCK, (window.col + cols.start) // IMAGE_BLOCK
        rng = np.random.default_rng([seed, _NOISE_STREAM, *place])
        drawn = rng.standard_normal((len(sigma), IMAGE_BLOCK, IMAGE_BLOCK), np.float32)
        values[:, rows, cols] = drawn[:, : block.core.height, : block.core.width]
    return np.asarray(values * sigma[:, None, None].astype(np.float32))


def true_stf(camera: SimulatedCamera, sigma: FloatArray, valid_fraction: float) -> StfEstimate:
    """The true STF in the form of an estimate: no errors, nothing left to the prior.

    `sigma` (c,) is the standard deviation of the noise in reflectance.
    """
    bands, (shift, stretch, gain) = camera.sensor.bands, camera.theta.T
    zeros = np.zeros(len(bands))
    return StfEstimate(
        stf=camera.rows.astype(float),
        stf_se=np.zeros(camera.rows.shape),
        centre=np.array([band.centre for band in bands]) + shift,
        fwhm=np.array([band.fwhm for band in bands]) * np.exp(stretch),
        gain=np.exp(gain),
        centre_se=zeros,
        fwhm_se=zeros,
        gain_se=zeros,
        condition=math.nan,
        span_share=np.ones(len(bands)),
        prior_driven=np.zeros(len(bands), bool),
        residual=sigma,
        valid_fraction=valid_fraction,
    )
