"""Drift of gains within a scene: nothing is invented, and what is planted is found."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from uavssr.model.gain_drift import (
    HALF_SAMPLES_PIXELS,
    PART_SAMPLES,
    RELATIVE_SPREAD,
    SceneColours,
    relative_prior_se,
)

BANDS = 5


def field(count: int = 4000, *, spread: float = 0.02, seed: int = 0) -> Tensor:
    """Reflectance (n, c) of two materials, mixed and lit at random; bands go together."""
    rng = np.random.default_rng(seed)
    soil = np.log([0.08, 0.12, 0.17, 0.22, 0.28])
    crop = np.log([0.03, 0.07, 0.04, 0.25, 0.45])
    share = rng.uniform(size=(count, 1))
    log_msi = share * soil + (1 - share) * crop + 0.2 * rng.normal(size=(count, 1))
    return torch.from_numpy(np.exp(log_msi + spread * rng.normal(size=(count, BANDS)))).float()


def test_identical_tiles_deviate_by_nothing() -> None:
    """No drift is invented."""
    scene = field()
    drift, se = SceneColours.fit(scene).drift(scene)
    assert drift.abs().max() < 1e-9
    assert (se > 0.003).all()


def test_tiles_of_one_field_deviate_within_their_errors() -> None:
    colours = SceneColours.fit(field())
    results = [colours.drift(field(500, seed=seed)) for seed in range(1, 21)]
    drift, se = (torch.stack(part) for part in zip(*results, strict=True))
    assert ((drift / se).square().mean().sqrt()) < 0.5
    assert (drift.abs() < 1.96 * se).all()


@pytest.mark.parametrize("band", range(BANDS))
@pytest.mark.parametrize("size", [-0.06, 0.06])
def test_drift_of_one_band_is_found_with_its_sign_and_size(band: int, size: float) -> None:
    gain = torch.zeros(BANDS, dtype=torch.float64)
    gain[band] = size
    drift, se = SceneColours.fit(field()).drift(field(1000, seed=1) * gain.exp())
    relative = gain - gain.mean()
    assert drift[band] * size > 0
    assert (drift @ relative) / (relative @ relative) > 0.35
    assert ((drift - relative).abs() < 1.96 * se).all()
    assert drift.sum().abs() < 1e-9


@pytest.mark.parametrize("factor", [0.8, 1.2])
def test_factor_of_all_bands_is_not_called_drift(factor: float) -> None:
    """Brighter ground looks the same."""
    colours = SceneColours.fit(field())
    bright, _ = colours.drift(field(1000, seed=1) * factor)
    same, se = colours.drift(field(1000, seed=1))
    assert ((bright - same).abs() < se).all()


def test_errors_are_those_of_the_model() -> None:
    """Drifts and mean colours drawn from it: 90 % intervals hold 90 %, and the slope is one."""
    rng = np.random.default_rng(0)
    covariance = 0.09 * np.ones((BANDS, BANDS)) + 0.002 * np.eye(BANDS)
    colours = SceneColours(
        weight=torch.ones(1, dtype=torch.float64),
        mean=torch.full((1, BANDS), np.log(0.2), dtype=torch.float64),
        precision=torch.linalg.inv(torch.from_numpy(covariance))[None],
        gradient=torch.zeros(BANDS, dtype=torch.float64),
    )
    pixels = 1000
    samples = PART_SAMPLES * pixels / (pixels + HALF_SAMPLES_PIXELS)
    truths, scores, drifts = [], [], []
    for _ in range(400):
        truth = RELATIVE_SPREAD * rng.normal(size=BANDS)
        ground = rng.multivariate_normal(np.zeros(BANDS), covariance / samples)
        colour = torch.from_numpy(np.exp(np.log(0.2) + truth + ground))
        drift, se = (part.numpy() for part in colours.drift(colour.expand(pixels, -1)))
        truths.append(truth - truth.mean())
        drifts.append(drift)
        scores.append((drift - truths[-1]) / se)
    drift, truth = np.array(drifts), np.array(truths)
    assert 0.86 < (np.abs(scores) < 1.645).mean() < 0.94
    assert (drift * truth).sum() / np.square(drift).sum() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("count", [0, 1, 10])
def test_scene_without_pixels_teaches_nothing(count: int) -> None:
    drift, se = SceneColours.fit(field()[:count]).drift(field(100))
    assert drift.abs().max() < 1e-4
    assert torch.allclose(se, torch.tensor(relative_prior_se(BANDS), dtype=se.dtype), rtol=1e-3)


def test_tile_without_pixels_has_the_scenes_gains() -> None:
    drift, se = SceneColours.fit(field()).drift(field()[:0])
    assert torch.equal(drift, torch.zeros_like(drift))
    assert torch.allclose(se, torch.tensor(relative_prior_se(BANDS), dtype=se.dtype))


def test_other_ground_is_not_called_drift() -> None:
    """A tile of a material that the scene's sample lacks: bounded, and uncertain."""
    water = torch.tensor([[0.06, 0.05, 0.03, 0.02, 0.01]]).expand(1000, -1)
    colours = SceneColours.fit(field())
    drift, se = colours.drift(water)
    assert drift.abs().max() < 3 * RELATIVE_SPREAD
    assert (se > colours.drift(field(1000, seed=1))[1]).all()


def test_same_colours_again() -> None:
    one, other = (SceneColours.fit(field()) for _ in range(2))
    assert torch.equal(one.precision, other.precision)
    assert torch.equal(one.gradient, other.gradient)
