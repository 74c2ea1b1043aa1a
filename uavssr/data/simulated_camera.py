"""A true camera and what it adds to an image: shifts of its bands and noise, window by window.

Nothing here depends on where windows end. Must not open files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from uavssr.data.random_cameras import draw_cameras
from uavssr.errors import InputRefused
from uavssr.io.hsi import CubeSource
from uavssr.io.stf import StfEstimate
from uavssr.io.writers import IMAGE_BLOCK
from uavssr.sensors import Float32Array, FloatArray, Sensor
from uavssr.tiling import TileGrid, Window

MAX_SHIFT: Final = 2.0
"""Pixels at which the shift of a band is clipped, as in training."""
MARGIN: Final = 2
"""Pixels around a window from which its shifted bands are made."""
_CAMERA, _SHIFT, _NOISE = 5, 6, 7
"""Each has a stream of random numbers of its own, so that one option leaves the others alone."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Camera:
    """One true camera: what it is, which its data sheet does not say."""

    sensor: Sensor
    """The data sheet, c bands."""
    rows: Float32Array
    """(c, C) true STF: image = rows @ cube."""
    theta: FloatArray
    """(c, 3) shift in nm, log stretch and log gain against the data sheet."""
    shifts: FloatArray
    """(c, 2) pixels by which each band lies further down and right than the cube."""


def draw_camera(
    sensor: Sensor, cube: CubeSource, *, seed: int, misregistration: float, perfect: bool
) -> Camera:
    """The true camera of a seed, for the wavelengths of a cube.

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
    shifts = np.random.default_rng([seed, _SHIFT]).normal(size=(len(sensor), 2)) * misregistration
    shifts[0] = 0
    rows, theta = nominal.astype(np.float32), np.zeros((len(sensor), 3))
    if not perfect:
        rng = np.random.default_rng([seed, _CAMERA])
        drawn = draw_cameras(rng, [sensor], cube.grid, knowledge=np.ones(1))
        rows, theta = drawn.rows[0], drawn.theta[0].astype(float)
    return Camera(
        sensor=sensor, rows=rows, theta=theta, shifts=np.clip(shifts, -MAX_SHIFT, MAX_SHIFT)
    )


def registered(
    image: Float32Array, shifts: FloatArray, core: Window, read: Window, halo: int
) -> Float32Array:
    """The core of each band (c, h, w) after its shift; NaN where it has no data for it."""
    top, left = halo - (core.row - read.row), halo - (core.col - read.col)
    padded = np.full(
        (len(image), core.height + 2 * halo, core.width + 2 * halo), np.nan, np.float32
    )
    padded[:, top : top + read.height, left : left + read.width] = image
    shifted = []
    for band, (down, right) in zip(padded, shifts, strict=True):
        rows = _moved(band, float(down), halo, core.height)
        shifted.append(_moved(rows.T, float(right), halo, core.width).T)
    return np.stack(shifted)


def _moved(band: Float32Array, shift: float, halo: int, length: int) -> Float32Array:
    """`length` lines of a band after the first `halo`, once its content has moved by `shift`."""
    whole = math.floor(shift)
    part = np.float32(shift - whole)
    start = halo - whole
    if part == 0:
        return band[start : start + length]
    before, after = band[start - 1 : start - 1 + length], band[start : start + length]
    return np.asarray((1 - part) * after + part * before)


def noise(seed: int, sigma: FloatArray, window: Window) -> Float32Array:
    """White noise (c, h, w) of a window, drawn per block of the scene and cut to the window."""
    found = np.empty((len(sigma), window.height, window.width), np.float32)
    for block in TileGrid(height=window.height, width=window.width, tile=IMAGE_BLOCK):
        rows, cols = block.core.rows, block.core.cols
        place = (window.row + rows.start) // IMAGE_BLOCK, (window.col + cols.start) // IMAGE_BLOCK
        rng = np.random.default_rng([seed, _NOISE, *place])
        drawn = rng.standard_normal((len(sigma), IMAGE_BLOCK, IMAGE_BLOCK), np.float32)
        found[:, rows, cols] = drawn[:, : block.core.height, : block.core.width]
    return np.asarray(found * sigma[:, None, None].astype(np.float32))


def true_stf(camera: Camera, sigma: FloatArray, share: float) -> StfEstimate:
    """The truth in the form of an estimate: without errors, and with nothing left to the prior."""
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
        valid_fraction=share,
    )
