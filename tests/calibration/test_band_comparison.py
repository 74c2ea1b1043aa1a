"""Brightness of image and cube compared: what is odd, what even ground hides."""

from __future__ import annotations

import numpy as np
import pytest

from uavssr.calibration import BandComparison

ROLES = ("blue", "red", "nir")
MEANS = np.array([0.04, 0.08, 0.45])


def compare(
    *, variation: float, gain: float = 0.6, agreement: float = 1.0, noise: float = 0.04
) -> BandComparison:
    """200 plots that vary by `variation`; the image has a share `agreement` of that."""
    rng = np.random.default_rng(0)
    common, other = rng.normal(size=(2, 3, 200))
    seen = agreement * common + np.sqrt(1 - agreement**2) * other
    cube = MEANS[:, None] * (1 + variation * common)
    image = gain * MEANS[:, None] * (1 + variation * seen + noise * rng.normal(size=(3, 200)))
    return BandComparison.of(ROLES, cube, image)


@pytest.mark.parametrize("gain", [0.4, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("variation", [0.0, 0.02, 0.05, 0.4])
def test_gains_of_real_flights_and_even_ground_are_not_odd(gain: float, variation: float) -> None:
    found = compare(variation=variation, gain=gain)
    assert not found.oddities()
    np.testing.assert_allclose(found.ratio, gain, rtol=0.02)
    assert any("too little to tell" in text for text in found.warnings()) == (variation < 0.06)


def test_low_correlation_is_odd_where_the_ground_varies() -> None:
    (odd,) = compare(variation=0.4, agreement=0.1).oddities()
    assert odd.check == "correlation"
    assert "less than 0.5" in odd.text
    assert "nir 0." in odd.text


def test_all_odd_bands_are_named_with_their_ratio() -> None:
    (odd,) = compare(variation=0.2, gain=3.28).oddities()
    assert odd.check == "ratio"
    assert odd.text.count("3.2") + odd.text.count("3.3") >= 3
    assert not compare(variation=0.2, gain=3.28).warnings()


def test_noise_of_dark_bands_is_no_variation() -> None:
    """Dense crops: 0.01 of reflectance in red, seen with noise of 0.003."""
    rng = np.random.default_rng(1)
    cube = np.full((1, 400), 0.01) + rng.normal(0, 0.001, (1, 400))
    image = np.full((1, 400), 0.008) + rng.normal(0, 0.003, (1, 400))
    assert not BandComparison.of(("red",), cube, image).oddities()
