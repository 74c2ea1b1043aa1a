"""Simulated scenes: maps of abundances times library spectra, with texture, light and shadow.

A pixel is x(nm) = sum_m a_m s_m(nm) * brightness * light(nm), a_m >= 0, sum_m a_m = 1. Each
material s_m is a smooth blend of a library spectrum and similar ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from uavssr.data.abundances import abundances, random_fields
from uavssr.errors import UsageError
from uavssr.sensors import BoolArray, Float32Array, IndexArray
from uavssr.spectra import SpectralLibrary

MAX_REFLECTANCE: Final = 1.3
"""Scenes are clipped to 0..1.3: sunlit slopes and glints exceed 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneType:
    """A type of scene: its materials and their layout."""

    kinds: tuple[tuple[str, ...], ...]
    """Groups of library kinds; materials come from each group in turn. Empty: any spectrum."""
    weight: float
    """Relative frequency of the type."""
    rows: float = 0.0
    """Probability of crop rows, which alternate between the first group and the others."""
    blocks: float = 0.0
    """Probability of rectangles of one material: roofs, roads, plots."""


SCENE_TYPES: Final[tuple[SceneType, ...]] = (
    # crop fields
    SceneType(
        kinds=(("canopy",), ("soil",), ("canopy", "leaf"), ("soil", "mineral")),
        weight=0.35,
        rows=0.6,
        blocks=0.3,
    ),
    # natural vegetation
    SceneType(kinds=(("canopy", "leaf"), ("canopy",), ("soil", "mineral", "other")), weight=0.15),
    # built-up land
    SceneType(kinds=(("manmade",), ("manmade", "mineral"), ("canopy",)), weight=0.15, blocks=0.9),
    # water
    SceneType(
        kinds=(("water",), ("soil", "mineral", "other"), ("canopy",)), weight=0.1, blocks=0.2
    ),
    # pixels of airborne scenes
    SceneType(
        kinds=(("other",), ("other", "manmade"), ("other", "canopy")), weight=0.1, blocks=0.4
    ),
    # anything
    SceneType(kinds=(), weight=0.15, rows=0.1, blocks=0.3),
)
"""Types of scene, drawn by their weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Perturbation:
    """Strengths of the deviations from pure library spectra; 0 leaves one out."""

    siblings: int = 4
    """Largest number of similar spectra that are blended with a material's own."""
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


DEFAULT_PERTURBATION: Final = Perturbation()
"""The strengths used in training."""


