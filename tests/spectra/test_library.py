"""The spectral library, resampling and the completion of bands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scripts.spectra_sources.synthetic import manmade_spectra, water_spectra
from uavssr.errors import InputRefused
from uavssr.sensors import HEADWALL_NANO, Float32Array, WavelengthGrid
from uavssr.spectra.completion import SubspaceCompletion
from uavssr.spectra.library import SpectralLibrary, concatenate, load_library, resample

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
