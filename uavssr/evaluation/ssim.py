"""Structural similarity (SSIM) of two planes, of which parts may be invalid."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from uavssr.sensors import BoolArray, FloatArray

SSIM_RADIUS: Final = 5
"""Pixels on each side of the centre of the window of 11 x 11 pixels (Wang et al. 2004)."""
SSIM_SIDE: Final = 2 * SSIM_RADIUS + 1
"""Side of that window in pixels."""
SSIM_SIGMA: Final = 1.5
"""Standard deviation of the Gaussian window in pixels (Wang et al. 2004)."""
_K1, _K2 = 0.01, 0.03  # stabilise the two ratios (Wang et al. 2004)


def ssim_map(first: FloatArray, second: FloatArray, data_range: float) -> FloatArray:
    """SSIM of two planes (y, x) at the centres (y - 10, x - 10) whose window lies inside.

    SSIM = (2 m1 m2 + c1) / (m1^2 + m2^2 + c1) (2 v12 + c2) / (v1 + v2 + c2) with Gaussian-weighted
    means m, population variances v and covariance v12; c1 = (0.01 range)^2, c2 = (0.03 range)^2.
    Wang et al., "Image quality assessment: from error visibility to structural similarity",
    IEEE Transactions on Image Processing 13(4), 2004.
    """
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    mean_1, mean_2 = _window_mean(first), _window_mean(second)
    product, squares = mean_1 * mean_2, np.square(mean_1) + np.square(mean_2)
    covariance = _window_mean(first * second) - product
    variances = _window_mean(np.square(first) + np.square(second)) - squares
    structure = (2 * covariance + c2) / (variances + c2)
    return np.asarray((2 * product + c1) / (squares + c1) * structure)


def complete_windows(valid: BoolArray) -> BoolArray:
    """Whether all pixels of a window are valid (y, x), at the centres (y - 10, x - 10)."""
    rows = sliding_window_view(valid, SSIM_SIDE, axis=0).all(-1)
    return np.asarray(sliding_window_view(rows, SSIM_SIDE, axis=1).all(-1))


def _window_mean(plane: FloatArray) -> FloatArray:
    """The Gaussian mean over each window that lies inside a plane."""
    offsets = np.arange(-SSIM_RADIUS, SSIM_RADIUS + 1)
    weights = np.exp(-0.5 * np.square(offsets / SSIM_SIGMA))
    weights /= weights.sum()
    size = 2 * SSIM_RADIUS
    rows = sum(weight * plane[i : plane.shape[0] - size + i] for i, weight in enumerate(weights))
    return np.asarray(
        sum(weight * rows[:, i : rows.shape[1] - size + i] for i, weight in enumerate(weights))
    )
