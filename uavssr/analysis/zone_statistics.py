"""Indices of the zones of an image: mean, median and spread, with two standard errors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import torch

from uavssr.analysis.index_maps import IndexEvaluation, IndexRequest
from uavssr.analysis.spectral_source import SpectralSource, SpectralTile
from uavssr.analysis.zones import Zone
from uavssr.model import OUTLIER_QUANTILE, chi_square_quantile
from uavssr.sensors import FloatArray
from uavssr.tiling import Progress

SHARED_IN_ZONE: Final = 0.3
"""Share of the variance of pixels' own errors that the pixels of a zone have in common.

Pixels of one crop share errors of the spectral prior, which no mean makes smaller. With it the
intervals of ten development scenes hold about 90 % (`benchmarks/zone_means.py`).
"""
SAMPLED_PIXELS: Final = 20_000
"""About so many pixels of a zone give its median."""


class IndexOfZone(NamedTuple):
    """An index over a zone."""

    mean: float
    """Mean of the pixels, weighted with the share that the zone covers."""
    median: float
    """Weighted median."""
    deviation: float
    """Weighted standard deviation of the pixels."""
    value_se: float
    """Standard error of the mean; NaN where errors are not known."""
    compare_se: float
    """Standard error for comparing zones of this image, without what all zones share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneRow:
    """The statistics of a zone."""

    zone: str
    """Its identifier."""
    pixels: float
    """Valid pixels in it, partly covered ones in part."""
    valid: float
    """Share of its area that is valid."""
    outlier: float
    """Share of its valid pixels that are unlike all training spectra; NaN where not known."""
    indices: dict[str, IndexOfZone]
    """By the names of the indices."""


def zone_statistics(
    source: SpectralSource,
    zones: Sequence[Zone],
    requests: Sequence[IndexRequest],
    *,
    progress: Progress | None = None,
) -> list[ZoneRow]:
    """The statistics of the zones, in their order; only the tiles that hold zones are read.

    The mean of a zone with weights w has the variance

        v (rho + (1 - rho) sum w^2 / (sum w)^2) + |s|^2

    with the mean variance v of its pixels' own errors, rho = `SHARED_IN_ZONE`, and s the mean
    change by the errors that all pixels of the image share. To compare zones, s is taken less its
    mean over all zones: what shifts all of them alike does not change their order.

    Raises:
        InputRefused: the bands of an index lie outside the spectra, or a file is broken.
    """
    evaluation = IndexEvaluation.of(requests, source.grid, source.errors)
    by_tile = _zones_by_tile(source, zones)
    sums = [_Sums.of(zone, source, len(requests)) for zone in zones]

    def measure(tile: SpectralTile) -> list[tuple[int, _Part]]:
        measured = (
            (number, _part(tile, evaluation, zones[number])) for number in by_tile[tile.index]
        )
        return [(number, part) for number, part in measured if part is not None]

    for parts in source.map(
        measure, progress=progress, task="measuring zones", indices=sorted(by_tile)
    ):
        for number, part in parts:
            sums[number].add(part)
    shared = [zone_sums.shared / zone_sums.weight for zone_sums in sums if zone_sums.weight]
    common = np.mean(shared, axis=0) if shared else np.zeros(1)
    names = [request.name for request in requests]
    return [
        zone_sums.row(zone.name, names, common) for zone, zone_sums in zip(zones, sums, strict=True)
    ]


