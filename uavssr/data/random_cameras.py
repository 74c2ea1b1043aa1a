"""Random cameras and what they see: nominal curves that are told, true ones that are not.

A camera's truth strays from its data sheet by shift, stretch and gain
and beyond it: another filter shape and out-of-band leak. All draws come from the generator given.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

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
VISIBLE_COUNTS: Final = (3, 3, 3, 4, 5)
"""How many bands cameras have, by chance; on a grid that ends with the visible the second row."""
VISIBLE_NM: Final = 760.0
LEAK: Final = 0.06


@dataclass(frozen=True, slots=True, kw_only=True)
class Cameras:
    """S cameras of c bands each."""

    curves: Float32Array
    """(S, c, F) nominal responses on `bands.FINE_NM`."""
    centre: Float32Array
    """(S, c) nominal centres in nm."""
    fwhm: Float32Array
    """(S, c) nominal widths in nm."""
    knowledge: Float32Array
    """(S,) factor on the prior spread that the model is told: 0 is certain, 1 the data sheet."""
    theta: Float32Array
    """(S, c, 3) true shift (nm), log stretch and log gain."""
    rows: Float32Array
    """(S, c, C) true STF on the cube's bands."""


def draw_cameras(
    rng: np.random.Generator,
    sensors: list[Sensor],
    grid: WavelengthGrid,
    *,
    knowledge: FloatArray,
) -> Cameras:
    """A true camera for each nominal sensor; `knowledge` (S,) scales how far each strays."""
    fwhm = np.array([[band.fwhm for band in sensor.bands] for sensor in sensors])
    theta = rng.normal(size=(*fwhm.shape, 3)) * nominal_spread(fwhm) * knowledge[:, None, None]
    true = np.stack(
        [_true_curves(rng, *each) for each in zip(sensors, theta, knowledge, strict=True)]
    )
    return Cameras(
        curves=np.stack([sensor.response() for sensor in sensors]).astype(np.float32),
        centre=np.array([[b.centre for b in s.bands] for s in sensors], dtype=np.float32),
        fwhm=fwhm.astype(np.float32),
        knowledge=knowledge.astype(np.float32),
        theta=theta.astype(np.float32),
        rows=(true @ grid.interpolation()).astype(np.float32),
    )


def random_count(rng: np.random.Generator, grid: WavelengthGrid) -> int:
    """How many bands the cameras of a batch have."""
    visible = grid.centres[-1] < VISIBLE_NM
    return int(rng.choice(VISIBLE_COUNTS if visible else BAND_COUNTS))


def random_sensors(
    rng: np.random.Generator, count: int, bands: int, grid: WavelengthGrid
) -> list[Sensor]:
    """`count` nominal sensors of `bands` bands within a grid, half of them known cameras if any."""
    first, last = grid.centres[0], grid.centres[-1]
    known = [
        sensor
        for sensor in SENSORS.values()
        if len(sensor) == bands and all(first < band.centre < last for band in sensor.bands)
    ]
    return [
        known[rng.integers(len(known))]
        if known and rng.random() < 0.5
        else _invent(rng, bands, grid)
        for _ in range(count)
    ]


def _invent(rng: np.random.Generator, count: int, grid: WavelengthGrid) -> Sensor:
    first, whole = float(grid.centres[0]), float(grid.centres[-1] - grid.centres[0])
    span = first + whole * rng.uniform(0.02, 0.14), first + whole * rng.uniform(0.63, 0.88)
    edges = np.linspace(*span, count + 1)
    centres = rng.uniform(edges[:-1], edges[1:])
    widest = np.minimum(1.6 * np.diff(span) / count, 90.0)
    widths = np.exp(rng.uniform(np.log(10), np.log(90), count)).clip(8, widest)
    shape = float(rng.choice([2.0, 3.0, 4.0, 6.0]))
    return Sensor(
        name="random",
        bands=tuple(
            Band(role=f"b{i}", centre=float(c), fwhm=float(w), shape=shape)
            for i, (c, w) in enumerate(zip(centres, widths, strict=True))
        ),
    )


def _true_curves(
    rng: np.random.Generator,
    sensor: Sensor,
    theta: FloatArray,
    knowledge: float,
) -> FloatArray:
    rows = []
    for band, (shift, stretch, gain) in zip(sensor.bands, theta, strict=True):
        shape = band.shape * np.exp(0.25 * knowledge * rng.normal())
        warped = band.centre + (FINE_NM - band.centre - shift) * np.exp(-stretch)
        main = replace(band, shape=float(np.clip(shape, 1.5, 12))).response(warped)
        leak = LEAK * knowledge * rng.random() if rng.random() < 0.5 else 0.0
        broad = np.exp(-0.5 * ((FINE_NM - rng.uniform(450, 950)) / rng.uniform(40, 160)) ** 2)
        rows.append(((1 - leak) * main + leak * broad / broad.sum()) * np.exp(gain))
    return np.stack(rows)


def observe(
    rng: np.random.Generator,
    scenes: Float32Array,
    rows: Float32Array,
    *,
    snr_db: tuple[float, float] = (25.0, 45.0),
    misregistration: float | FloatArray = 0.0,
) -> Float32Array:
    """What cameras (S, c, C) see of scenes (S, C, H, W): reflectance (S, c, H, W).

    Args:
        rng: of the noise and the shifts.
        scenes: reflectance; the two outermost pixels wrap around when bands are shifted.
        rows: true STFs.
        snr_db: range of the signal-to-noise ratio 20 log10(rms / sigma), drawn per scene.
        misregistration: standard deviation of each band's shift in pixels, for all scenes or (S,);
            shifts are clipped at 2.
    """
    count, _, height, width = scenes.shape
    clean = np.matmul(rows, scenes.reshape(count, scenes.shape[1], -1))
    images = clean.reshape(count, -1, height, width)
    for image, spread in zip(images, np.broadcast_to(misregistration, count), strict=True):
        for band in image[1:]:
            down, right = np.clip(spread * rng.normal(size=2), -2, 2)
            if down or right:
                band[:] = _shifted(band, down, right)
    rms = np.sqrt(np.square(images).mean((2, 3), keepdims=True))
    sigma = rms * 10 ** (-rng.uniform(*snr_db, (count, 1, 1, 1)) / 20)
    noisy = images + sigma * rng.normal(size=images.shape)
    return noisy.astype(np.float32)


def _shifted(band: Float32Array, down: float, right: float) -> Float32Array:
    for axis, shift in enumerate((down, right)):
        whole = int(np.floor(shift))
        part = np.float32(shift - whole)
        band = (1 - part) * np.roll(band, whole, axis) + part * np.roll(band, whole + 1, axis)
    return band
