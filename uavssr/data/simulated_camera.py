"""A true camera near its data sheet, the shifts of its bands, and its noise, window by window.

No pixel depends on how a scene is cut into windows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from uavssr.data.random_cameras import MAX_BAND_SHIFT, draw_cameras, shift_band
from uavssr.errors import InputRefused
from uavssr.io.hsi import CubeSource
from uavssr.io.stf import StfEstimate
from uavssr.io.writers import IMAGE_BLOCK
from uavssr.sensors import Float32Array, FloatArray, Sensor
from uavssr.tiling import TileGrid, Window

_CAMERA_STREAM, _SHIFT_STREAM, _NOISE_STREAM = 5, 6, 7
"""Ends of the seeds: separate random streams, so that no option changes the draws of another."""


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


def draw_camera(
    sensor: Sensor, cube: CubeSource, *, seed: int, misregistration: float, perfect: bool
) -> SimulatedCamera:
    """Draw the true camera of a seed, for the wavelengths of a cube.

    Args:
        sensor: the data sheet.
        cube: gives the wavelengths.
        seed: of the draw.
        misregistration: standard deviation in pixels of the shifts of all bands but the first.
        perfect: take the data sheet itself as the true camera.

    Raises:
        InputRefused: the cube does not cover the sensor's bands.
    """
    try:
        nominal = sensor.srf(cube.grid)
    except InputRefused as err:
        raise InputRefused(
            err.fact,
            path=cube.path,
            remedy="take a cube that covers the camera, or leave the band out of a sensor file",
        ) from err
    rng = np.random.default_rng([seed, _SHIFT_STREAM])
    shifts = rng.normal(size=(len(sensor), 2)) * misregistration
    shifts[0] = 0
    rows, theta = nominal.astype(np.float32), np.zeros((len(sensor), 3))
    if not perfect:
        rng = np.random.default_rng([seed, _CAMERA_STREAM])
        drawn = draw_cameras(rng, [sensor], cube.grid)
        rows, theta = drawn.rows[0], drawn.theta[0].astype(float)
    return SimulatedCamera(
        sensor=sensor,
        rows=rows,
        theta=theta,
        shifts=np.clip(shifts, -MAX_BAND_SHIFT, MAX_BAND_SHIFT),
    )


def shift_bands(
    image: Float32Array, shifts: FloatArray, core: Window, read: Window, halo: int
) -> Float32Array:
    """Shift the bands of an image and return its core (c, h, w), NaN where a band has no data.

    Args:
        image: (c, y, x) the window `read`, NaN where invalid.
        shifts: (c, 2) pixels down and right, at most `halo`.
        core: the window to return.
        read: the core and its halo, clipped to the scene.
        halo: pixels around the core.
    """
    whole = Window(core.row - halo, core.col - halo, core.height + 2 * halo, core.width + 2 * halo)
    padded = np.full((len(image), whole.height, whole.width), np.nan, np.float32)
    padded[:, *read.within(whole)] = image
    shifted = np.stack(
        [shift_band(band, shift) for band, shift in zip(padded, shifts, strict=True)]
    )
    return shifted[:, *core.within(whole)]


def noise(seed: int, sigma: FloatArray, window: Window) -> Float32Array:
    """Draw white noise (c, h, w) for a window, block by block of the scene.

    Args:
        seed: of the draw.
        sigma: (c,) standard deviations in reflectance.
        window: starts at a corner of the scene's blocks of `IMAGE_BLOCK` pixels.
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
    """Return the true STF in the form of an estimate: no errors, nothing left to the prior.

    Args:
        camera: the truth.
        sigma: (c,) standard deviation of the noise in reflectance.
        valid_fraction: share of the scene's pixels that are valid.
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
