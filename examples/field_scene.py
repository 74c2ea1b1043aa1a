"""The synthetic crop trial of examples/make_field.py: its ground, plants, trees, pond and shadows.

Spectra are PROSAIL's canopies and soils, a bio-optical water and a smooth roof tile; layers are
painted back to front with soft edges.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from uavssr.sensors import HEADWALL_NANO, Float32Array, FloatArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.spectra_sources.synthetic import water_spectra
from scripts.spectra_sources.vegetation import (
    CanopyTraits,
    LeafTraits,
    canopy_reflectance,
    soil_spectra,
)

HEIGHT, WIDTH, GSD = 420, 480, 0.08
"""Rows, columns, and metres per pixel: a flight at 150 m."""
SUN_AZIMUTH: Final = 150.0
"""Degrees from north."""
SHADOW_PER_HEIGHT: Final = 0.7
"""Length of a shadow for a sun 35 degrees from the zenith, as the canopies have it."""


class Painting:
    """A scene as weights of materials, painted back to front, under a map of shade."""

    def __init__(self) -> None:
        self.names: list[str] = []
        """Object that each material belongs to, such as a plot."""
        self.spectra: list[Float32Array] = []
        """(C,) reflectance of each material."""
        self.weights: list[Float32Array] = []
        """(HEIGHT, WIDTH) share of each material; the shares sum to one."""
        self.shade = np.zeros((HEIGHT, WIDTH), np.float32)
        """Share of the direct sunlight that is blocked, 0..1."""

    def paint(
        self, name: str, mask: FloatArray, low: Float32Array, high: Float32Array, mix: FloatArray
    ) -> None:
        """Cover `mask` (0..1) with a blend of two spectra; `mix` (0..1) is the share of `high`."""
        rest = np.asarray(1 - mask, np.float32)
        self.weights = [weight * rest for weight in self.weights]
        for spectrum, share in ((low, 1 - mix), (high, mix)):
            self.names.append(name)
            self.spectra.append(spectrum)
            self.weights.append(np.asarray(mask * share, np.float32))

    def render(self, responses: FloatArray, brightness: FloatArray) -> Float32Array:
        """Return the image (k, HEIGHT, WIDTH) of `responses` (k, C), with brightness and shade."""
        spectra = np.stack(self.spectra)
        weights = np.stack(self.weights).reshape(-1, HEIGHT * WIDTH)
        lit, dark = responses @ spectra.T, responses @ (spectra * skylight()).T
        shade = self.shade.ravel()
        seen = (1 - shade) * (lit @ weights) + shade * (dark @ weights)
        return np.asarray((seen * brightness.ravel()).reshape(-1, HEIGHT, WIDTH), np.float32)

    def spectra_at(
        self, row: npt.NDArray[np.integer], col: npt.NDArray[np.integer], brightness: FloatArray
    ) -> FloatArray:
        """Return the true reflectance (n, C) at pixels (n,), as in `render`."""
        weights = np.stack([weight[row, col] for weight in self.weights], axis=1)
        shade = self.shade[row, col][:, None]
        light = (1 - shade) + shade * skylight()
        return np.asarray(weights @ np.stack(self.spectra) * light * brightness[row, col][:, None])


def skylight() -> FloatArray:
    """Return the share (C,) of light in shadow: from the blue sky and scattered by neighbours."""
    nm = HEADWALL_NANO.centres
    return np.asarray(0.1 + 0.17 * (nm / 450) ** -2.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Coordinates in metres from the upper left corner, and shapes to draw with."""

    x: FloatArray
    """(HEIGHT, WIDTH) metres to the right."""
    y: FloatArray
    """(HEIGHT, WIDTH) metres down."""
    rng: np.random.Generator
    """Random generator."""

    def noise(self, smooth: float = 1.0) -> FloatArray:
        """A random field of mean 0 and deviation 1, blurred by `smooth` metres."""
        white = self.rng.standard_normal((HEIGHT, WIDTH))
        field = ndimage.gaussian_filter(white, smooth / GSD, mode="reflect")
        return np.asarray(field / field.std())

    def box(self, cx: float, cy: float, w: float, h: float, turn: float = 0.0) -> FloatArray:
        """A rectangle of w x h metres with antialiased edges: 1 inside, 0 outside."""
        u, v = self.turned(cx, cy, turn)
        return soft(np.minimum(w / 2 - np.abs(u), h / 2 - np.abs(v)))

    def turned(self, cx: float, cy: float, turn: float) -> tuple[FloatArray, FloatArray]:
        """Coordinates about (cx, cy), turned by `turn` degrees."""
        dx, dy, a = self.x - cx, self.y - cy, np.deg2rad(turn)
        return dx * np.cos(a) + dy * np.sin(a), dy * np.cos(a) - dx * np.sin(a)


