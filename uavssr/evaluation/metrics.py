"""Errors of a cube against a reference. Arrays are (C, N), reflectance; numpy only.

Masks are applied by the caller, who passes valid pixels only. Nothing is clamped or normalised.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]


def rmse(estimate: Array, reference: Array) -> float:
    """Root mean squared error over all bands and pixels, in reflectance."""
    difference = np.asarray(estimate, float) - np.asarray(reference, float)
    return float(np.sqrt(np.mean(difference**2)))


def sam(estimate: Array, reference: Array) -> float:
    """Mean spectral angle in degrees (Kruse et al. 1993); pixels of zero norm are left out."""
    first, second = np.asarray(estimate, float), np.asarray(reference, float)
    norms = np.linalg.norm(first, axis=0) * np.linalg.norm(second, axis=0)
    kept = norms > 0
    cosine = (first * second).sum(0)[kept] / norms[kept]
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean())


def stf_error(estimate: Array, reference: Array) -> float:
    """Relative error |R_est - R_true| / |R_true| (Frobenius norms) of STFs (c, C)."""
    difference = np.asarray(estimate, float) - np.asarray(reference, float)
    return float(np.linalg.norm(difference) / np.linalg.norm(reference))
