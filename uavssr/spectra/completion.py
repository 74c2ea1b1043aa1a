"""Completion of spectra whose bands are missing or badly measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from uavssr.errors import InputRefused
from uavssr.sensors import BoolArray, Float32Array, FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SubspaceCompletion:
    """Fills bands that a sensor lacks, or measured badly, from what full spectra look like.

    The prior of a spectrum is x ~ N(mean, E E^T), and its bands k are observed with variance s^2.
    The other bands become mean + E (E_k^T E_k + s^2 I)^-1 E_k^T (y - mean)_k, moved at the seams to
    join the observed ones. This is a regression on the library, not a measurement.
    """

    mean: FloatArray
    """(C,) mean reflectance."""
    factors: FloatArray
    """(C, r) principal axes times their standard deviations."""
    noise: float = 0.01
    """Standard deviation of an observed band, reflectance."""
    reach: float = 6.0
    """Number of bands over which the misfit at a seam dies away."""

    @classmethod
    def fit(cls, spectra: npt.ArrayLike, *, rank: int = 14) -> SubspaceCompletion:
        """Fit the prior to full spectra (n, C), by principal components."""
        values = np.asarray(spectra, np.float64)
        mean = values.mean(0)
        power, axes = np.linalg.eigh(np.cov(values - mean, rowvar=False))
        deviation = np.sqrt(np.clip(power[-rank:], 0, None))
        return cls(mean=mean, factors=axes[:, -rank:] * deviation)

    def fill(self, spectra: npt.ArrayLike, known: BoolArray) -> Float32Array:
        """Spectra (n, C) with all bands but the `known` ones (C,) replaced.

        Raises:
            InputRefused: no band is known.
        """
        values = np.array(spectra, np.float64)
        if not known.any():
            raise InputRefused("no known band to complete a spectrum from")
        part = self.factors[known]
        # scores = (E_k^T E_k + s^2 I)^-1 E_k^T (y - mean)_k
        gram = part.T @ part + self.noise**2 * np.eye(part.shape[1])
        scores = np.linalg.solve(gram, part.T @ (values[:, known] - self.mean[known]).T)
        predicted = self.mean + (self.factors @ scores).T
        misfit = np.where(known, values - predicted, 0.0)
        values[:, ~known] = (predicted + misfit @ self._seam(known))[:, ~known]
        return values.astype(np.float32)

    def _seam(self, known: BoolArray) -> FloatArray:
        """Weights (C, C) that carry the misfit of the nearest known bands into a gap, decaying."""
        bands, given = np.arange(known.size), np.flatnonzero(known)
        distance = np.abs(np.subtract.outer(bands, given))
        weights = np.zeros((known.size, known.size))
        weights[given[distance.argmin(1)], bands] = np.exp(-distance.min(1) / self.reach)
        return weights