def soft(distance: FloatArray, width: float = GSD) -> FloatArray:
    """Return 1 where the signed distance (m) is positive, 0 elsewhere, with a ramp of `width`."""
    return np.clip(0.5 + distance / width, 0, 1)


def unit(field: FloatArray) -> FloatArray:
    """A random field squeezed into 0..1."""
    return np.asarray(1 / (1 + np.exp(-1.5 * field)))


def canopy(lai: float, cab: float, *, brown: float = 0.0, angle: float = 50.0) -> Float32Array:
    """Spectrum (C,) of a canopy under the scene's sun."""
    leaf = LeafTraits(cab=cab, car=2 + 0.17 * cab, cbrown=brown, cw=0.012 * (1 - brown))
    traits = CanopyTraits(leaf=leaf, lai=lai, leaf_angle=angle, soil_brightness=0.7)
    return np.asarray(canopy_reflectance([traits], HEADWALL_NANO)[0])


def soil(brightness: float, dryness: float) -> Float32Array:
    """Spectrum (C,) of a bare soil."""
    return np.asarray(soil_spectra(np.array([brightness]), np.array([dryness]), HEADWALL_NANO)[0])


def paint_scene(ground: Ground) -> Painting:
    """Paint the whole field, back to front."""
    art, everywhere = Painting(), np.ones((HEIGHT, WIDTH))
    art.paint("soil", everywhere, soil(0.5, 0.5), soil(0.85, 0.9), unit(ground.noise(0.5)))
    grass = soft(ground.noise(0.35) + 0.9 * ground.noise(1.5) + 0.9, 1.2)
    outside = 1 - ground.box(16.3, 12.2, 31.0, 22.6, 2)
    art.paint(
        "grass", grass * outside, canopy(1.4, 26, brown=0.15), canopy(3.2, 40), unit(ground.noise())
    )
    paint_trial(art, ground)
    paint_track(art, ground)
    paint_pond(art, ground)
    paint_shed(art, ground)
    paint_trees(art, ground)
    return art


def paint_trial(art: Painting, ground: Ground) -> None:
    """Plots of seven nitrogen levels (columns) and six varieties (rows), with alleys between."""
    rng, turn = ground.rng, 2.0
    fine = ground.noise(0.1)
    growth = ground.noise(0.5) + 0.8 * ground.noise(2.5)
    u, v = ground.turned(16.3, 12.2, turn)
    for column, row in np.ndindex(7, 6):
        cu, cv = (column - 3) * 4.3 + 0.5 * (column > 3), (row - 2.5) * 3.55 + 0.7 * (row > 2)
        distance = np.minimum(1.9 - np.abs(u - cu), 1.5 - np.abs(v - cv)) + 0.05 * growth
        nitrogen = (column * 3 + row * 2) % 7 / 6
        ripe = rng.uniform(0.6, 1) if rng.random() < 0.45 and row in {1, 4} else 0.0
        lai = (1.3 + 3.6 * nitrogen) * rng.uniform(0.85, 1.15)
        cab = (24 + 34 * nitrogen) * (1 - 0.93 * ripe) * rng.uniform(0.9, 1.1)
        angle = rng.uniform(40, 65)
        spacing = 0.5 if row < 3 else 0.75
        wave = np.cos(2 * np.pi * ((v - cv) / spacing + 0.04 * growth))
        cover = np.clip(2.2 * (1 - np.exp(-0.55 * lai)) - 1.1 + 0.35 * growth, -1.2, 1.4)
        plants = soft(distance) * soft(wave + cover + 0.3 * fine, 0.7)
        art.paint(
            f"plot {column + 1}-{row + 1}",
            plants,
            canopy(0.6 * lai, cab * 0.85, brown=0.3 * ripe, angle=angle),
            canopy(1.2 * lai, cab * 1.1, brown=0.15 * ripe, angle=angle),
            unit(growth),
        )
        art.shade = np.maximum(art.shade, 0.45 * soft(distance) * soft(0.2 - np.abs(wave), 0.6))


def paint_track(art: Painting, ground: Ground) -> None:
    """A farm track of two ruts with grass between, and a spur to the shed."""
    bend = 26.0 + 0.35 * np.sin(ground.x / 7) + 0.05 * ground.noise(0.6)
    off = np.abs(ground.y - bend)
    spur = np.abs(ground.x - 33.7 - 0.3 * np.sin(ground.y / 3) - 0.05 * ground.noise(0.8))
    spur = np.where((ground.y > 20) & (ground.y < 26.6), spur, 9.0)
    road = soft(
        1.45 - np.minimum(off, spur) + 0.07 * ground.noise(0.45) + 0.04 * ground.noise(0.1), 0.3
    )
    art.paint("track", road, soil(0.65, 0.75), soil(0.95, 1.0), unit(ground.noise(0.25)))
    middle = soft(0.35 - off + 0.15 * ground.noise(0.25), 0.3) * (spur > 1.3)
    art.paint(
        "verge", 0.8 * middle, canopy(1.0, 28, brown=0.2), canopy(2.0, 36), unit(ground.noise())
    )


