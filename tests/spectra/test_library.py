"""The spectral library, resampling, the in-scene correction and the completion of bands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from uavssr.data.scenes import abundances
from uavssr.errors import InputRefused
from uavssr.sensors import HEADWALL_NANO, WavelengthGrid
from uavssr.spectra.completion import SubspaceCompletion, load_cube, quac, without_oxygen
from uavssr.spectra.library import (
    Float32Array,
    SpectralLibrary,
    concatenate,
    load_library,
    resample,
)
from uavssr.spectra.synthetic import manmade_spectra, water_spectra

GRID = WavelengthGrid.regular("test", 400, 1000, 61)


def library_of(spectra: Float32Array, kind: str = "soil") -> SpectralLibrary:
    names = np.full(len(spectra), kind)
    return SpectralLibrary(spectra=spectra, kind=names, source=names.copy(), grid=GRID)


@pytest.fixture
def library() -> SpectralLibrary:
    rng = np.random.default_rng(3)
    return concatenate(
        [
            library_of(water_spectra(30, rng, GRID), "water"),
            library_of(manmade_spectra(40, rng, GRID), "manmade"),
        ]
    )


def test_saved_library_loads_the_same(library: SpectralLibrary, tmp_path: Path) -> None:
    library.save(tmp_path / "library.npz")
    loaded = load_library(tmp_path / "library.npz", GRID)
    np.testing.assert_array_equal(loaded.spectra, library.spectra)
    assert loaded.kind.tolist() == library.kind.tolist()
    assert loaded.source.tolist() == library.source.tolist()
    assert loaded.counts() == {"manmade": 40, "water": 30}


def test_loading_on_another_grid_interpolates(library: SpectralLibrary, tmp_path: Path) -> None:
    library.save(tmp_path / "library.npz")
    loaded = load_library(tmp_path / "library.npz", HEADWALL_NANO)
    inside = HEADWALL_NANO.centres[1:-1]
    expected = np.interp(inside, GRID.centres, library.spectra[5])
    np.testing.assert_allclose(loaded.spectra[5, 1:-1], expected, atol=1e-6)


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, spectra=np.array([{}], dtype=object))
    with pytest.raises(InputRefused, match="not a spectral library"):
        load_library(path, GRID)


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "not finite"), (1.7, "1.700"), (-0.1, "-0.100")]
)
def test_values_that_are_no_reflectance_are_refused(value: float, message: str) -> None:
    spectra = np.full((2, len(GRID)), 0.3, np.float32)
    spectra[1, 4] = value
    with pytest.raises(InputRefused, match=message):
        library_of(spectra)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InputRefused, match="jelly"):
        library_of(np.full((2, len(GRID)), 0.3, np.float32), "jelly")


def test_neighbours_are_of_the_same_kind_and_not_the_spectrum_itself(
    library: SpectralLibrary,
) -> None:
    assert (library.kind[library.neighbours] == library.kind[:, None]).all()
    assert (library.neighbours != np.arange(len(library))[:, None]).all()


def test_resample_is_exact_on_linear_spectra() -> None:
    nm = np.sort(np.random.default_rng(0).uniform(390, 1010, 50))
    nm[[0, -1]] = 395, 1005
    lines = np.array([[0.1, 2e-4], [0.8, -7e-4]])
    got = resample(lines[:, :1] + lines[:, 1:] * (nm - 395), nm, HEADWALL_NANO)
    expected = lines[:, :1] + lines[:, 1:] * (HEADWALL_NANO.centres - 395)
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_resample_past_the_ends_follows_the_slope_and_levels_off() -> None:
    nm = np.arange(440.0, 961.0, 4)
    got = resample(0.2 + 1e-3 * (nm - 440), nm, HEADWALL_NANO)
    assert np.all(np.diff(got) > 0)
    assert 0.2 - 0.015 <= got[0] < 0.2
    assert 0.72 < got[-1] <= 0.72 + 0.015 + 1e-6


def test_resample_refuses_more_than_60_nm_missing() -> None:
    nm = np.arange(470.0, 1001.0, 5)
    with pytest.raises(InputRefused, match="miss 72 nm"):
        resample(np.ones(nm.size), nm, HEADWALL_NANO)


def test_quac_recovers_the_reflectance_under_a_smooth_atmosphere() -> None:
    rng = np.random.default_rng(1)
    place = (GRID.centres - 400) / 600
    level, slope = rng.uniform(0.08, 0.2, (30, 1)), rng.uniform(0.0, 1.6, (30, 1))
    earth = level * (1 + slope * place ** rng.uniform(0.5, 1, (30, 1)))
    spectra = np.concatenate([earth, np.full((2, len(GRID)), 0.02)])
    maps = abundances(rng, 32, 60, 60).reshape(32, -1)
    scene = (maps.T @ spectra).reshape(60, 60, -1)
    scene[:4, :4] = 0.02
    sun = np.exp(-(((GRID.centres - 520) / 300) ** 2))
    sun *= 1 - 0.7 * np.exp(-(((GRID.centres - 940) / 20) ** 2))
    radiance = 9000 * sun * scene + 800 * (GRID.centres / 400) ** -3
    got = quac(radiance, GRID.centres, reference=spectra[:30].mean(0))
    assert np.median(np.abs(got / scene - 1)) < 0.1
    shape = got.mean((0, 1)) / scene.mean((0, 1))
    assert np.abs(shape - 1).max() < 0.15


def test_oxygen_line_is_bridged_by_a_line() -> None:
    cube = np.tile(0.1 + GRID.centres / 5000, (2, 2, 1))
    dipped = cube.copy()
    dipped[..., GRID.nearest(760)] *= 0.3
    np.testing.assert_allclose(without_oxygen(dipped, GRID.centres), cube, rtol=1e-5)


def test_completion_returns_spectra_of_its_subspace_exactly() -> None:
    rng = np.random.default_rng(2)
    basis = np.stack([np.cos(k * np.linspace(0, np.pi, len(GRID))) for k in range(4)])
    spectra = 0.4 + rng.normal(0, 0.05, (200, 4)) @ basis
    completion = SubspaceCompletion.fit(spectra, rank=4)
    known = GRID.centres < 880
    broken = np.where(known, spectra, 9.0)
    got = completion.fill(broken, known)
    np.testing.assert_array_equal(got[:, known], spectra[:, known].astype(np.float32))
    assert np.abs(got - spectra).max() < 0.02


def test_a_cube_that_does_not_reach_the_ends_needs_a_completion(tmp_path: Path) -> None:
    nm = np.arange(450.0, 901.0, 10)
    cube = np.full((12, 10, nm.size), 2500, np.uint16)
    np.savez(tmp_path / "short.npz", cube=cube, wavelength_nm=nm, scale=np.float32(1e-4))
    (tmp_path / "meta.json").write_text(json.dumps({"short": {"kind": "reflectance"}}))
    with pytest.raises(InputRefused, match="holds 450-900 nm"):
        load_cube(tmp_path / "short.npz", GRID)
    flat = np.random.default_rng(0).uniform(0.1, 0.5, (50, 1)) * np.ones(len(GRID))
    filled = load_cube(
        tmp_path / "short.npz", GRID, completion=SubspaceCompletion.fit(flat, rank=2)
    )
    assert filled.shape == (len(GRID), 12, 10)
    np.testing.assert_allclose(filled, 0.25, atol=0.01)


def test_prosail_canopies_are_green_and_repeat_with_the_seed() -> None:
    pytest.importorskip("prosail", reason="the extra prosail is not installed")
    from uavssr.spectra.vegetation import (
        CanopyTraits,
        LeafTraits,
        canopy_reflectance,
        prosail_spectra,
    )

    dense, bare = canopy_reflectance(
        [CanopyTraits(leaf=LeafTraits(), lai=5.0), CanopyTraits(leaf=LeafTraits(), lai=0.0)], GRID
    )
    red, infrared = GRID.nearest(670), GRID.nearest(850)
    assert dense[infrared] > 8 * dense[red]
    assert bare[infrared] < 2 * bare[red]
    random = [prosail_spectra(5, np.random.default_rng(1), GRID) for _ in range(2)]
    np.testing.assert_array_equal(random[0], random[1])
    assert 0 < random[0].min() < random[0].max() < 1