def simulate_scene(
    library: SpectralLibrary,
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    materials: int | None = None,
    perturbation: Perturbation = DEFAULT_PERTURBATION,
) -> Float32Array:
    """Simulate one scene (C, height, width) of reflectance, 0..1.3.

    Args:
        library: spectra to build it from; any spectrum replaces a kind that it lacks.
        rng: random generator, which alone determines the scene.
        height: rows, 2 or more.
        width: columns, 2 or more.
        materials: number of materials; by default 2 to 8 at random.
        perturbation: strengths of the deviations from library spectra.

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
    materials_drawn, first_group = _draw_materials(library, scene_type, count, rng)
    bias = _layout(scene_type, first_group, rng, height, width)
    maps = abundances(rng, count, height, width, bias=bias)
    weights, spectra = _with_siblings(library, materials_drawn, maps, perturbation, rng)
    # x = sum_m a_m s_m * brightness * light
    scene = spectra.T @ (weights * _brightness(perturbation, rng, height, width))
    scene *= _light(library, perturbation, rng, height, width)
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


def _draw_materials(
    library: SpectralLibrary, scene_type: SceneType, count: int, rng: np.random.Generator
) -> tuple[IndexArray, BoolArray]:
    """Draw indices (count,) into the library; also returns which belong to the first group."""
    groups = scene_type.kinds or ((),)
    pools = [library.of_kind(*group) for group in groups]
    pools = [pool if pool.size else np.arange(len(library)) for pool in pools]
    turn = np.arange(count) % len(pools)
    chosen = np.array([rng.choice(pools[t]) for t in turn], np.intp)
    return chosen, turn == 0


def _layout(
    scene_type: SceneType, first: BoolArray, rng: np.random.Generator, height: int, width: int
) -> Float32Array:
    """Draw crop rows and rectangles as a bias (materials, height, width) for `abundances`."""
    bias = np.zeros((first.size, height, width), np.float32)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    if rng.random() < scene_type.rows:
        angle, period = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(3), np.log(24)))
        phase = (x * np.cos(angle) + y * np.sin(angle)) / period + rng.random()
        strength = rng.uniform(0.5, 2.5)
        wave = strength * np.cos(2 * np.pi * phase)
        bias += np.where(first, 1, -1)[:, None, None] * wave
    if rng.random() < scene_type.blocks:
        _add_blocks(bias, y, x, rng)
    return bias


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


def _with_siblings(
    library: SpectralLibrary,
    materials: IndexArray,
    maps: Float32Array,
    perturbation: Perturbation,
    rng: np.random.Generator,
) -> tuple[Float32Array, Float32Array]:
    """Split each material over itself and similar spectra; returns weights (k, N), spectra (k, C).

    Args:
        library: C wavelengths.
        materials: (m,) indices into the library.
        maps: (m, height, width) abundances; N = height x width.
        perturbation: number of similar spectra, and the strength of their smooth changes.
        rng: random generator.
    """
    most = perturbation.siblings
    extra = int(rng.integers(2, most + 1)) if most >= 2 else most
    flat = maps.reshape(len(maps), -1)
    if extra == 0:
        return flat, library.spectra[materials]
    picks = rng.integers(0, library.neighbours.shape[1], (materials.size, extra))
    neighbours = library.neighbours[materials[:, None], picks]
    members = np.concatenate([materials[:, None], neighbours], axis=1)
    blend = random_fields(rng, members.size, *maps.shape[1:]).reshape(*members.shape, -1)
    blend *= np.float32(rng.uniform(0.5, 2.5))
    np.exp(blend, out=blend)
    blend *= (flat / blend.sum(1))[:, None]
    spectra = library.spectra[members.ravel()]
    return (
        blend.reshape(members.size, -1),
        spectra * _smooth_changes(library, perturbation, rng, members.size),
    )


def _smooth_changes(
    library: SpectralLibrary, perturbation: Perturbation, rng: np.random.Generator, count: int
) -> Float32Array:
    """Draw smooth relative changes (count, C), so that no two scenes share a spectrum."""
    position = _position(library) * np.pi / 2 + np.pi / 2
    waves = np.cos(np.outer(np.arange(1, 7), position)).astype(np.float32)
    amount = rng.standard_normal((count, 6), np.float32) * np.float32(perturbation.slope / 4)
    return np.asarray(1 + amount @ waves)


def _position(library: SpectralLibrary) -> Float32Array:
    """Return the wavelengths scaled to -1..1 over the grid, (C,)."""
    nm = library.grid.centres
    return np.asarray(2 * (nm - nm[0]) / (nm[-1] - nm[0]) - 1, np.float32)


def _brightness(
    perturbation: Perturbation, rng: np.random.Generator, height: int, width: int
) -> Float32Array:
    """Draw a factor (N,) of texture, illumination gradient and glints for all wavelengths."""
    texture = random_fields(rng, 2, height, width)
    amount = perturbation.texture * rng.random(2).astype(np.float32)
    factor = np.exp(np.tensordot(amount, texture, 1))
    slope = perturbation.gradient * rng.uniform(-0.5, 0.5, 2)
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    factor *= 1 + slope[0] * y + slope[1] * x
    if rng.random() < perturbation.glint:
        spots = rng.integers(0, factor.size, rng.integers(1, 12))
        factor.ravel()[spots] *= rng.uniform(1.5, 4, spots.size)
    return np.asarray(factor.ravel(), np.float32)


def _light(
    library: SpectralLibrary,
    perturbation: Perturbation,
    rng: np.random.Generator,
    height: int,
    width: int,
) -> Float32Array:
    """Draw a factor (C, N) of 1 + tilt + bow, and of shadow, where bluish sky light remains."""
    position = _position(library)
    fields = random_fields(rng, 3, height, width).reshape(3, -1)
    bends = [position, position**2 - np.float32(1 / 3)]
    amount = perturbation.slope * rng.random((2, 1)).astype(np.float32)
    maps = list(amount * fields[:2] + amount * rng.standard_normal((2, 1), np.float32))
    if rng.random() < perturbation.shadow:
        edge, cover = rng.uniform(1, 12), rng.uniform(0.3, 2.2)
        depth = 1 / (1 + np.exp(np.clip(-edge * (fields[2] - cover), -60, 60)))
        sky = (library.grid.centres / 600.0) ** -rng.uniform(0.2, 1.8)
        bends.append(np.asarray(rng.uniform(0.15, 0.6) * sky - 1, np.float32))
        maps.append(np.asarray(depth, np.float32))
    return np.asarray(1 + np.stack(bends, axis=1) @ np.stack(maps))
