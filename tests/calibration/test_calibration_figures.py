"""The benchmark of paired calibration: its cameras, images and instruments."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from scripts.spectra_sources.synthetic import manmade_spectra
from uavssr.calibration.instrument import Instrument
from uavssr.calibration.lucas_kanade import estimate_shift
from uavssr.spectra.library import SpectralLibrary


@pytest.fixture
def script(repo: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(repo / "benchmarks")
    import calibration

    return calibration


def library(script: ModuleType) -> SpectralLibrary:
    spectra = manmade_spectra(40, np.random.default_rng(0), script.GRID)
    kind = np.full(len(spectra), "manmade")
    return SpectralLibrary(spectra=spectra, kind=kind, source=kind, grid=script.GRID)


def test_three_parameters_are_the_instrument_without_the_rest(script: ModuleType) -> None:
    whole = Instrument.of(script.FAMILY)
    three = script.ThreeParameters.of(script.FAMILY)
    z = torch.randn((5, 3), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    padded = torch.nn.functional.pad(z, (0, whole.count - 3))
    assert three.count == 3
    assert torch.allclose(three.rows(z), whole.rows(padded), atol=1e-9)
    assert torch.allclose(three.tangent(z), whole.tangent(padded)[:, :3], atol=1e-9)


def test_images_are_the_cube_through_the_camera_moved_as_told(script: ModuleType) -> None:
    ground = script.Ground.draw(library(script), np.random.default_rng(1))
    expected = np.tensordot(ground.rows, ground.cube, 1)
    rng = np.random.default_rng(2)
    in_place, shifted, blurred = (
        ground.image(flaw, np.inf, rng) for flaw in (*script.FLAWS[:2], script.FLAWS[3])
    )
    assert np.allclose(in_place, expected, atol=1e-5)
    assert np.hypot(*estimate_shift([(expected, shifted)])) == pytest.approx(0.3, abs=0.03)
    roughness = [np.square(np.diff(image, axis=1)).sum() for image in (in_place, blurred)]
    assert roughness[1] < 0.9 * roughness[0]
    assert np.hypot(*estimate_shift([(expected, blurred)])) < 0.05
