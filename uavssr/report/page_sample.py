"""The spectra of a scene at the pixels that a page shows, their errors and indices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from uavssr.analysis import IndexEvaluation, IndexRequest, SpectralSource, SpectralTile
from uavssr.errors import InputRefused
from uavssr.io.writers import TRUE_COLOUR_NM
from uavssr.model import OUTLIER_QUANTILE, CubeUncertainty, chi_square_quantile
from uavssr.report.sample_grid import SampleGrid
from uavssr.sensors import BoolArray, Float32Array, IndexArray
from uavssr.tiling import Progress

MAX_MAP_PIXELS: Final = 5_000_000
"""Most pixels of all maps of a page together: a coloured pixel takes at most 0.75 bytes."""
MAX_MAP_SIDE: Final = 1500
"""Most pixels along a side of a map."""
MAX_SHOWN_SPECTRA: Final = 130_000
"""Most spectra of a page."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PageSample:
    """A scene at the pixels of two grids: maps on a fine one, n spectra on a coarser one."""

    map_grid: SampleGrid
    """Of the maps, h x w."""
    colour: Float32Array
    """(3, h, w) reflectance at 650, 560 and 450 nm; NaN outside the scene."""
    indices: Float32Array
    """(I, h, w) values of the indices, NaN where there is none."""
    index_errors: Float32Array | None
    """(I, h, w) their standard errors; None where errors are not known."""
    outlier: BoolArray | None
    """(h, w) pixels unlike all training spectra; None where that is not known."""
    cell_grid: SampleGrid
    """Of the spectra; its pixels are pixels of `map_grid`."""
    cell_places: tuple[IndexArray, IndexArray]
    """Rows and columns of its pixels in the maps."""
    valid: BoolArray
    """(rows, columns) cells with a spectrum, n of them."""
    spectra: Float32Array
    """(C, n) reflectance of these cells, row by row."""
    spectra_errors: Float32Array | None
    """(C, n) their standard errors; None where they are not known."""

    def at_cells(self, maps: Float32Array) -> Float32Array:
        """The values (..., n) of maps (..., h, w) at the valid cells."""
        rows, cols = self.cell_places
        return maps[..., rows[:, None], cols][..., self.valid]

    def coarser(self) -> PageSample:
        """The same with a quarter of the spectra."""
        grid, (rows, cols) = self.cell_grid.coarser(2)
        number = np.cumsum(self.valid).reshape(self.valid.shape) - 1
        valid = self.valid[rows[:, None], cols]
        chosen = number[rows[:, None], cols][valid]
        errors = self.spectra_errors
        return PageSample(
            map_grid=self.map_grid,
            colour=self.colour,
            indices=self.indices,
            index_errors=self.index_errors,
            outlier=self.outlier,
            cell_grid=grid,
            cell_places=(self.cell_places[0][rows], self.cell_places[1][cols]),
            valid=valid,
            spectra=self.spectra[:, chosen],
            spectra_errors=None if errors is None else errors[:, chosen],
        )


