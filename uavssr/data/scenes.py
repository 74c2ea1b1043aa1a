"""Simulated scenes: maps of abundances times library spectra, with texture, light and shadow.

A pixel is x(nm) = sum_m a_m s_m(nm) * brightness * light(nm), a_m >= 0, sum_m a_m = 1. Each
material s_m is a smooth blend of a library spectrum and similar ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from uavssr.errors import UsageError
from uavssr.sensors import BoolArray, Float32Array, IndexArray
from uavssr.spectra import SpectralLibrary

MAX_REFLECTANCE: Final = 1.3
"""Scenes are clipped to 0..1.3: sunlit slopes and glints exceed 1."""


@dataclass(frozen=True, slots=True)
class SceneType:
    """A type of scene: its materials and their layout."""

    groups: tuple[str, ...]
    """Groups of library kinds, separated by blanks; materials come from each group in turn."""
    weight: float
    """Relative frequency of the type."""
    rows: float = 0.0
    """Probability of crop rows, which alternate between the first group and the others."""
    blocks: float = 0.0
    """Probability of rectangles of one material: roofs, roads, plots."""


SCENE_TYPES: Final = (
    SceneType(("canopy", "soil", "canopy leaf", "soil mineral"), 0.35, rows=0.6, blocks=0.3),
    SceneType(("canopy leaf", "canopy", "soil mineral other"), 0.15),  # natural vegetation
    SceneType(("manmade", "manmade mineral", "canopy"), 0.15, blocks=0.9),
    SceneType(("water", "soil mineral other", "canopy"), 0.1, blocks=0.2),
    SceneType(("other", "other manmade", "other canopy"), 0.1, blocks=0.4),  # airborne scenes
    SceneType(("",), 0.15, rows=0.1, blocks=0.3),  # any spectrum
)
"""Types of scene, drawn by their weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Perturbation:
    """Strengths of the deviations from pure library spectra; 0 leaves one out."""

    siblings: int = 4
    """Largest number of similar spectra, 2 or more, that are blended with a material's own."""
    texture: float = 0.12
    """Largest standard deviation of the logarithm of the brightness texture."""
    slope: float = 0.04
    """Largest relative standard deviation of a tilt and a bow over the whole spectrum."""
    gradient: float = 0.15
    """Largest relative change of illumination across the scene."""
    shadow: float = 0.5
    """Probability of soft shadows."""
    glint: float = 0.2
    """Probability of glints, single bright pixels."""


def simulate_scene(
    library: SpectralLibrary,
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    materials: int | None = None,
    perturbation: Perturbation | None = None,
) -> Float32Array:
    """Simulate one scene (C, height, width) of reflectance, 0..1.3.

    Args:
        library: spectra to build it from; any spectrum replaces a kind that it lacks.
        rng: random generator, which alone determines the scene.
        height: rows, 2 or more.
        width: columns, 2 or more.
        materials: number of materials; by default 2 to 8 at random.
        perturbation: strengths of the deviations from library spectra; None: as in training.

    Raises:
        UsageError: fewer than two rows or columns, or no material.
    """
    if height < 2 or width < 2 or (materials is not None and materials < 1):
        raise UsageError(
            f"a scene of {height} x {width} pixels and {materials} materials",
            remedy="ask for two rows, two columns and one material or more",
        )
    chance = np.array([scene_type.weight for scene_type in SCENE_TYPES])
    scene_type = SCENE_TYPES[rng.choice(len(SCENE_TYPES), p=chance / chance.sum())]
    count = int(rng.integers(2, 9)) if materials is None else materials
    draw = _SceneDraw(library, rng, height, width, perturbation or Perturbation())
    indices, first_group = draw.materials(scene_type, count)
    maps = abundances(rng, count, height, width, bias=draw.layout(scene_type, first_group))
    weights, spectra = draw.with_siblings(indices, maps)
    # x = sum_m a_m s_m * brightness * light
    scene = spectra.T @ (weights * draw.brightness())
    scene *= draw.light()
    np.clip(scene, 0, MAX_REFLECTANCE, out=scene)
    return scene.reshape(-1, height, width)