def _zones_by_tile(source: SpectralSource, zones: Sequence[Zone]) -> dict[int, list[int]]:
    """The numbers of the zones that reach into each tile."""
    tiles, by_tile = source.tiles, defaultdict[int, list[int]](list)
    rows, cols = tiles.shape
    for number, zone in enumerate(zones):
        left, top, right, bottom = zone.outline.bounds
        first_row, last_row = (
            max(0, int(top // tiles.tile)),
            min(rows - 1, int(bottom // tiles.tile)),
        )
        first_col, last_col = (
            max(0, int(left // tiles.tile)),
            min(cols - 1, int(right // tiles.tile)),
        )
        for row in range(first_row, last_row + 1):
            for col in range(first_col, last_col + 1):
                by_tile[row * cols + col].append(number)
    return dict(by_tile)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Part:
    """The valid pixels of a zone in a tile, n of them."""

    weight: FloatArray
    """(n,) covered shares."""
    value: FloatArray
    """(I, n)."""
    own: FloatArray
    """(I, n) variance of own errors; NaN where not known."""
    shared: FloatArray
    """(I, s, n) changes by what all pixels share."""
    outlier: FloatArray
    """(n,) 1 for outliers, 0 for others; NaN where not known."""


def _part(tile: SpectralTile, evaluation: IndexEvaluation, zone: Zone) -> _Part | None:
    covered = zone.within(tile.window)
    if covered is None:
        return None
    valid = tile.valid[covered.rows, covered.cols]
    if not valid.any():
        return None
    # positions of the zone's valid pixels among those of the tile
    positions = tile.valid.ravel().cumsum() - 1
    flat = covered.rows[valid] * tile.valid.shape[1] + covered.cols[valid]
    chosen = tile.chosen(torch.from_numpy(positions[flat]))
    indices = evaluation(chosen)
    count = len(flat)
    unknown = np.full((len(evaluation.requests), count), np.nan)
    own = unknown if indices.own_variance is None else indices.own_variance.double().numpy()
    shared = unknown[:, None] if indices.shared is None else indices.shared.double().numpy()
    return _Part(
        weight=covered.share[valid],
        value=indices.value.double().numpy(),
        own=own,
        shared=shared,
        outlier=_outliers(chosen, evaluation, count),
    )


def _outliers(tile: SpectralTile, evaluation: IndexEvaluation, count: int) -> FloatArray:
    if evaluation.errors is None:
        return np.full(count, np.nan)
    distance = evaluation.errors.distance(tile.coefficients)
    limit = chi_square_quantile(evaluation.errors.bands, OUTLIER_QUANTILE)
    return (distance > limit).double().numpy()


@dataclass(slots=True, kw_only=True, eq=False)
class _Sums:
    """Weighted sums over the valid pixels of a zone."""

    area: float
    """Pixels of the zone in the image."""
    step: int
    """Every so many pixels one is taken for the median."""
    total: FloatArray
    """(I,) sum of w v."""
    square: FloatArray
    """(I,) sum of w v^2."""
    own: FloatArray
    """(I,) sum of w times the variance of own errors."""
    shared: FloatArray
    """(I, s) sum of w times the shared changes."""
    weight: float = 0.0
    squared_weight: float = 0.0
    outlier: float = 0.0
    values: list[FloatArray] = field(default_factory=list)
    weights: list[FloatArray] = field(default_factory=list)

    @classmethod
    def of(cls, zone: Zone, source: SpectralSource, count: int) -> _Sums:
        area = zone.area_within(source.height, source.width)
        step = max(1, int(area) // SAMPLED_PIXELS)
        total, square, own = np.zeros((3, count))
        return cls(
            area=area, step=step, total=total, square=square, own=own, shared=np.zeros((count, 1))
        )

    def add(self, part: _Part) -> None:
        """Add the pixels of a tile. Those where an index is undefined make it undefined."""
        self.total = self.total + part.value @ part.weight
        self.square = self.square + part.value**2 @ part.weight
        self.own = self.own + part.own @ part.weight
        self.shared = self.shared + part.shared @ part.weight
        self.weight += float(part.weight.sum())
        self.squared_weight += float((part.weight**2).sum())
        self.outlier += float(part.outlier @ part.weight)
        self.values.append(part.value[:, :: self.step])
        self.weights.append(part.weight[:: self.step])

    def row(self, zone: str, names: Sequence[str], common: FloatArray) -> ZoneRow:
        """The statistics; `common` (I, s) is the shared change of all zones."""
        nan = float("nan")
        if not self.weight:
            empty = dict.fromkeys(names, IndexOfZone(nan, nan, nan, nan, nan))
            return ZoneRow(zone=zone, pixels=0.0, valid=0.0, outlier=nan, indices=empty)
        mean = self.total / self.weight
        deviation = np.sqrt(np.maximum(self.square / self.weight - mean**2, 0))
        alone = self.squared_weight / self.weight**2
        own = self.own / self.weight * own_share_of_mean(alone)
        shared = self.shared / self.weight
        value_se, compare_se = (
            np.sqrt(own + (change**2).sum(1)) for change in (shared, shared - common)
        )
        values, weights = np.concatenate(self.values, 1), np.concatenate(self.weights)
        median = [_weighted_median(row, weights) for row in values]
        columns = (
            mean.tolist(),
            median,
            deviation.tolist(),
            value_se.tolist(),
            compare_se.tolist(),
        )
        return ZoneRow(
            zone=zone,
            pixels=self.weight,
            valid=min(1.0, self.weight / self.area),
            outlier=self.outlier / self.weight,
            indices={
                name: IndexOfZone(*numbers) for name, *numbers in zip(names, *columns, strict=True)
            },
        )


def own_share_of_mean(alone: float, *, shared: float = SHARED_IN_ZONE) -> float:
    """Variance of a zone's mean over that of one pixel's own error: rho + (1 - rho) alone.

    Args:
        alone: sum w^2 / (sum w)^2 of the pixels' weights, 1 / n of n whole pixels.
        shared: rho.
    """
    return shared + (1 - shared) * alone


def _weighted_median(values: FloatArray, weights: FloatArray) -> float:
    """The value at which half of the weight is reached; NaN if a value is NaN."""
    if np.isnan(values).any():
        return float("nan")
    order = np.argsort(values)
    reached = weights[order].cumsum()
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])