def sample_spectra(
    source: SpectralSource, requests: Sequence[IndexRequest], *, progress: Progress | None = None
) -> PageSample:
    """Read or compute all tiles once, and keep what a page shows of them.

    Raises:
        InputRefused: the bands of an index lie outside the spectra, or there is no valid pixel.
    """
    layers = 2 * len(requests) + 2
    grid = SampleGrid.of(
        source.height, source.width, most_cells=MAX_MAP_PIXELS // layers, longest_side=MAX_MAP_SIDE
    )
    factor = 1
    while np.prod(grid.coarser(factor)[0].shape) > MAX_SHOWN_SPECTRA:
        factor += 1
    cells, places = grid.coarser(factor)
    sampler = _Sampler.of(source, requests, grid, places)
    parts = list(source.map(sampler, progress=progress, task="computing the page"))
    if not any(len(part.order) for part in parts):
        raise InputRefused("no valid pixel to show", path=source.path)
    maps = np.full((len(parts[0].maps), *grid.shape), np.nan, np.float32)
    for part in parts:
        maps[:, part.rows, part.cols] = part.maps
    order = np.argsort(np.concatenate([part.order for part in parts]))
    spectra = np.concatenate([part.spectra for part in parts], 1)[:, order]
    errors = [part.errors for part in parts if part.errors is not None]
    count, known = len(requests), sampler.uncertainty is not None
    return PageSample(
        map_grid=grid,
        colour=maps[:3],
        indices=maps[4 : 4 + count],
        index_errors=maps[4 + count :] if known else None,
        outlier=maps[3] > 0 if known else None,
        cell_grid=cells,
        cell_places=places,
        valid=np.isfinite(maps[0])[places[0][:, None], places[1]],
        spectra=spectra,
        spectra_errors=np.concatenate(errors, 1)[:, order] if errors else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Part:
    """What a tile adds: maps (3 + 1 + I or 2 I, ...) of its place, and its cells."""

    rows: slice
    cols: slice
    maps: Float32Array
    order: IndexArray
    """(n,) numbers of the cells, row by row."""
    spectra: Float32Array
    """(C, n)."""
    errors: Float32Array | None
    """(C, n)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Sampler:
    """Computes a tile's part; all fields are the same for all tiles."""

    grid: SampleGrid
    cell_number: IndexArray
    """(h, w) number of the cell that a pixel of the maps stands for, -1 for others."""
    evaluation: IndexEvaluation
    colour: Tensor
    """(3, C) weights of the bands nearest to red, green and blue."""
    uncertainty: CubeUncertainty | None

    @classmethod
    def of(
        cls,
        source: SpectralSource,
        requests: Sequence[IndexRequest],
        grid: SampleGrid,
        places: tuple[IndexArray, IndexArray],
    ) -> _Sampler:
        errors, bands = source.errors, [source.grid.nearest(nm) for nm in TRUE_COLOUR_NM]
        rows, cols = places
        number = np.full(grid.shape, -1)
        number[rows[:, None], cols] = np.arange(len(rows) * len(cols)).reshape(len(rows), -1)
        return cls(
            grid=grid,
            cell_number=number,
            evaluation=IndexEvaluation.of(requests, source.grid, errors),
            colour=torch.eye(len(source.grid))[bands],
            uncertainty=None if errors is None else errors.uncertainty(),
        )

    def __call__(self, tile: SpectralTile) -> _Part:
        rows, cols = self.grid.inside(tile.window)
        top, left = self.grid.rows[rows] - tile.window.row, self.grid.cols[cols] - tile.window.col
        valid = tile.valid[top[:, None], left]
        number = np.cumsum(tile.valid).reshape(tile.valid.shape) - 1
        shown = tile.chosen(torch.from_numpy(number[top[:, None], left][valid]))
        values = self.evaluation(shown)
        layers = [shown.combine(self.colour), self._outlier(shown)[None], values.maps()[::2]]
        if self.uncertainty is not None:
            layers.append(values.maps()[1::2])
        else:
            layers[-1] = values.value
        stacked = torch.cat(layers)
        maps = np.full((len(stacked), *valid.shape), np.nan, np.float32)
        maps[:, valid] = stacked.numpy()
        order = self.cell_number[rows, cols][valid]
        cells = shown.chosen(torch.from_numpy(np.flatnonzero(order >= 0)))
        return _Part(
            rows=rows,
            cols=cols,
            maps=maps,
            order=order[order >= 0],
            spectra=self._spectra(cells),
            errors=self._errors(cells),
        )

    def _outlier(self, tile: SpectralTile) -> Tensor:
        """(n,) 1 for outliers; NaN where that is not known."""
        errors = self.evaluation.errors
        if errors is None:
            return torch.full(tile.coefficients.shape[1:], torch.nan)
        limit = chi_square_quantile(errors.bands, OUTLIER_QUANTILE)
        return (errors.distance(tile.coefficients) > limit).float()

    @staticmethod
    def _spectra(tile: SpectralTile) -> Float32Array:
        """(C, n) reflectance as a cube holds it: not below 0."""
        if tile.spectra is not None:
            return tile.spectra.numpy()
        return tile.combine(torch.eye(len(tile.basis.grid))).clamp_min(0).numpy()

    def _errors(self, tile: SpectralTile) -> Float32Array | None:
        errors = self.evaluation.errors
        if errors is None or self.uncertainty is None:
            return None
        image, coefficients = errors.image(tile.coefficients), tile.coefficients[None]
        # one column of pixels
        maps = self.uncertainty.maps(image[..., None], coefficients[..., None])
        return self.uncertainty.expand(maps)[0, ..., 0].numpy()