def simulate_batch(
    library: SpectralLibrary, rng: np.random.Generator, count: int, size: int
) -> Float32Array:
    """Simulate `count` scenes of `size` x `size` pixels: (count, C, size, size) of reflectance."""
    batch = np.empty((count, len(library.grid), size, size), np.float32)
    for scene in batch:
        scene[...] = simulate_scene(library, rng, size, size)
    return batch


@dataclass(frozen=True, slots=True)
class _SceneDraw:
    """The random draws of one scene of N = height x width pixels and C wavelengths."""

    library: SpectralLibrary
    rng: np.random.Generator
    height: int
    width: int
    perturbation: Perturbation

    def materials(self, scene_type: SceneType, count: int) -> tuple[IndexArray, BoolArray]:
        """Indices (count,) into the library, and which of them belong to the first group."""
        pools = [self.library.of_kind(*group.split()) for group in scene_type.groups]
        pools = [pool if pool.size else np.arange(len(self.library)) for pool in pools]
        turn = np.arange(count) % len(pools)
        return np.array([self.rng.choice(pools[t]) for t in turn], np.intp), turn == 0

    def layout(self, scene_type: SceneType, first: BoolArray) -> Float32Array:
        """Crop rows and rectangles as a bias (materials, height, width) for `abundances`."""
        rng = self.rng
        bias = np.zeros((first.size, self.height, self.width), np.float32)
        y, x = np.mgrid[: self.height, : self.width].astype(np.float32)
        if rng.random() < scene_type.rows:
            angle, period = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(3), np.log(24)))
            phase = (x * np.cos(angle) + y * np.sin(angle)) / period + rng.random()
            wave = rng.uniform(0.5, 2.5) * np.cos(2 * np.pi * phase)
            bias += np.where(first, 1, -1)[:, None, None] * wave
        if rng.random() < scene_type.blocks:
            _add_blocks(bias, y, x, rng)
        return bias

    def with_siblings(
        self, materials: IndexArray, maps: Float32Array
    ) -> tuple[Float32Array, Float32Array]:
        """Weights (k, N) and spectra (k, C) of the materials (m,) and spectra similar to them.

        The abundance maps (m, height, width) are divided among each material and its siblings.
        """
        library, rng = self.library, self.rng
        flat = maps.reshape(len(maps), -1)
        if self.perturbation.siblings == 0:
            return flat, library.spectra[materials]
        extra = int(rng.integers(2, self.perturbation.siblings + 1))
        picks = rng.integers(0, library.neighbours.shape[1], (materials.size, extra))
        neighbours = library.neighbours[materials[:, None], picks]
        members = np.concatenate([materials[:, None], neighbours], axis=1)
        blend = random_fields(rng, members.size, *maps.shape[1:]).reshape(*members.shape, -1)
        blend *= np.float32(rng.uniform(0.5, 2.5))
        np.exp(blend, out=blend)
        blend *= (flat / blend.sum(1))[:, None]
        spectra = library.spectra[members.ravel()] * self._smooth_changes(members.size)
        return blend.reshape(members.size, -1), spectra

    def _smooth_changes(self, count: int) -> Float32Array:
        """Smooth relative changes (count, C), so that no two scenes share a spectrum."""
        position = self._position() * np.pi / 2 + np.pi / 2
        waves = np.cos(np.outer(np.arange(1, 7), position)).astype(np.float32)
        strength = np.float32(self.perturbation.slope / 4)
        amount = self.rng.standard_normal((count, 6), np.float32) * strength
        return np.asarray(1 + amount @ waves)

    def _position(self) -> Float32Array:
        """The wavelengths scaled to -1..1 over the grid, (C,)."""
        nm = self.library.grid.centres
        return np.asarray(2 * (nm - nm[0]) / (nm[-1] - nm[0]) - 1, np.float32)

    def brightness(self) -> Float32Array:
        """A factor (N,) of texture, illumination gradient and glints for all wavelengths."""
        rng = self.rng
        texture = random_fields(rng, 2, self.height, self.width)
        amount = self.perturbation.texture * rng.random(2).astype(np.float32)
        factor = np.exp(np.tensordot(amount, texture, 1))
        slope = self.perturbation.gradient * rng.uniform(-0.5, 0.5, 2)
        y, x = np.linspace(-1, 1, self.height)[:, None], np.linspace(-1, 1, self.width)[None]
        factor *= 1 + slope[0] * y + slope[1] * x
        if rng.random() < self.perturbation.glint:
            spots = rng.integers(0, factor.size, rng.integers(1, 12))
            factor.ravel()[spots] *= rng.uniform(1.5, 4, spots.size)
        return np.asarray(factor.ravel(), np.float32)

    def light(self) -> Float32Array:
        """A factor (C, N) of 1 + tilt + bow, and of shadow, where bluish sky light remains."""
        rng, position = self.rng, self._position()
        fields = random_fields(rng, 3, self.height, self.width).reshape(3, -1)
        bends = [position, position**2 - np.float32(1 / 3)]
        amount = self.perturbation.slope * rng.random((2, 1)).astype(np.float32)
        maps = list(amount * fields[:2] + amount * rng.standard_normal((2, 1), np.float32))
        if rng.random() < self.perturbation.shadow:
            edge, cover = rng.uniform(1, 12), rng.uniform(0.3, 2.2)
            depth = 1 / (1 + np.exp(np.clip(-edge * (fields[2] - cover), -60, 60)))
            sky = (self.library.grid.centres / 600.0) ** -rng.uniform(0.2, 1.8)
            bends.append(np.asarray(rng.uniform(0.15, 0.6) * sky - 1, np.float32))
            maps.append(np.asarray(depth, np.float32))
        return np.asarray(1 + np.stack(bends, axis=1) @ np.stack(maps))


