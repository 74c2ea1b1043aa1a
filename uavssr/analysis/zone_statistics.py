"""Indices and spectra of zones: mean, median and spread, with two standard errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

import numpy as np
import torch

from uavssr.analysis.index_maps import IndexEvaluation, IndexRequest, IndexValues
from uavssr.analysis.spectral_source import SpectralErrors, SpectralSource, SpectralTile
from uavssr.analysis.zone_pixels import ZonePixels, grouped, zone_pixels
from uavssr.analysis.zone_spectra import (
    SAMPLED_SPECTRA,
    BandEvaluation,
    SpectrumOfZone,
    SpectrumPart,
    SpectrumSums,
)
from uavssr.analysis.zones import Zone, zones_by_tile
from uavssr.model import OUTLIER_QUANTILE, chi_square_quantile
from uavssr.sensors import FloatArray
from uavssr.tiling import Progress

SHARED_IN_ZONE: Final = 0.3
"""Share of the variance of pixels' own errors that the pixels of a zone have in common.

Pixels of one crop share errors of the spectral prior, which no mean makes smaller. With it the
intervals of ten development scenes hold about 90 % (`benchmarks/zone_means.py`).
"""
SHARED_IN_COMPARISON: Final = 0.15
"""The same for comparing zones: plots of one crop have a part of these errors alike.

