"""Spectra of zones: mean, median and spread of each band, with two standard errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from torch import Tensor

from uavssr.analysis.spectral_source import SpectralErrors, SpectralSource, SpectralTile
from uavssr.model import BandErrors, CubeUncertainty
from uavssr.sensors import FloatArray

SAMPLED_SPECTRA: Final = 1000
"""About so many pixels of a zone give the median of its spectrum."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpectrumOfZone:
    """The spectrum of a zone at m wavelengths, reflectance; NaN without a valid pixel."""

    mean: FloatArray
    """(m,) mean of the pixels, weighted with the share that the zone covers."""
    median: FloatArray
    """(m,) weighted median of about `SAMPLED_SPECTRA` pixels."""
    deviation: FloatArray
    """(m,) weighted standard deviation of the pixels."""
    value_se: FloatArray
    """(m,) standard error of the mean; NaN where errors are not known."""
    compare_se: FloatArray
    """(m,) standard error for comparing zones of this image, without what all zones share."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BandEvaluation:
    """Measures m bands of spectra, and what their errors follow from."""

    bands: Sequence[int]
    """Indices of the bands."""
    errors: SpectralErrors | None
    """What the errors follow from; None: no errors."""
    band_errors: BandErrors | None
    """The errors of the m bands that all pixels share."""
    own: CubeUncertainty | None
    """The errors of all bands that each pixel has of its own."""

    @classmethod
    def of(cls, source: SpectralSource, bands: Sequence[int] | None = None) -> BandEvaluation:
        """The evaluation of some bands of a source, by default of all."""
        bands, errors = range(len(source.grid)) if bands is None else bands, source.errors
        if errors is None:
            return cls(bands=bands, errors=None, band_errors=None, own=None)
        chosen = torch.eye(len(source.grid))[list(bands)]
        band_errors, own = errors.of_bands(chosen), errors.uncertainty().own()
        return cls(bands=bands, errors=errors, band_errors=band_errors, own=own)

    def pixels(self, tile: SpectralTile) -> SpectraOfPixels:
        """The bands of the n pixels of a tile, and what their errors follow from."""
        own = extended = None
        if self.errors is not None and self.band_errors is not None and self.own is not None:
            image, a = self.errors.image(tile.coefficients), tile.coefficients[None]
            own = self.own.maps(image[:, :, None], a[:, :, None])[0, :, 0]
            extended = self.band_errors.extended(image, a)[0]
        return SpectraOfPixels(spectra=tile.bands(self.bands), own=own, extended=extended)

    def shared(self, extended: FloatArray) -> FloatArray:
        """(m, s) change of the bands by one standard error of each quantity that pixels share.

        `extended` (r+1,) is the mean over pixels of `BandErrors.extended`.
        """
        if self.band_errors is None:
            return np.full((len(self.bands), 1), np.nan)
        column = torch.from_numpy(extended).float()[None, :, None]
        return self.band_errors.shared_of(column)[0, ..., 0].double().numpy()

    def own_variance(self, maps: FloatArray) -> FloatArray:
        """(m,) variance of a pixel's own error, of the mean (q,) of the maps of `own`."""
        if self.own is None:
            return np.full(len(self.bands), np.nan)
        sigma = self.own.expand(torch.from_numpy(maps).float()[:, None, None])[:, 0, 0]
        return sigma.square().double().numpy()[list(self.bands)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpectraOfPixels:
    """The bands of n pixels of a tile."""

    spectra: Tensor
    """(m, n) reflectance."""
    own: Tensor | None
    """(q, n) maps of own errors; None where not known."""
    extended: Tensor | None
    """(r+1, n) see `BandErrors.extended`; None where not known."""

    def part(self, pixels: slice, weight: FloatArray, step: int) -> SpectrumPart:
        """The sums over some pixels with weights (n,); a sample of every `step`."""
        spectra, weights = self.spectra[:, pixels], torch.from_numpy(weight).float()
        return SpectrumPart(
            total=_summed(spectra, weights),
            square=_summed(spectra.square(), weights),
            own=None if self.own is None else _summed(self.own[:, pixels], weights),
            extended=None if self.extended is None else _summed(self.extended[:, pixels], weights),
            sample=spectra[:, ::step].clone(),
            sample_weight=weight[::step],
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpectrumPart:
    """Weighted sums over the valid pixels of a zone in a tile."""

    total: FloatArray
    """(m,) sum of w x."""
    square: FloatArray
    """(m,) sum of w x^2."""
    own: FloatArray | None
    """(q,) sum of w times the maps of own errors; None where not known."""
    extended: FloatArray | None
    """(r+1,) sum of w times `BandErrors.extended`; None where not known."""
    sample: Tensor
    """(m, k) spectra of some pixels."""
    sample_weight: FloatArray
    """(k,) their weights."""


def _summed(rows: Tensor, weights: Tensor) -> FloatArray:
    return (rows @ weights).double().numpy()


@dataclass(slots=True, kw_only=True, eq=False)
class SpectrumSums:
    """Weighted sums over the valid pixels of a zone, and the sample for the median."""

    total: FloatArray | float = 0.0
    square: FloatArray | float = 0.0
    own: FloatArray | float = 0.0
    extended: FloatArray | float = 0.0
    samples: list[Tensor] = field(default_factory=list)
    sample_weights: list[FloatArray] = field(default_factory=list)
    median: FloatArray | None = None

    def add(self, part: SpectrumPart) -> None:
        """Add the pixels of a tile."""
        self.total = self.total + part.total
        self.square = self.square + part.square
        if part.own is not None and part.extended is not None:
            self.own = self.own + part.own
            self.extended = self.extended + part.extended
        self.samples.append(part.sample)
        self.sample_weights.append(part.sample_weight)

    def close(self) -> None:
        """After the last tile: take the median, and drop the sample."""
        if self.samples:
            spectra = torch.cat(self.samples, 1)
            weights = np.concatenate(self.sample_weights)
            self.median = _weighted_medians(spectra, torch.from_numpy(weights).float())
        self.samples, self.sample_weights = [], []

    def spectrum(
        self,
        evaluation: BandEvaluation,
        weight: float,
        own_shares: tuple[float, float],
        common: FloatArray,
    ) -> SpectrumOfZone:
        """The statistics.

        Args:
            evaluation: of the bands.
            weight: sum of the pixels' weights.
            own_shares: of the variance of a pixel's own error, what the mean has as a value, and
                for comparing zones.
            common: (r+1,) mean of the zones' extended coefficients.
        """
        if not weight or self.median is None:
            empty = np.full(len(evaluation.bands), np.nan)
            return SpectrumOfZone(
                mean=empty, median=empty, deviation=empty, value_se=empty, compare_se=empty
            )
        mean = np.asarray(self.total) / weight
        extended = np.asarray(self.extended) / weight
        own = evaluation.own_variance(np.asarray(self.own) / weight)
        value_se, compare_se = (
            np.sqrt(own * share + (evaluation.shared(vector) ** 2).sum(1))
            for share, vector in zip(own_shares, (extended, extended - common), strict=True)
        )
        return SpectrumOfZone(
            mean=mean,
            median=self.median,
            deviation=np.sqrt(np.maximum(np.asarray(self.square) / weight - mean**2, 0)),
            value_se=value_se,
            compare_se=compare_se,
        )


def _weighted_medians(spectra: Tensor, weights: Tensor) -> FloatArray:
    """(m,) values of spectra (m, k) at which half of the weight (k,) is reached."""
    values, order = spectra.sort(1)
    reached = weights[order].cumsum(1)
    half = reached[:, -1:] / 2
    position = torch.searchsorted(reached, half).clamp_max(spectra.shape[1] - 1)
    return values.gather(1, position)[:, 0].double().numpy()
