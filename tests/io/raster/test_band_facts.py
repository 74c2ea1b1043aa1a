"""Facts of a band are those of its numbers, as stored and as reflectance."""

from __future__ import annotations

import numpy as np
import pytest

from uavssr.io.raster import band_facts


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
def test_facts_are_those_of_the_reflectance(dtype: str) -> None:
    numbers = np.random.default_rng(0).integers(0, 250, (3, 5000)).astype(dtype)
    factors, offsets = (0.01, 0.02, 1e-4), (-0.2, 0.0, -0.1)
    for k, facts in enumerate(band_facts(numbers, factors, offsets)):
        values = numbers[k].astype(float) * factors[k] + offsets[k]
        expected = np.quantile(values, (0, 0.01, 0.5, 0.99, 0.999, 1))
        levels = (facts.minimum, facts.q01, facts.median, facts.q99, facts.q999, facts.maximum)
        np.testing.assert_allclose(levels, expected, rtol=1e-9, atol=1e-12)
        assert facts.negative == pytest.approx((values < 0).mean())
        assert facts.zero == (numbers[k] == 0).mean()
        assert facts.pixels == 5000
        assert not facts.constant


def test_equal_and_constant_bands_are_found() -> None:
    one, other = np.random.default_rng(0).uniform(0, 1, (2, 400)).astype("f4")
    facts = band_facts(np.stack([one, other, one, np.full_like(one, 0.3), one]))
    assert [band.same_as for band in facts] == [None, None, 0, None, 0]
    assert [band.constant for band in facts] == [False, False, False, True, False]


@pytest.mark.parametrize(("numbers", "step"), [([128, 192, 640], 64), ([3, 5, 9], 1), ([0, 0], 0)])
def test_step_divides_all_stored_numbers(numbers: list[int], step: int) -> None:
    assert band_facts(np.array([numbers], "uint16"))[0].step == step