With it the differences of CIre, NDRE and MCARI of development scenes lie in 90 % intervals in 87 to
95 % of the cases (`benchmarks/index_coverage.py`).
"""
SAMPLED_PIXELS: Final = 20_000
"""About so many pixels of a zone give its median."""


Share = TypeVar("Share", float, FloatArray)


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
    spectrum: SpectrumOfZone | None = None
    """Its spectrum; None if it was not asked for."""
    shared: dict[str, FloatArray] | None = None
    """(s,) changes of each index by one standard error of what all pixels share."""


def zone_statistics(
    source: SpectralSource,
    zones: Sequence[Zone],
    requests: Sequence[IndexRequest],
    *,
    bands: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> list[ZoneRow]:
    """The statistics of the zones, in their order; only the tiles that hold zones are read.

    The mean of a zone with weights w has the variance

        v (rho + (1 - rho) sum w^2 / (sum w)^2) + |s|^2

    with the mean variance v of its pixels' own errors, rho = `SHARED_IN_ZONE`, and s the mean
    change by the errors that all pixels of the image share. To compare zones, s is taken less its
    mean over all zones, and rho is `SHARED_IN_COMPARISON`: what shifts all of them alike does not
    change their order.

    Args:
        source: the spectra.
        zones: the zones.
        requests: the indices; may be empty.
        bands: indices of the bands whose spectra are measured; by default none.
        progress: called with each tile that was read.

    Raises:
        InputRefused: the bands of an index lie outside the spectra, or a file is broken.
    """
    evaluation = IndexEvaluation.of(requests, source.grid, source.errors) if requests else None
    spectra = BandEvaluation.of(source, bands) if bands else None
    by_tile = zones_by_tile(source.tiles, zones)
    sums = [_Sums.of(zone, source, len(requests)) for zone in zones]

    def measure(tile: SpectralTile) -> tuple[int, list[tuple[int, _Part]]]:
        parts = list[tuple[int, _Part]]()
        pieces = (zone_pixels(tile, number, zones[number]) for number in by_tile[tile.index])
        for group in grouped(piece for piece in pieces if piece is not None):
            parts += _parts(tile, group, source.errors, evaluation, spectra, sums)
        return tile.index, parts

    last_tile = {number: tile for tile in sorted(by_tile) for number in by_tile[tile]}
    open_zones = sorted(last_tile, key=last_tile.__getitem__, reverse=True)
    for index, parts in source.map(
        measure, progress=progress, task="measuring zones", indices=sorted(by_tile)
    ):
        for number, part in parts:
            sums[number].add(part)
        while open_zones and last_tile[open_zones[-1]] <= index:
            sums[open_zones.pop()].close()
    for number in open_zones:
        sums[number].close()
    common = _Common.of([zone_sums for zone_sums in sums if zone_sums.weight])
    names = [request.name for request in requests]
    return [
        zone_sums.row(zone.name, names, common, spectra)
        for zone, zone_sums in zip(zones, sums, strict=True)
    ]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Part:
    """The valid pixels of a zone in a tile, n of them."""

    weight: FloatArray
    """(n,) covered shares."""
    outlier: FloatArray
    """(n,) 1 for outliers, 0 for others; NaN where not known."""
    index: _IndexPart | None
    """The indices."""
    spectrum: SpectrumPart | None
    """Sums of the spectra."""


class _IndexPart(NamedTuple):
    """I indices of n pixels."""

    value: FloatArray
    """(I, n)."""
    own: FloatArray
    """(I, n) variance of own errors; NaN where not known."""
    shared: FloatArray
    """(I, s, n) changes by what all pixels share."""


def _parts(
    tile: SpectralTile,
    pieces: Sequence[ZonePixels],
    errors: SpectralErrors | None,
    evaluation: IndexEvaluation | None,
    spectra: BandEvaluation | None,
    sums: Sequence[_Sums],
) -> list[tuple[int, _Part]]:
    """The zones' numbers and parts."""
    chosen = tile.chosen(torch.from_numpy(np.concatenate([piece.positions for piece in pieces])))
    outlier = _outliers(chosen, errors)
    index = None if evaluation is None else _index_part(evaluation(chosen))
    spectrum = None if spectra is None else spectra.pixels(chosen)
    ends = np.cumsum([len(piece.weight) for piece in pieces]).tolist()
    parts = []
    for piece, end in zip(pieces, ends, strict=True):
        own = slice(end - len(piece.weight), end)
        step = max(1, int(sums[piece.zone].area) // SAMPLED_SPECTRA)
        part = _Part(
            weight=piece.weight,
            outlier=outlier[own],
            index=None if index is None else _IndexPart(*(array[..., own] for array in index)),
            spectrum=None if spectrum is None else spectrum.part(own, piece.weight, step),
        )
        parts.append((piece.zone, part))
    return parts


def _index_part(indices: IndexValues) -> _IndexPart:
    value = indices.value.double().numpy()
    if indices.own_variance is None or indices.shared is None:
        unknown = np.full_like(value, np.nan)
        return _IndexPart(value, unknown, unknown[:, None])
    own, shared = indices.own_variance.double().numpy(), indices.shared.double().numpy()
    return _IndexPart(value, own, shared)


def _outliers(tile: SpectralTile, errors: SpectralErrors | None) -> FloatArray:
    """(n,) 1 for outliers, 0 for others; NaN where errors are not known."""
    if errors is None:
        return np.full(tile.coefficients.shape[1], np.nan)
    limit = chi_square_quantile(errors.bands, OUTLIER_QUANTILE)
    return (errors.distance(tile.coefficients) > limit).double().numpy()


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
    median: list[float] = field(default_factory=list)
    spectrum: SpectrumSums = field(default_factory=SpectrumSums)

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
        self.weight += float(part.weight.sum())
        self.squared_weight += float((part.weight**2).sum())
        self.outlier += float(part.outlier @ part.weight)
        if part.spectrum is not None:
            self.spectrum.add(part.spectrum)
        if part.index is not None:
            value, own, shared = part.index
            self.total = self.total + value @ part.weight
            self.square = self.square + value**2 @ part.weight
            self.own = self.own + own @ part.weight
            self.shared = self.shared + shared @ part.weight
            self.values.append(value[:, :: self.step])
            self.weights.append(part.weight[:: self.step])

    def close(self) -> None:
        """After the last tile: take the medians, and drop the pixels."""
        if self.values:
            values, weights = np.concatenate(self.values, 1), np.concatenate(self.weights)
            self.median = [_weighted_median(row, weights) for row in values]
        self.values, self.weights = [], []
        self.spectrum.close()

    def row(
        self, zone: str, names: Sequence[str], common: _Common, spectra: BandEvaluation | None
    ) -> ZoneRow:
        """The statistics."""
        nan = float("nan")
        alone = self.squared_weight / self.weight**2 if self.weight else nan
        shares = own_share_of_mean(alone), own_share_of_mean(alone, shared=SHARED_IN_COMPARISON)
        spectrum = None
        if spectra is not None:
            spectrum = self.spectrum.spectrum(spectra, self.weight, shares, common.spectrum)
        return ZoneRow(
            zone=zone,
            pixels=self.weight,
            valid=min(1.0, self.weight / self.area) if self.weight else 0.0,
            outlier=self.outlier / self.weight if self.weight else nan,
            indices=self._indices(names, shares, common.indices),
            spectrum=spectrum,
            shared=dict(zip(names, self.shared / (self.weight or nan), strict=True)),
        )

    def _indices(
        self, names: Sequence[str], own_shares: tuple[float, float], common: FloatArray
    ) -> dict[str, IndexOfZone]:
        """The indices by name; `common` (I, s) is the shared change of all zones.

        `own_shares` are those of the variance of own errors, of the value and to compare.
        """
        if not self.weight:
            return dict.fromkeys(names, IndexOfZone(*[float("nan")] * 5))
        mean = self.total / self.weight
        deviation = np.sqrt(np.maximum(self.square / self.weight - mean**2, 0))
        own, shared = self.own / self.weight, self.shared / self.weight
        errors = [
            np.sqrt(own * share + (change**2).sum(1))
            for share, change in zip(own_shares, (shared, shared - common), strict=True)
        ]
        columns = (mean.tolist(), self.median, deviation.tolist(), *(se.tolist() for se in errors))
        return {name: IndexOfZone(*row) for name, *row in zip(names, *columns, strict=True)}


class _Common(NamedTuple):
    """The mean over all zones of what shared errors do."""

    indices: FloatArray
    """(I, s) change of the indices."""
    spectrum: FloatArray
    """(r+1,) extended coefficients."""

    @classmethod
    def of(cls, sums: Sequence[_Sums]) -> _Common:
        if not sums:
            return cls(np.zeros((1, 1)), np.zeros(1))
        changes = np.array([zone.shared / zone.weight for zone in sums])
        defined = np.isfinite(changes)  # zones where an index is undefined leave others alone
        total = np.where(defined, changes, 0).sum(0)
        indices = total / np.maximum(defined.sum(0), 1)
        spectra = [np.asarray(zone.spectrum.extended) / zone.weight for zone in sums]
        return cls(indices, np.mean(spectra, 0))


def own_share_of_mean(alone: Share, *, shared: float = SHARED_IN_ZONE) -> Share:
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