def _add_blocks(
    bias: Float32Array, y: Float32Array, x: Float32Array, rng: np.random.Generator
) -> None:
    """Add 1 to 8 parallel rectangles of random size, each to the bias of one material."""
    count, height, width = bias.shape
    angle = rng.uniform(0, np.pi / 2)
    along, across = np.cos(angle), np.sin(angle)
    for _ in range(rng.integers(1, 9)):
        dy, dx = y - rng.uniform(0, height), x - rng.uniform(0, width)
        half = np.exp(rng.uniform(np.log(1), np.log(0.4 * max(height, width)), 2))
        inside = (np.abs(dx * along + dy * across) < half[0]) & (
            np.abs(dy * along - dx * across) < half[1]
        )
        bias[rng.integers(count)][inside] += np.float32(rng.uniform(2, 8))


def abundances(
    rng: np.random.Generator,
    count: int,
    height: int,
    width: int,
    *,
    bias: Float32Array | None = None,
) -> Float32Array:
    """Draw abundance maps (count, height, width): not negative, summing to one at every pixel.

    They are the softmax of Gaussian random fields times a random sharpness, which ranges from heavy
    mixing (below 1) to pure patches (above 10). The bias (count, height, width) lays materials out;
    it is added to the fields, in their standard deviations.
    """
    logits = random_fields(rng, count, height, width)
    logits += rng.normal(0, 0.5, (count, 1, 1)).astype(np.float32)
    if bias is not None:
        logits += bias
    logits *= np.float32(np.exp(rng.uniform(np.log(0.6), np.log(25))))
    logits -= logits.max(0)
    np.exp(logits, out=logits)
    logits /= logits.sum(0)
    return logits


def random_fields(rng: np.random.Generator, count: int, height: int, width: int) -> Float32Array:
    """Draw Gaussian random fields (count, height, width) of mean 0 and standard deviation 1.

    Their power falls as frequency ** -b, with b drawn from 1.2 (fine) to 4.5 (smooth). The real and
    the imaginary part of one inverse FFT are two independent fields, which share their b.
    """
    pairs = -(-count // 2)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    frequency = np.hypot(fy, fx).astype(np.float32)
    frequency[0, 0] = 1
    log_amplitude = np.log(frequency) * -0.5
    log_amplitude[0, 0] = -np.inf
    fall = rng.uniform(1.2, 4.5, (pairs, 1, 1)).astype(np.float32)
    noise = rng.standard_normal((pairs, height, width, 2), np.float32).view(np.complex64)[..., 0]
    noise *= np.exp(fall * log_amplitude)
    field = np.fft.ifft2(noise)
    both = np.concatenate([field.real, field.imag])[:count]
    both /= np.maximum(both.std((1, 2), keepdims=True), 1e-12)
    return np.ascontiguousarray(both)
