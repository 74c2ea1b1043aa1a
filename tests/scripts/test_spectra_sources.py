"""Spectra that libraries are built from: airborne cubes, and simulated canopies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from uavssr.data import load_airborne_cube, quac, without_oxygen
from uavssr.data.scenes import abundances
from uavssr.errors import InputRefused
from uavssr.sensors import WavelengthGrid
from uavssr.spectra.completion import SubspaceCompletion

GRID = WavelengthGrid.regular("test", 400, 1000, 61)


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


def test_a_cube_that_does_not_reach_the_ends_needs_a_completion(tmp_path: Path) -> None:
    nm = np.arange(450.0, 901.0, 10)
    cube = np.full((12, 10, nm.size), 2500, np.uint16)
    np.savez(tmp_path / "short.npz", cube=cube, wavelength_nm=nm, scale=np.float32(1e-4))
    (tmp_path / "meta.json").write_text(json.dumps({"short": {"kind": "reflectance"}}))
    with pytest.raises(InputRefused, match="holds 450-900 nm"):
        load_airborne_cube(tmp_path / "short.npz", GRID)
    flat = np.random.default_rng(0).uniform(0.1, 0.5, (50, 1)) * np.ones(len(GRID))
    filled = load_airborne_cube(
        tmp_path / "short.npz", GRID, completion=SubspaceCompletion.fit(flat, rank=2)
    )
    assert filled.shape == (len(GRID), 12, 10)
    np.testing.assert_allclose(filled, 0.25, atol=0.01)


def test_prosail_canopies_are_green_and_repeat_with_the_seed() -> None:
    pytest.importorskip("prosail", reason="the package prosail is not installed")
    from scripts.spectra_sources.vegetation import (
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
