"""Simulated scenes: laws of the mixing, identity without perturbation, determinism."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.spectra_sources.synthetic import manmade_spectra, water_spectra
from uavssr.data.scenes import (
    Perturbation,
    abundances,
    random_fields,
    simulate_batch,
    simulate_scene,
)
from uavssr.errors import UsageError
from uavssr.sensors import WavelengthGrid
from uavssr.spectra.library import SpectralLibrary, concatenate

GRID = WavelengthGrid.regular("test", 400, 1000, 61)
UNPERTURBED = Perturbation(siblings=0, texture=0, slope=0, gradient=0, shadow=0, glint=0)


@pytest.fixture(scope="module")
def library() -> SpectralLibrary:
    rng = np.random.default_rng(5)
    parts = []
    for kind, spectra in (
        ("water", water_spectra(30, rng, GRID)),
        ("manmade", manmade_spectra(40, rng, GRID)),
        ("canopy", manmade_spectra(40, rng, GRID)),
    ):
        names = np.full(len(spectra), kind)
        parts.append(SpectralLibrary(spectra=spectra, kind=names, source=names, grid=GRID))
    return concatenate(parts)


@pytest.mark.parametrize("seed", range(20))
def test_abundances_are_a_partition_of_every_pixel(seed: int) -> None:
    rng = np.random.default_rng(seed)
    maps = abundances(rng, int(rng.integers(1, 9)), 17, 23)
    assert maps.min() >= 0
    np.testing.assert_allclose(maps.sum(0), 1, atol=1e-5)


def test_abundances_range_from_mixed_to_pure() -> None:
    largest = [abundances(np.random.default_rng(s), 4, 32, 32).max(0).mean() for s in range(40)]
    assert min(largest) < 0.6
    assert max(largest) > 0.95


def test_random_fields_are_standardised_and_independent() -> None:
    fields = random_fields(np.random.default_rng(0), 41, 48, 48).reshape(41, -1)
    np.testing.assert_allclose(fields.mean(1), 0, atol=1e-3)
    np.testing.assert_allclose(fields.std(1), 1, atol=1e-3)
    across = np.asarray(np.corrcoef(fields))[np.triu_indices(41, 1)]
    assert np.abs(across).mean() < 0.3


def test_one_unperturbed_material_is_its_library_spectrum(library: SpectralLibrary) -> None:
    rng = np.random.default_rng(8)
    scene = simulate_scene(library, rng, 9, 7, materials=1, perturbation=UNPERTURBED)
    pixels = scene.reshape(len(GRID), -1).T
    nearest = np.abs(library.spectra - pixels[0]).max(1).argmin()
    np.testing.assert_allclose(pixels, np.tile(library.spectra[nearest], (63, 1)), atol=1e-6)


def test_unperturbed_mixtures_stay_within_the_span_of_the_library(
    library: SpectralLibrary,
) -> None:
    scene = simulate_scene(
        library, np.random.default_rng(2), 24, 24, materials=3, perturbation=UNPERTURBED
    )
    power = np.linalg.svd(scene.reshape(len(GRID), -1), compute_uv=False)
    assert power[3] < 1e-5 * power[0]


def test_same_generator_state_gives_the_same_batch(library: SpectralLibrary) -> None:
    one = simulate_batch(library, np.random.default_rng(4), 3, 16)
    two = simulate_batch(library, np.random.default_rng(4), 3, 16)
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one[0], one[1])


@pytest.mark.parametrize("seed", range(30))
def test_scenes_are_finite_float32_reflectance(library: SpectralLibrary, seed: int) -> None:
    scene = simulate_scene(library, np.random.default_rng(seed), 20, 31)
    assert scene.shape == (len(GRID), 20, 31)
    assert scene.dtype == np.float32
    assert scene.flags.c_contiguous
    assert np.isfinite(scene).all()
    assert 0 <= scene.min() <= scene.max() <= 1.3
    assert scene.std() > 0


def test_a_scene_of_one_row_is_refused(library: SpectralLibrary) -> None:
    with pytest.raises(UsageError, match="1 x 20"):
        simulate_scene(library, np.random.default_rng(0), 1, 20)
