"""The shift between two images (band, y, x) of the same ground, NaN where there is no data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from uavssr.sensors import Float32Array, FloatArray

ImagePair = tuple[Float32Array, Float32Array]
"""The same pixels twice, each (band, y, x): as a cube predicts them, and as an image shows them."""

PATTERNS: Final = 4
"""Patterns of a pixel in `misregistration_patterns`."""
_MAX_ITERATIONS: Final = 12
_MAX_STEP_PX: Final = 1.0
"""Largest step of one iteration, in pixels."""
_CONVERGED_PX: Final = 0.01
"""Step in pixels at which the iteration ends."""
_MIN_PIXELS: Final = 16
"""Fewest valid pixels of a band that takes part."""
_MIN_EXPLAINED: Final = 0.5
"""Least share of the variance that a shifted prediction must explain."""
_MAX_BLUR_LOSS: Final = 0.01
"""Share of the variance that a right shift may lose, as interpolation blurs."""
_MIN_NOISE_SHARE: Final = 0.01
"""Least noise of a band as a share of its variance: no cube predicts an image exactly."""
_MAX_SHIFT_SE_PX: Final = 0.2
"""Largest standard error in pixels of a shift that is accepted."""


def misregistration_patterns(predicted: Float32Array) -> Float32Array:
    """First and second derivative along y, then along x, of images (band, y, x): (4, band, y, x).

    A band d pixels off is about I - d I' + d^2/2 I'', a blurred one I + b I''. Units of the image
    per pixel; zero where a neighbour is missing.
    """
    derivatives = [one for axis in (1, 2) for one in _derivatives(predicted, axis)]
    return np.nan_to_num(np.stack(derivatives), nan=0.0)


def _derivatives(image: Float32Array, axis: int) -> tuple[Float32Array, Float32Array]:
    # I' = (I[i+1] - I[i-1]) / 2,  I'' = I[i+1] + I[i-1] - 2 I[i]
    before, after = shift_image(image, 1, axis), shift_image(image, -1, axis)
    two = np.float32(2)
    return (after - before) / two, after + before - two * image


def shift_image(image: Float32Array, pixels: float, axis: int) -> Float32Array:
    """An image (band, y, x) moved down (axis 1) or right (axis 2), interpolated linearly.

    NaN where it is moved away from.
    """
    whole = int(np.floor(pixels))
    part = np.float32(pixels - whole)
    near = _shift_whole(image, whole, axis)
    return near if part == 0 else (1 - part) * near + part * _shift_whole(image, whole + 1, axis)


def _shift_whole(image: Float32Array, pixels: int, axis: int) -> Float32Array:
    shifted, length = np.full_like(image, np.nan), image.shape[axis]
    down, up = min(max(pixels, 0), length), min(max(-pixels, 0), length)
    target, source = np.swapaxes(shifted, 0, axis), np.swapaxes(image, 0, axis)
    target[down : length - up] = source[up : length - down]
    return shifted


def estimate_shift(pairs: Sequence[ImagePair]) -> tuple[float, float] | None:
    """Pixels by which the images lie further down and right than predicted, a few at most.

    Gauss-Newton on sum |image - (a predicted(shift) + b)|^2 over all bands of all pairs, each band
    with a slope a and an offset b of its own (Lucas and Kanade 1981). None where the images do not
    determine the shift to 0.2 pixels, or where the shifted prediction explains them no better.
    """
    shift = np.zeros(2)
    for _ in range(_MAX_ITERATIONS):
        step = _gauss_newton_step(pairs, shift)
        if step is None:
            return None
        shift += step
        if np.abs(step).max() < _CONVERGED_PX:
            break
    least = max(explained_share(pairs) - _MAX_BLUR_LOSS, _MIN_EXPLAINED)
    return (float(shift[0]), float(shift[1])) if explained_share(pairs, shift) > least else None


def _gauss_newton_step(pairs: Sequence[ImagePair], shift: FloatArray) -> FloatArray | None:
    """A step (2,) in pixels; None where its standard error would be too large."""
    normal, right = np.zeros((2, 2)), np.zeros(2)
    for slopes, residual, total in _band_fits(pairs, shift):
        # H = sum_b w_b G_b^T G_b,  g = sum_b w_b G_b^T e_b,  w_b = n_b / |e_b|^2
        weight = len(residual) / max(float((residual**2).sum()), _MIN_NOISE_SHARE * total, 1e-12)
        normal += weight * slopes.T @ slopes
        right += weight * slopes.T @ residual
    if np.linalg.eigvalsh(normal)[0] < 1 / _MAX_SHIFT_SE_PX**2:
        return None
    return np.clip(-np.linalg.solve(normal, right), -_MAX_STEP_PX, _MAX_STEP_PX)


def explained_share(pairs: Sequence[ImagePair], shift: FloatArray | None = None) -> float:
    """Share of the images' variance that the shifted predictions explain, the mean over bands."""
    fits = _band_fits(pairs, np.zeros(2) if shift is None else shift)
    shares = [1 - float((residual**2).sum()) / max(total, 1e-12) for _, residual, total in fits]
    return float(np.mean(shares)) if shares else 0.0


def _band_fits(
    pairs: Sequence[ImagePair], shift: FloatArray
) -> Iterator[tuple[FloatArray, FloatArray, float]]:
    """Derivatives a G (n, 2) and residual e (n,) of each band, and its sum of squares.

    The best fit a predicted + b has been taken from both the derivatives and e.
    """
    for predicted, image in pairs:
        placed = shift_image(shift_image(predicted, float(shift[0]), 1), float(shift[1]), 2)
        slopes = np.stack([_derivatives(placed, axis)[0] for axis in (1, 2)], axis=-1)
        for band, slope, seen in zip(placed, slopes, image, strict=True):
            usable = np.isfinite(slope).all(-1) & np.isfinite(band) & np.isfinite(seen)
            if usable.sum() < _MIN_PIXELS:
                continue
            terms = np.stack([band[usable], np.ones(int(usable.sum()))], axis=1).astype(float)
            values = np.column_stack([slope[usable], seen[usable]]).astype(float)
            # V - T argmin_C |V - T C|^2
            fitted = np.linalg.lstsq(terms, values)[0]
            rest = values - terms @ fitted
            spread = values[:, 2] - values[:, 2].mean()
            yield fitted[0, 2] * rest[:, :2], rest[:, 2], float((spread**2).sum())
