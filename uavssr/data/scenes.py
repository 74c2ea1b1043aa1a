"""Simulated scenes: maps of abundances times library spectra, with texture, light and shadow.

A pixel is x(nm) = sum_m a_m s_m(nm) * brightness * light(nm), a_m >= 0, sum_m a_m = 1, where each
material is a small set of similar spectra, blended by smooth fields. Must not know of cameras.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A sort of scene: what it is made of and how its materials are laid out."""

    kinds: tuple[tuple[str, ...], ...]
    """Groups of library kinds; materials are drawn from each group in turn. Empty: any spectrum."""
    weight: float
    """How often it is drawn, relative to the others."""
    rows: float = 0.0
    """Chance of a row-crop texture between the first group and the rest."""
    blocks: float = 0.0
    """Chance of rectangles (roofs, roads, plots) of single materials."""


FAMILIES: Final[tuple[Family, ...]] = (
    Family(
        kinds=(("canopy",), ("soil",), ("canopy", "leaf"), ("soil", "mineral")),
        weight=0.35,
        rows=0.6,
        blocks=0.3,
    ),
    Family(kinds=(("canopy", "leaf"), ("canopy",), ("soil", "mineral", "other")), weight=0.15),
    Family(kinds=(("manmade",), ("manmade", "mineral"), ("canopy",)), weight=0.15, blocks=0.9),
    Family(kinds=(("water",), ("soil", "mineral", "other"), ("canopy",)), weight=0.1, blocks=0.2),
    Family(kinds=(("other",), ("other", "manmade"), ("other", "canopy")), weight=0.1, blocks=0.4),
    Family(kinds=(), weight=0.15, rows=0.1, blocks=0.3),
)
"""Crop fields, natural vegetation, built-up land, water, airborne-scene pixels, anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How much a scene departs from pure library spectra; 0 leaves a part out."""

    siblings: int = 4
    """How many similar spectra are blended within a material, besides its own: up to this many."""
    texture: float = 0.12
    """Standard deviation of the logarithm of the brightness texture (largest value drawn)."""
    slope: float = 0.04
    """Largest standard deviation of a relative tilt and bow over the whole spectrum."""
    gradient: float = 0.15
    """Largest relative change of illumination across the scene."""
    shadow: float = 0.5
    """Chance of soft shadows."""
    glint: float = 0.2
    """Chance of bright outliers."""


NO_PERTURBATION: Final = Look(siblings=0, texture=0, slope=0, gradient=0, shadow=0, glint=0)
"""Library spectra as they are: a scene of one material is then its spectrum everywhere."""


def simulate_scene(
    library: SpectralLibrary,
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    materials: int | None = None,
    look: Look | None = None,
) -> Float32Array:
    """One scene (C, height, width) of reflectance, 0..1.3, that `rng` alone determines.

    Args:
        library: spectra to build it from; a kind that it lacks is replaced by any spectrum.
        rng: source of all randomness.
        height: rows, 2 or more.
        width: columns, 2 or more.
        materials: how many materials; by default 2 to 8 at random.
        look: strength of each perturbation.
    """
    if height < 2 or width < 2 or (materials is not None and materials < 1):
        raise UsageError(
            f"a scene of {height} x {width} pixels and {materials} materials",
            remedy="ask for two rows, two columns and one material or more",
        )
    look = look or Look()
    chance = np.array([family.weight for family in FAMILIES])
    family = FAMILIES[rng.choice(len(FAMILIES), p=chance / chance.sum())]
    count = int(rng.integers(2, 9)) if materials is None else materials
    chosen, first_group = _draw_materials(library, family, count, rng)
    bias = _layout(family, first_group, rng, height, width)
    share = abundances(rng, count, height, width, bias=bias).reshape(count, -1)
    weights, spectra = _with_siblings(library, chosen, share, look, rng, (height, width))
    scene = spectra.T @ (weights * _brightness(look, rng, height, width))
    scene *= _light(library, look, rng, height, width)
    np.clip(scene, 0, MAX_REFLECTANCE, out=scene)
    return scene.reshape(-1, height, width)


def simulate_batch(
    library: SpectralLibrary, rng: np.random.Generator, count: int, size: int
) -> Float32Array:
    """`count` scenes of `size` x `size` pixels: (count, C, size, size)."""
    batch = np.empty((count, len(library.grid), size, size), np.float32)
    for scene in batch:
        scene[...] = simulate_scene(library, rng, size, size)
    return batch


def abundances(
    rng: np.random.Generator,
    count: int,
    height: int,
    width: int,
    *,
    bias: Float32Array | None = None,
) -> Float32Array:
    """Abundance maps (count, height, width): not negative, summing to one at every pixel.

    Softmax of Gaussian random fields times a random sharpness, from heavy mixing (below 1) to pure
    patches (above 10). `bias` (count, height, width) is added to the fields, in their standard
    deviations, to lay materials out.
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
    """Gaussian random fields (count, height, width) of mean 0 and standard deviation 1.

    Their power falls as frequency ** -b, b from 1.2 (fine) to 4.5 (smooth), drawn for every pair
    of fields: the real and the imaginary part of one inverse FFT are two independent fields.
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


