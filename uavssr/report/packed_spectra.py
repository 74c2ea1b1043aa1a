"""Spectra as a few maps of small integers, of which a page computes them again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from uavssr.sensors import FloatArray, IndexArray, NumberArray

_LARGEST_COUNT: Final = 65535
"""Largest count: 16 bits."""
_BLOCK: Final = 4096
"""Spectra that are computed at a time."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackedSpectra:
    """n spectra of C bands: mean + U^T (offset + step counts), with k principal directions U.

    The steps are as coarse as the tolerance allows; directions that would only have one count are
    left out.
    """

    mean: FloatArray
    """(C,) mean spectrum."""
    directions: FloatArray
    """U (k, C), orthonormal rows."""
    offset: FloatArray
    """(k,) score of count 0 in each direction."""
    step: FloatArray
    """(k,) score per count."""
    counts: npt.NDArray[np.uint16]
    """(k, n)."""
    error: float
    """Largest difference of any band of any spectrum from what was packed."""

    @classmethod
    def of(cls, spectra: NumberArray, *, tolerance: float) -> PackedSpectra:
        """Spectra (C, n), n > 0, packed so that no band differs by more than the tolerance."""
        mean = spectra.mean(1, dtype=float)
        directions = _principal(spectra, mean)
        step = 3 * tolerance
        while True:
            packed = cls._with_step(spectra, mean, directions, step)
            if packed.error <= tolerance:
                return packed
            step /= 1.5

    @classmethod
    def _with_step(
        cls, spectra: NumberArray, mean: FloatArray, directions: FloatArray, step: float
    ) -> PackedSpectra:
        scores = np.concatenate(
            [directions @ (block - mean[:, None]) for block in _blocks(spectra)], axis=1
        )
        used = np.abs(scores).max(1) >= step / 2
        scores, directions = scores[used].astype(np.float64), directions[used]
        low = scores.min(1, initial=np.inf) if len(scores) else np.zeros(0)
        span = scores.max(1, initial=-np.inf) - low if len(scores) else np.zeros(0)
        steps = np.maximum(step, span / _LARGEST_COUNT)
        counts = np.rint((scores - low[:, None]) / steps[:, None]).astype(np.uint16)
        packed = cls(
            mean=mean, directions=directions, offset=low, step=steps, counts=counts, error=0.0
        )
        return packed._with_error(spectra)

    def _with_error(self, spectra: NumberArray) -> PackedSpectra:
        starts = range(0, spectra.shape[1], _BLOCK)
        differences = (
            np.abs(self.spectra(np.arange(start, start + block.shape[1])) - block).max()
            for start, block in zip(starts, _blocks(spectra), strict=True)
        )
        return replace(self, error=float(max(differences)))

    @property
    def bits(self) -> list[int]:
        """Bits (k,) that the counts of each direction need."""
        return [int(row.max()).bit_length() for row in self.counts]

    @property
    def bytes_each(self) -> float:
        """Bytes of a spectrum."""
        return sum(self.bits) / 8

    def stored(self) -> list[bytes]:
        """The counts of each direction, bit after bit, the least first."""
        return [
            np.packbits(row[:, None] >> np.arange(bits) & 1, bitorder="little").tobytes()
            for row, bits in zip(self.counts, self.bits, strict=True)
        ]

    def spectra(self, positions: IndexArray) -> FloatArray:
        """The spectra (C, n) at some positions, as a page computes them."""
        scores = self.offset[:, None] + self.step[:, None] * self.counts[:, positions]
        return self.mean[:, None] + self.directions.T @ scores


def _blocks(spectra: NumberArray) -> Iterator[FloatArray]:
    for start in range(0, spectra.shape[1], _BLOCK):
        yield spectra[:, start : start + _BLOCK].astype(float)


def _principal(spectra: NumberArray, mean: FloatArray) -> FloatArray:
    """Eigenvectors (C, C) of the covariance as rows, the largest first."""
    covariance = np.zeros((len(spectra), len(spectra)))
    for block in _blocks(spectra):
        centred = block - mean[:, None]
        covariance += centred @ centred.T
    return np.asarray(np.linalg.eigh(covariance)[1][:, ::-1].T, float)
