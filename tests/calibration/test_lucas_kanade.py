"""Shifts between what is expected and what is seen, and the patterns that errors leave."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uavssr.calibration import lucas_kanade as lk


def scene(height: int = 40, width: int = 48, *, seed: int = 0) -> np.ndarray:
    """Three bands (3, y, x) that are smooth over a few pixels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(rng.uniform(0.1, 0.5) * y + rng.uniform(0.1, 0.5) * x + k) for k in range(12)]
    return np.tensordot(rng.normal(size=(3, 12)), np.array(waves), 1).astype("f4")


def displaced(image: np.ndarray, down: float, right: float) -> np.ndarray:
    return lk.shift_image(lk.shift_image(image, down, 1), right, 2)


@given(st.integers(-3, 3), st.integers(-3, 3))
def test_whole_pixels_move_as_they_are(down: int, right: int) -> None:
    image = scene(9, 11)
    found = displaced(image, down, right)
    rows, cols = slice(max(down, 0), 9 + min(down, 0)), slice(max(right, 0), 11 + min(right, 0))
    inner = image[:, max(-down, 0) : 9 - max(down, 0), max(-right, 0) : 11 - max(right, 0)]
    assert np.array_equal(found[:, rows, cols], inner)
    assert np.isfinite(found).sum() == inner.size


def test_parts_of_a_pixel_are_linear() -> None:
    ramp = np.broadcast_to(np.arange(12, dtype="f4"), (1, 5, 12))
    found = lk.shift_image(ramp, 0.25, 2)
    assert np.allclose(found[0, :, 1:], ramp[0, :, 1:] - 0.25)
    assert np.isnan(found[0, :, 0]).all()


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.4, -0.7), (-1.6, 2.3), (3.0, -3.5)])
@pytest.mark.parametrize("gain", [0.3, 1.0, 3.3])
def test_shift_is_found_whatever_the_gains_and_offsets(
    shift: tuple[float, float], gain: float
) -> None:
    image = scene()
    gains = gain * np.array([[[1.3]], [[0.8]], [[1.1]]], "f4")
    seen = displaced(image, *shift) * gains + np.float32(0.4)
    assert lk.estimate_shift([(image, seen)]) == pytest.approx(shift, abs=0.03)


def test_shift_is_found_under_noise_and_holes_and_over_several_views() -> None:
    rng, views = np.random.default_rng(0), []
    for seed in range(4):
        image = scene(seed=seed)
        seen = displaced(image, 1.2, 0.5) + rng.normal(0, 0.2, image.shape).astype("f4")
        seen[:, 10:20, 5:9] = np.nan
        image[:, 25:28] = np.nan
        views.append((image, seen))
    assert lk.estimate_shift(views) == pytest.approx((1.2, 0.5), abs=0.05)


@pytest.mark.parametrize("kind", ["flat", "stripes", "ramp", "other", "worse", "empty", "none"])
def test_where_nothing_can_tell_nothing_is_moved(kind: str) -> None:
    image = scene()
    if kind == "flat":
        views = [(np.ones_like(image), np.ones_like(image))]
    elif kind == "stripes":  # alike along a column: the rows cannot be told
        stripes = np.broadcast_to(image[:, :1], image.shape).astype("f4")
        views = [(stripes, lk.shift_image(stripes, 1.0, 2))]
    elif kind == "ramp":  # a shift is as good as an offset
        ramp = np.broadcast_to(np.arange(48, dtype="f4"), image.shape)
        views = [(ramp, lk.shift_image(ramp, 1.0, 2))]
    elif kind == "empty":
        views = [(np.full_like(image, np.nan), image)]
    elif kind == "other":
        views = [(scene(seed=5), scene(seed=105))]
    elif kind == "worse":
        views = [(scene(seed=2), scene(seed=102))]
    else:
        views = []
    assert lk.estimate_shift(views) is None


def test_all_of_the_variance_is_explained_by_the_same_image() -> None:
    image = scene()
    assert lk.explained_share([(image, 2 * image + 1)]) == pytest.approx(1, abs=1e-6)
    assert lk.explained_share([(image, displaced(image, 1.5, 0))]) < 0.99


@pytest.mark.parametrize("axis", [1, 2])
def test_part_of_a_pixel_is_a_slope_and_half_as_much_curvature(axis: int) -> None:
    image = scene()
    slope, curvature = lk.misregistration_patterns(image)[2 * axis - 2 : 2 * axis]
    expected = image - 0.3 * slope + 0.15 * curvature
    inner = (slice(None), slice(1, -1), slice(1, -1))
    assert np.allclose(lk.shift_image(image, 0.3, axis)[inner], expected[inner], atol=1e-5)


def test_blur_is_the_pattern_of_second_order() -> None:
    image = scene()
    kernel = (0.2, 0.6, 0.2)
    seen = sum(
        part * lk.shift_image(image, step, 1) for part, step in zip(kernel, (-1, 0, 1), strict=True)
    )
    assert np.allclose(
        (image + 0.2 * lk.misregistration_patterns(image)[1])[:, 1:-1], seen[:, 1:-1], atol=1e-5
    )


def test_patterns_are_zero_where_a_neighbour_is_missing() -> None:
    image = scene(8, 8)
    image[:, 4, 4] = np.nan
    found = lk.misregistration_patterns(image)
    assert np.isfinite(found).all()
    assert (found[:2, :, [3, 5], 4] == 0).all()
    assert (found[2:, :, 4, [3, 5]] == 0).all()
    assert (found[2:, :, [3, 5], 4] != 0).all()
    assert (found[:2, :, 0] == 0).all()
