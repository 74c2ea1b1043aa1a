"""Maps of spectral indices with their standard errors, tile by tile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from uavssr.analysis.spectral_source import SpectralErrors, SpectralSource, SpectralTile
from uavssr.errors import UsageError
from uavssr.indices import (
    Formula,
    SpectralIndex,
    camera_term_weights,
    find_index,
    term_weights,
)
from uavssr.io.writers import Layer, MapTarget, open_writer
from uavssr.model import BandErrors, Direction
from uavssr.sensors import Float32Array, FloatArray, Sensor, WavelengthGrid
from uavssr.tiling import Progress, Window

PREVIEW_SIDE: Final = 1000
"""Most pixels of the longer side of a preview."""
CUSTOM: Final = "formula"
"""Name of the map of a formula that the user gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRequest:
    """An index to compute, and the name of its map."""

    name: str
    """NDVI, or formula 1."""
    formula: Formula
    """The formula."""

    @classmethod
    def of(cls, names: Sequence[str], formulas: Sequence[str]) -> list[IndexRequest]:
        """Indices of the table by name, then the user's formulas.

        Raises:
            UsageError: no such index, no formula, nothing asked for, or an index twice.
        """
        known: list[SpectralIndex] = [find_index(name) for name in names]
        requests = [cls(name=index.name, formula=index.formula) for index in known]
        for number, text in enumerate(formulas, start=1):
            name = CUSTOM if len(formulas) == 1 else f"{CUSTOM} {number}"
            requests.append(cls(name=name, formula=Formula(text)))
        if not requests:
            raise UsageError(
                "no index is named", remedy="name one, such as NDVI, or give --formula"
            )
        chosen = [request.name for request in requests]
        for name in chosen:
            if chosen.count(name) > 1:
                raise UsageError(f"{name} is asked for twice", remedy="name it once")
        return requests


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IndexEvaluation:
    """Evaluates indices and their errors; the terms of all formulas are computed together."""

    requests: Sequence[IndexRequest]
    """The I indices."""
    terms: tuple[str, ...]
    """The m different reflectances of all formulas."""
    weights: Tensor
    """W (m, C) that gives them from a spectrum."""
    errors: SpectralErrors | None
    """What the errors of the spectra follow from; None: no errors."""
    band_errors: BandErrors | None
    """The joint errors of the m reflectances."""
    camera: str = ""
    """Name of the camera whose bands the broad bands are; empty: means over their ranges."""

    @classmethod
    def of(
        cls,
        requests: Sequence[IndexRequest],
        grid: WavelengthGrid,
        errors: SpectralErrors | None,
        *,
        camera: Sensor | None = None,
    ) -> IndexEvaluation:
        """The evaluation on a cube's wavelengths.

        Args:
            requests: the indices.
            grid: the cube's wavelengths.
            errors: what the errors of the spectra follow from.
            camera: evaluate broad bands as this camera would measure them.

        Raises:
            InputRefused: the bands of an index lie outside the grid, or the camera has none such.
        """
        rows: dict[str, FloatArray] = {}
        for request in requests:
            weights = (
                term_weights(request.formula, grid)
                if camera is None
                else camera_term_weights(request.formula, camera, grid)
            )
            rows.update(zip(request.formula.terms, weights, strict=True))
        stacked = torch.tensor(np.stack(list(rows.values())), dtype=torch.float32)
        return cls(
            requests=requests,
            terms=tuple(rows),
            weights=stacked,
            errors=errors,
            band_errors=None if errors is None else errors.of_bands(stacked),
            camera="" if camera is None else camera.name,
        )

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The names of the maps: each index, and its standard error after it."""
        layers, as_camera = [], f" as {self.camera}" if self.camera else ""
        for request in self.requests:
            name = f"{request.name}{as_camera}"
            layers.append(Layer(name, request.formula.text))
            if self.errors is not None:
                error_name = f"{name} standard error"
                layers.append(Layer(error_name, request.formula.text, is_error=True))
        return tuple(layers)

    def __call__(self, tile: SpectralTile) -> IndexValues:
        """The indices of the n valid pixels of a tile, with their errors."""
        terms, values, gradients = tile.combine(self.weights), [], []
        for request in self.requests:
            rows = [self.terms.index(term) for term in request.formula.terms]
            value, gradient = request.formula.value_and_gradient(terms[rows])
            values.append(value)
            gradients.append(Direction(rows, gradient))
        own, shared = self._errors(tile, gradients)
        return IndexValues(value=torch.stack(values), own_variance=own, shared=shared)

    def _errors(
        self, tile: SpectralTile, gradients: Sequence[Direction]
    ) -> tuple[Tensor | None, Tensor | None]:
        """Variance (I, n) of own errors of the indices, and their shared changes (I, s, n)."""
        if self.errors is None or self.band_errors is None:
            return None, None
        image = self.errors.image(tile.coefficients)
        own = self.band_errors.variances_along(image, gradients).clamp_min(0)
        shared = self.band_errors.shared(image, tile.coefficients[None])[0]
        # g^T shared
        changes = [torch.einsum("tn,tsn->sn", weight, shared[rows]) for rows, weight in gradients]
        return own, torch.stack(changes)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IndexValues:
    """I indices of n pixels, and their errors where these are known; see `model.BandErrors`."""

    value: Tensor
    """(I, n), NaN where a formula is undefined."""
    own_variance: Tensor | None
    """(I, n) variance of each pixel's own error."""
    shared: Tensor | None
    """(I, s, n) change by one standard error of each of the s quantities that all pixels share."""

    def errors(self) -> Tensor:
        """(I, n) standard errors, NaN where these are not known."""
        if self.own_variance is None or self.shared is None:
            return torch.full_like(self.value, torch.nan)
        return (self.own_variance + self.shared.square().sum(1)).sqrt()

    def maps(self) -> Tensor:
        """(I or 2 I, n) each index, then its standard error."""
        if self.own_variance is None or self.shared is None:
            return self.value
        return torch.stack([self.value, self.errors()], 1).flatten(0, 1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IndexMaps:
    """Maps that were written, and what a picture shows of them."""

    path: Path
    """The file."""
    layers: tuple[Layer, ...]
    """Its maps."""
    preview: Float32Array
    """(L, y, x) every `step`-th row and column of the maps; NaN where there is no value."""
    step: int
    """Pixels of the image per pixel of the preview."""


def write_index_maps(
    source: SpectralSource,
    requests: Sequence[IndexRequest],
    out: Path,
    *,
    camera: Sensor | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> IndexMaps:
    """Write maps of indices as a GeoTIFF: for each index its value, then its standard error.

    Without known errors of the spectra only the values are written. A pixel where a formula is
    undefined has NaN. With a camera, broad bands are as that camera would measure them.

    Raises:
        InputRefused: the bands of an index lie outside the spectra, or a file is broken.
        OutputError: the file cannot be written.
    """
    evaluation = IndexEvaluation.of(requests, source.grid, source.errors, camera=camera)
    layers = evaluation.layers
    target = MapTarget(
        path=out,
        height=source.height,
        width=source.width,
        crs_wkt=source.crs_wkt,
        transform=source.transform,
        block=source.tiles.tile,
        tags=source.tags,
        overwrite=overwrite,
        inputs=source.inputs,
        layers=layers,
    )
    step = max(1, -(-max(source.height, source.width) // PREVIEW_SIDE))
    shape = -(-source.height // step), -(-source.width // step)
    preview = np.full((len(layers), *shape), np.nan, np.float32)

    with open_writer(target) as writer:
        for window, stack in index_tiles(source, evaluation, progress=progress):
            writer.write_quantised(window, stack)
            add_to_preview(preview, step, window, stack)
        writer.finish()
    return IndexMaps(path=out, layers=layers, preview=preview, step=step)


def index_tiles(
    source: SpectralSource, evaluation: IndexEvaluation, *, progress: Progress | None = None
) -> Iterator[tuple[Window, Float32Array]]:
    """The maps (L, h, w) of each tile with valid pixels, NaN where there is no value."""
    count = len(evaluation.layers)

    def maps(tile: SpectralTile) -> tuple[Window, Float32Array]:
        stack = np.full((count, *tile.valid.shape), np.nan, np.float32)
        stack[:, tile.valid] = evaluation(tile).maps().numpy()
        return tile.window, stack

    return source.map(maps, progress=progress, task="computing indices")


def add_to_preview(preview: Float32Array, step: int, window: Window, stack: Float32Array) -> None:
    """Add every `step`-th row and column of maps (L, y, x) of a window to a preview of them."""
    row, col = -window.row % step, -window.col % step
    part = stack[:, row::step, col::step]
    top, left = (window.row + row) // step, (window.col + col) // step
    preview[:, top : top + part.shape[1], left : left + part.shape[2]] = part