def paint_pond(art: Painting, ground: Ground) -> None:
    """A pond with algae towards its bank and a rim of reeds."""
    radius = np.hypot((ground.x - 33.6) / 1.5, ground.y - 31.2) + 0.13 * ground.noise(0.8)
    reeds = soft(2.95 - radius + 0.1 * ground.noise(0.2), 0.3)
    art.paint(
        "reeds",
        reeds,
        canopy(3.0, 38, angle=68),
        canopy(5.0, 50, angle=65),
        unit(ground.noise(0.3)),
    )
    waters = water_spectra(300, np.random.default_rng(7), HEADWALL_NANO)
    red, infrared = HEADWALL_NANO.nearest(660), HEADWALL_NANO.nearest(860)
    green = HEADWALL_NANO.nearest(560)
    algal = (waters[:, green] - waters[:, red]) * (waters[:, infrared] < 0.02)
    clear = np.abs(waters[:, green] - 0.03) + waters[:, infrared]
    bank = np.clip((radius - 1.2) / 1.5, 0, 1)
    art.paint(
        "pond", soft(2.55 - radius), waters[clear.argmin()], 0.6 * waters[algal.argmax()], bank
    )


def paint_shed(art: Painting, ground: Ground) -> None:
    """A tiled gable roof, one side in full sun, and its shadow."""
    cx, cy, w, h, turn, tall = 34.6, 17.6, 5.0, 4.0, 12.0, 2.6
    dx, dy = shadow_offset(tall)
    cast = [ground.box(cx + s * dx, cy + s * dy, w, h, turn) for s in np.linspace(0, 1, 12)]
    art.shade = np.maximum(art.shade, np.max(cast, axis=0))
    roof = ground.box(cx, cy, w, h, turn)
    nm = HEADWALL_NANO.centres
    edge = 1 / (1 + np.exp(-(nm - 585) / 22))
    tile = np.asarray(0.08 + 0.13 * edge + 0.06 * (nm - 400) / 600, np.float32)
    _, across = ground.turned(cx, cy, turn)
    courses = 0.5 + 0.5 * np.sin(2 * np.pi * across / 0.33)
    sunny = soft(across) * 0.65 + 0.2 * courses + 0.1 * unit(ground.noise(0.1))
    art.paint("roof", roof, 0.62 * tile, 1.15 * tile, np.clip(sunny, 0, 1))
    art.shade = np.asarray(art.shade * (1 - roof), np.float32)


def paint_trees(art: Painting, ground: Ground) -> None:
    """A line of trees on the southern edge; their shadows fall over the track and the field."""
    rng = ground.rng
    for centre in np.arange(1.8, 28.0, 2.7):
        cx, cy = centre + rng.normal(0, 0.3), 30.9 + rng.normal(0, 0.45)
        size, tall = rng.uniform(1.15, 1.85), rng.uniform(3.8, 6.5)
        rough = 0.16 * ground.noise(0.25) + 0.1 * ground.noise(0.08)
        for s in np.linspace(0.3, 1, 14):
            dx, dy = shadow_offset(s * tall)
            width = size * np.sqrt(1 - 0.6 * (2 * s - 1.2) ** 2)
            away = np.hypot(ground.x - cx - dx, ground.y - cy - dy)
            art.shade = np.maximum(art.shade, 0.92 * soft(width - away + rough, 0.25))
        away = np.hypot(ground.x - cx, ground.y - cy)
        crown = soft(size - away + rough, 0.12)
        cab, lai = rng.uniform(38, 62), rng.uniform(3.5, 6)
        art.paint(
            "tree", crown, canopy(0.5 * lai, cab), canopy(lai, cab - 8), unit(ground.noise(0.12))
        )
        dx, dy = shadow_offset(1.0)
        facing = ((ground.x - cx) * dx + (ground.y - cy) * dy) / (np.hypot(dx, dy) * size)
        inner = np.clip(0.25 + 0.4 * facing + 0.25 * ground.noise(0.15), 0, 0.9)
        art.shade = art.shade * (1 - crown) + inner * crown


def shadow_offset(tall: float) -> tuple[float, float]:
    """Metres right and down from the foot of something `tall` metres to its shadow's tip."""
    azimuth, length = np.deg2rad(SUN_AZIMUTH), SHADOW_PER_HEIGHT * tall
    return -float(np.sin(azimuth) * length), float(np.cos(azimuth) * length)
