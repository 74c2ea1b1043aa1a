"""Simulated spectra of leaves (PROSPECT-D), canopies (PROSAIL) and soils; needs `prosail`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import prosail

from uavssr.sensors import Float32Array, FloatArray, WavelengthGrid
from uavssr.spectra import resample


@dataclass(frozen=True, slots=True, kw_only=True)
class LeafTraits:
    """Inputs of PROSPECT-D."""

    n: float = 1.5
    """Number of layers of the leaf's structure, 1-3."""
    cab: float = 45.0
    """Chlorophyll a and b, ug/cm2."""
    car: float = 9.0
    """Carotenoids, ug/cm2."""
    cbrown: float = 0.0
    """Brown pigments, 0-1."""
    cw: float = 0.012
    """Equivalent water thickness, cm."""
    cm: float = 0.006
    """Dry matter, g/cm2."""
    ant: float = 0.0
    """Anthocyanins, ug/cm2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanopyTraits:
    """Inputs of PROSAIL: a canopy, its soil and the light."""

    leaf: LeafTraits
    """The leaves."""
    lai: float = 3.0
    """Leaf area index, m2/m2."""
    leaf_angle: float = 50.0
    """Mean leaf inclination, degrees."""
    hot_spot: float = 0.1
    """Hot-spot size: leaf width over canopy height."""
    sun_zenith: float = 35.0
    """Degrees."""
    view_zenith: float = 0.0
    """Degrees."""
    azimuth: float = 0.0
    """Azimuth between sun and view, degrees."""
    soil_brightness: float = 1.0
    """Factor on the soil's reflectance."""
    soil_dryness: float = 0.7
    """1 is PROSAIL's dry soil, 0 its wet soil."""


def random_leaf(rng: np.random.Generator) -> LeafTraits:
    """A leaf of a crop or a tree, from senescent to dark green."""
    cab = float(np.clip(rng.normal(42, 20), 0.5, 95))
    brown = 0.0 if rng.random() < 0.6 else float(rng.beta(1, 3))
    if brown > 0.3:
        cab *= 1 - brown
    return LeafTraits(
        n=float(rng.uniform(1.1, 2.6)),
        cab=cab,
        car=float(np.clip(cab * rng.uniform(0.12, 0.3) + rng.normal(2, 1.5), 0.5, 26)),
        cbrown=brown,
        cw=float(np.exp(rng.normal(np.log(0.012), 0.5))),
        cm=float(np.exp(rng.normal(np.log(0.006), 0.5))),
        ant=0.0 if rng.random() < 0.7 else float(rng.exponential(3)),
    )


def random_canopy(rng: np.random.Generator) -> CanopyTraits:
    """A canopy of LAI 0-7 seen within 30 degrees of nadir, over dark or bright, wet or dry soil."""
    return CanopyTraits(
        leaf=random_leaf(rng),
        lai=float(7 * rng.beta(1.1, 1.6)),
        leaf_angle=float(rng.uniform(20, 75)),
        hot_spot=float(rng.uniform(0.01, 0.5)),
        sun_zenith=float(rng.uniform(15, 65)),
        view_zenith=float(rng.uniform(0, 30)),
        azimuth=float(rng.uniform(0, 180)),
        soil_brightness=float(rng.uniform(0.3, 1.6)),
        soil_dryness=float(rng.random()),
    )


def canopy_reflectance(canopies: Sequence[CanopyTraits], grid: WavelengthGrid) -> Float32Array:
    """Directional reflectance (k, C) of canopies."""
    return _on_grid([_run_prosail(traits) for traits in canopies], grid)


def prosail_spectra(count: int, rng: np.random.Generator, grid: WavelengthGrid) -> Float32Array:
    """Reflectance (count, C) of random canopies; 400 to 900 a second on one core."""
    return canopy_reflectance([random_canopy(rng) for _ in range(count)], grid)


def leaf_spectra(count: int, rng: np.random.Generator, grid: WavelengthGrid) -> Float32Array:
    """Reflectance (count, C) of random single leaves over a black background."""
    leaves = [random_leaf(rng) for _ in range(count)]
    return _on_grid([prosail.run_prospect(**asdict(leaf))[1] for leaf in leaves], grid)


def soil_spectra(brightness: FloatArray, dryness: FloatArray, grid: WavelengthGrid) -> Float32Array:
    """PROSAIL's bare soils (k, C): brightness * (dryness * dry + (1 - dryness) * wet)."""
    soil = prosail.spectral_lib.soil
    share = np.asarray(dryness)[:, None]
    mixed = share * soil.rsoil1 + (1 - share) * soil.rsoil2
    return _on_grid(list(np.asarray(brightness)[:, None] * mixed), grid)


def _run_prosail(traits: CanopyTraits) -> FloatArray:
    values: FloatArray = prosail.run_prosail(
        **asdict(traits.leaf),
        lai=traits.lai,
        lidfa=traits.leaf_angle,
        hspot=traits.hot_spot,
        tts=traits.sun_zenith,
        tto=traits.view_zenith,
        psi=traits.azimuth,
        rsoil=traits.soil_brightness,
        psoil=traits.soil_dryness,
        prospect_version="D",
    )
    return values


def _on_grid(rows: list[FloatArray], grid: WavelengthGrid) -> Float32Array:
    """Spectra (k, C) on the grid of PROSAIL's spectra, 400-2500 nm at 1 nm; 1100 nm and below."""
    axis = np.arange(400.0, 1101.0)
    return resample(np.stack([row[: axis.size] for row in rows]), axis, grid)
