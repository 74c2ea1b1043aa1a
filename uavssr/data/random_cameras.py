"""Random cameras near their data sheets, and the images that they take of scenes.

A true camera deviates from its data sheet by a shift, a stretch and a gain per band. It also has
another filter shape and out-of-band leakage, which no parameter of the model describes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from uavssr.model import ResponseFamily
from uavssr.sensors import (
    FINE_NM,
    SENSORS,
    Band,
    Float32Array,
    FloatArray,
    Sensor,
    WavelengthGrid,
    nominal_spread,
)

BAND_COUNTS: Final = (3, 4, 4, 5, 5, 5, 5, 5, 6, 10)
"""Numbers of bands from which a random camera's is drawn."""
SNR_RANGE_DB: Final = (25.0, 45.0)
"""Range of the signal-to-noise ratio 20 log10(rms / sigma) in dB, drawn per scene."""
MAX_BAND_SHIFT: Final = 2
"""Largest misregistration of a band in pixels: larger draws are clipped to it."""

_VISIBLE_BAND_COUNTS: Final = (3, 3, 3, 4, 5)
"""The same for wavelength grids without near infrared."""
_VISIBLE_END_NM: Final = 760.0
"""Last wavelength of a grid in nm below which it has no near infrared."""
_KNOWN_CAMERA: Final = 0.5
"""Probability of a known camera's data sheet, where one has that many bands."""
_MAX_LEAK: Final = 0.06
"""Largest share of a band's response that lies outside its pass band."""
_SHAPE_LOG_STD: Final = 0.25
"""Standard deviation of the logarithm of the filter's shape exponent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomCameras:
    """S cameras of c bands each: their data sheets and their true responses."""

    family: ResponseFamily
    """What a model is given of them: nominal response curves and the prior spread."""
    theta: Float32Array
    """(S, c, 3) true shift (nm), log stretch and log gain."""
    rows: Float32Array
    """(S, c, C) true STF on the bands of the cube."""


def draw_cameras(
    rng: np.random.Generator,
    sensors: list[Sensor],
    grid: WavelengthGrid,
    *,
    spread_factor: FloatArray | None = None,
) -> RandomCameras:
    """Draw one true camera near each data sheet.

    Args:
        rng: random generator.
        sensors: S data sheets of c bands each.
        grid: C bands of the cube.
        spread_factor: (S,) factor on the spread of the deviations, ones by default; 0 gives the
            data sheet itself.
    """
    factors = np.ones(len(sensors)) if spread_factor is None else spread_factor
    centre = np.array([[band.centre for band in sensor.bands] for sensor in sensors])
    fwhm = np.array([[band.fwhm for band in sensor.bands] for sensor in sensors])
    theta = rng.normal(size=(*fwhm.shape, 3)) * nominal_spread(fwhm) * factors[:, None, None]
    cameras = zip(sensors, theta, factors, strict=True)
    true = np.stack([_true_curves(rng, *camera) for camera in cameras])
    family = ResponseFamily.stack(
        curves=np.stack([sensor.response() for sensor in sensors]).astype(np.float32),
        centre=centre.astype(np.float32),
        fwhm=fwhm.astype(np.float32),
        grid=grid,
        spread_factor=factors.astype(np.float32),
    )
    rows = (true @ grid.interpolation()).astype(np.float32)
    return RandomCameras(family=family, theta=theta.astype(np.float32), rows=rows)


def random_band_count(rng: np.random.Generator, grid: WavelengthGrid) -> int:
    """Draw the number of bands that the cameras of a batch have."""
    visible = grid.centres[-1] < _VISIBLE_END_NM
    return int(rng.choice(_VISIBLE_BAND_COUNTS if visible else BAND_COUNTS))


def random_sensors(
    rng: np.random.Generator, count: int, bands: int, grid: WavelengthGrid
) -> list[Sensor]:
    """Draw data sheets of known cameras with that many bands, if any, and invented ones."""
    first, last = grid.centres[[0, -1]]
    known = [
        sensor
        for sensor in SENSORS.values()
        if len(sensor) == bands and all(first < band.centre < last for band in sensor.bands)
    ]
    return [
        known[rng.integers(len(known))]
        if known and rng.random() < _KNOWN_CAMERA
        else invented_sensor(rng, bands, grid)
        for _ in range(count)
    ]


def invented_sensor(rng: np.random.Generator, count: int, grid: WavelengthGrid) -> Sensor:
    """A random data sheet: centres over most of the grid, widths of 8 to 90 nm, one shape."""
    first, length = float(grid.centres[0]), float(grid.centres[-1] - grid.centres[0])
    span = first + length * rng.uniform(0.02, 0.14), first + length * rng.uniform(0.63, 0.88)
    edges = np.linspace(*span, count + 1)
    centres = rng.uniform(edges[:-1], edges[1:])
    widest = np.minimum(1.6 * np.diff(span) / count, 90.0)
    widths = np.exp(rng.uniform(np.log(10), np.log(90), count)).clip(8, widest)
    shape = float(rng.choice([2.0, 3.0, 4.0, 6.0]))
    bands = [
        Band(role=f"b{i}", centre=centre, fwhm=width, shape=shape)
        for i, (centre, width) in enumerate(zip(centres.tolist(), widths.tolist(), strict=True))
    ]
    return Sensor(name="random", bands=tuple(bands))


def _true_curves(
    rng: np.random.Generator, sensor: Sensor, theta: FloatArray, spread_factor: float
) -> FloatArray:
    """Draw the true responses (c, F) of a camera on `FINE_NM`.

    r(nm) = ((1 - leak) main(centre + (nm - centre - shift) / e^stretch) + leak broad(nm)) e^gain
    """
    curves = []
    for band, (shift, stretch, gain) in zip(sensor.bands, theta, strict=True):
        shape = band.shape * np.exp(_SHAPE_LOG_STD * spread_factor * rng.normal())
        warped = band.centre + (FINE_NM - band.centre - shift) * np.exp(-stretch)
        main = replace(band, shape=float(np.clip(shape, 1.5, 12))).response(warped)
        leak = _MAX_LEAK * spread_factor * rng.random() if rng.random() < 0.5 else 0.0
        broad = np.exp(-0.5 * ((FINE_NM - rng.uniform(450, 950)) / rng.uniform(40, 160)) ** 2)
        curves.append(((1 - leak) * main + leak * broad / broad.sum()) * np.exp(gain))
    return np.stack(curves)


def observe(
    rng: np.random.Generator,
    scenes: Float32Array,
    rows: Float32Array,
    *,
    snr_db: tuple[float, float] = SNR_RANGE_DB,
    misregistration: float | FloatArray = 0.0,
) -> Float32Array:
    """The noisy images (S, c, H, W) that cameras take of scenes, in reflectance.

    Shifted bands wrap around: the outermost `MAX_BAND_SHIFT` pixels are not to be used.

    Args:
        rng: random generator of the noise and the shifts.
        scenes: (S, C, H, W) reflectance.
        rows: (S, c, C) true STFs.
        snr_db: range of the signal-to-noise ratio 20 log10(rms / sigma) in dB, drawn per scene.
        misregistration: standard deviation in pixels of the shifts of all bands but the first, a
            number or (S,).
    """
    count, bands, height, width = scenes.shape
    # Y = R X
    images = np.matmul(rows, scenes.reshape(count, bands, -1)).reshape(count, -1, height, width)
    for image, spread in zip(images, np.broadcast_to(misregistration, count), strict=True):
        for band in image[1:]:
            shift = np.clip(spread * rng.normal(size=2), -MAX_BAND_SHIFT, MAX_BAND_SHIFT)
            if shift.any():
                band[:] = shift_band(band, shift)
    # sigma = rms 10^(-SNR / 20)
    rms = np.sqrt(np.square(images).mean((2, 3), keepdims=True))
    sigma = rms * 10 ** (-rng.uniform(*snr_db, (count, 1, 1, 1)) / 20)
    return (images + sigma * rng.normal(size=images.shape)).astype(np.float32)


def shift_band(band: Float32Array, shift: FloatArray) -> Float32Array:
    """Shift a band (y, x) by `shift` = (down, right) pixels, bilinear; its edges wrap around."""
    for axis, pixels in enumerate(shift):
        whole = int(np.floor(pixels))
        part = np.float32(pixels - whole)
        near = np.roll(band, whole, axis)
        # Without a fraction the farther pixel has no weight; it may be NaN.
        band = (1 - part) * near + part * np.roll(band, whole + 1, axis) if part else near
    return band
