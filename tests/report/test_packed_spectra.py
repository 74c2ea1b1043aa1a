"""Packed spectra stay within their tolerance, in few bits."""

from __future__ import annotations

import numpy as np
import pytest

from uavssr.report.packed_spectra import PackedSpectra


def smooth(count: int, bands: int = 40, rank: int = 4, *, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shapes = np.stack([np.cos(np.linspace(0, np.pi * k, bands)) for k in range(rank)])
    return (0.3 + shapes.T @ rng.normal(0, 0.05, (rank, count))).astype(np.float32)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-2])
@pytest.mark.parametrize(
    "spectra",
    [
        smooth(5000),
        smooth(1),
        np.full((40, 30), 0.25, np.float32),
        np.random.default_rng(1).uniform(0, 6.5, (40, 300)).astype(np.float32),
    ],
    ids=["smooth", "one", "equal", "noise"],
)
def test_no_band_differs_by_more_than_the_tolerance(spectra: np.ndarray, tolerance: float) -> None:
    packed = PackedSpectra.of(spectra, tolerance=tolerance)
    count = spectra.shape[1]
    again = packed.spectra(np.arange(count))
    assert np.abs(again - spectra).max() <= tolerance
    assert packed.error == pytest.approx(np.abs(again - spectra).max(), abs=1e-9)


def test_smooth_spectra_take_few_bytes() -> None:
    assert PackedSpectra.of(smooth(5000), tolerance=1e-3).bytes_each <= 5.5
    assert PackedSpectra.of(smooth(5000, rank=1), tolerance=1e-2).bytes_each <= 1


def test_stored_bits_are_the_counts() -> None:
    packed = PackedSpectra.of(smooth(77), tolerance=1e-3)
    for row, bits, raw in zip(packed.counts, packed.bits, packed.stored(), strict=True):
        flat = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")[: 77 * bits]
        numbers = flat.reshape(77, bits) @ (1 << np.arange(bits))
        np.testing.assert_array_equal(numbers, row)