def _draw_materials(
    library: SpectralLibrary, family: Family, count: int, rng: np.random.Generator
) -> tuple[IndexArray, BoolArray]:
    """Indices (count,) into the library, and which of them are of the family's first group."""
    groups = family.kinds or ((),)
    pools = [library.of_kind(*group) for group in groups]
    pools = [pool if pool.size else np.arange(len(library)) for pool in pools]
    turn = np.arange(count) % len(pools)
    chosen = np.array([rng.choice(pools[t]) for t in turn], np.intp)
    return chosen, turn == 0


def _layout(
    family: Family, first: BoolArray, rng: np.random.Generator, height: int, width: int
) -> Float32Array:
    """What rows and rectangles add to the fields: (materials, height, width)."""
    bias = np.zeros((first.size, height, width), np.float32)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    if rng.random() < family.rows:
        angle, period = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(3), np.log(24)))
        phase = (x * np.cos(angle) + y * np.sin(angle)) / period + rng.random()
        strength = rng.uniform(0.5, 2.5)
        wave = strength * np.cos(2 * np.pi * phase)
        bias += np.where(first, 1, -1)[:, None, None] * wave
    if rng.random() < family.blocks:
        _add_blocks(bias, y, x, rng)
    return bias


def _add_blocks(
    bias: Float32Array, y: Float32Array, x: Float32Array, rng: np.random.Generator
) -> None:
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
    chosen: IndexArray,
    share: Float32Array,
    look: Look,
    rng: np.random.Generator,
    shape: tuple[int, int],
) -> tuple[Float32Array, Float32Array]:
    """Weights (k, N) and spectra (k, C): each material split over itself and similar spectra."""
    extra = int(rng.integers(2, look.siblings + 1)) if look.siblings >= 2 else look.siblings
    if extra == 0:
        return share, library.spectra[chosen]
    picks = rng.integers(0, library.neighbours.shape[1], (chosen.size, extra))
    members = np.concatenate([chosen[:, None], library.neighbours[chosen[:, None], picks]], axis=1)
    blend = random_fields(rng, members.size, *shape).reshape(*members.shape, -1)
    blend *= np.float32(rng.uniform(0.5, 2.5))
    np.exp(blend, out=blend)
    blend *= (share / blend.sum(1))[:, None]
    spectra = library.spectra[members.ravel()]
    return blend.reshape(members.size, -1), spectra * _wiggle(library, look, rng, members.size)


def _wiggle(
    library: SpectralLibrary, look: Look, rng: np.random.Generator, count: int
) -> Float32Array:
    """Smooth relative changes (count, C) of single spectra, so that no two scenes share one."""
    position = _position(library) * np.pi / 2 + np.pi / 2
    waves = np.cos(np.outer(np.arange(1, 7), position)).astype(np.float32)
    amount = rng.standard_normal((count, 6), np.float32) * np.float32(look.slope / 4)
    return np.asarray(1 + amount @ waves)


def _position(library: SpectralLibrary) -> Float32Array:
    """Wavelength scaled to -1..1 over the grid."""
    nm = library.grid.centres
    return np.asarray(2 * (nm - nm[0]) / (nm[-1] - nm[0]) - 1, np.float32)


def _brightness(look: Look, rng: np.random.Generator, height: int, width: int) -> Float32Array:
    """Factor (N,) of texture, illumination gradient and glints, the same at every wavelength."""
    texture = random_fields(rng, 2, height, width)
    amount = look.texture * rng.random(2).astype(np.float32)
    factor = np.exp(np.tensordot(amount, texture, 1))
    slope = look.gradient * rng.uniform(-0.5, 0.5, 2)
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    factor *= 1 + slope[0] * y + slope[1] * x
    if rng.random() < look.glint:
        spots = rng.integers(0, factor.size, rng.integers(1, 12))
        factor.ravel()[spots] *= rng.uniform(1.5, 4, spots.size)
    return np.asarray(factor.ravel(), np.float32)


def _light(
    library: SpectralLibrary, look: Look, rng: np.random.Generator, height: int, width: int
) -> Float32Array:
    """Factor (C, N): 1 + tilt + bow, and in shadow the bluish share of light that the sky gives."""
    position = _position(library)
    fields = random_fields(rng, 3, height, width).reshape(3, -1)
    bends = [position, position**2 - np.float32(1 / 3)]
    amount = look.slope * rng.random((2, 1)).astype(np.float32)
    maps = list(amount * fields[:2] + amount * rng.standard_normal((2, 1), np.float32))
    if rng.random() < look.shadow:
        edge, cover = rng.uniform(1, 12), rng.uniform(0.3, 2.2)
        depth = 1 / (1 + np.exp(np.clip(-edge * (fields[2] - cover), -60, 60)))
        sky = (library.grid.centres / 600.0) ** -rng.uniform(0.2, 1.8)
        bends.append(np.asarray(rng.uniform(0.15, 0.6) * sky - 1, np.float32))
        maps.append(np.asarray(depth, np.float32))
    return np.asarray(1 + np.stack(bends, axis=1) @ np.stack(maps))
