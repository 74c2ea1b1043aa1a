"""The change of an index between two dates or fields: where it is larger than its error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from uavssr.analysis.index_maps import (
    PREVIEW_SIDE,
    IndexEvaluation,
    IndexRequest,
    IndexValues,
    add_to_preview,
)
from uavssr.analysis.spectral_source import SpectralSource, SpectralTile
from uavssr.errors import InputRefused
from uavssr.io.hsi import MapFile, MapPlace, TargetGrid, WarpedCube
from uavssr.io.writers import Layer, MapTarget, open_writer, part_folder
from uavssr.sensors import Float32Array
from uavssr.tiling import Progress, Window

SIGNIFICANT_Z: Final = 1.96
"""Change over its standard error beyond which a pixel's is significant, two-sided at 5 %."""


def same_stf(a: SpectralSource, b: SpectralSource) -> bool:
    """Whether both spectra were made with one and the same STF, given to both."""
    if a.errors is None or b.errors is None:
        return False
    first, second = a.errors.stf, b.errors.stf
    return torch.equal(first.rows, second.rows) and torch.equal(first.theta_se, second.theta_se)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChangeMaps:
    """Maps of a change that were written, and what a picture shows of them."""

    path: Path
    """The file."""
    preview: Float32Array
    """(5, y, x) index of A, of B, change, its standard error, and its sign where significant."""
    step: int
    """Pixels of A per pixel of the preview."""
    compared: int
    """Pixels with a change."""
    lower: int
    """Pixels that are significantly lower in B."""
    higher: int
    """Pixels that are significantly higher in B."""


def write_change(
    a: SpectralSource,
    b: SpectralSource,
    request: IndexRequest,
    out: Path,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ChangeMaps:
    """Write the change of an index from A to B as a GeoTIFF on the grid of A.

    Its bands are B - A, the standard error of it, and its sign where it is significant (-1, 0, 1).
    With unknown errors of A or B there is the first band only. B is brought to the grid of A as a
    map of the index: averaged where its pixels are finer, else interpolated; so is its variance,
    which leaves it on the large side. Errors of A and B are independent; but where both were made
    with one STF, its errors cancel in part. A factor common to all bands is of each flight.

    Raises:
        InputRefused: A and B do not overlap, the bands of the index lie outside the spectra, or a
            file is broken.
        OutputError: the file cannot be written.
    """
    with part_folder(out) as part:
        other = _MapsOfB.written(a, b, request, part.with_name("b.tif"), progress)
        return _write(a, other, request, out, overwrite=overwrite, progress=progress)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _MapsOfB:
    """The index of B on the grid of A: value, own variance, changes by what pixels share."""

    source: SpectralSource
    """B."""
    warped: WarpedCube
    """The maps."""
    joint: bool
    """Whether A was made with the same STF."""

    @classmethod
    def written(
        cls,
        a: SpectralSource,
        b: SpectralSource,
        request: IndexRequest,
        path: Path,
        progress: Progress | None,
    ) -> _MapsOfB:
        """The maps in a temporary file; only the tiles that A needs are read.

        Raises:
            InputRefused: A and B do not overlap.
        """
        evaluation, joint = IndexEvaluation.of([request], b.grid, b.errors), same_stf(a, b)
        bands = 1 if b.errors is None else 3 + 3 * b.errors.bands if joint else 2
        warped = WarpedCube(cube=_map_file(b, path, bands), target=_grid(a))
        back = WarpedCube(cube=_map_file(a, path, bands), target=_grid(b)).common()
        if warped.common() is None or back is None:
            raise InputRefused(
                f"does not overlap {a.name}",
                path=b.path,
                remedy="compare images of the same ground; check their coordinates",
            )
        needed = [
            number
            for number in range(len(b.tiles))
            if b.tiles[number].core.intersection(back) is not None
        ]

        def maps(tile: SpectralTile) -> tuple[Window, Float32Array]:
            stack = np.full((bands, *tile.valid.shape), np.nan, np.float32)
            stack[:, tile.valid] = _rows(evaluation(tile), joint=joint).numpy()
            return tile.window, stack

        layers = tuple(Layer(str(number), request.formula.text) for number in range(bands))
        with open_writer(_target(b, path, layers, overwrite=False)) as writer:
            for window, stack in b.map(maps, progress=progress, task="computing B", indices=needed):
                writer.write_quantised(window, stack)
            writer.finish()
        return cls(source=b, warped=warped, joint=joint)


def _rows(values: IndexValues, *, joint: bool) -> torch.Tensor:
    """The maps (L, n) of an index: its value, and its variances by what they come from."""
    if values.own_variance is None or values.shared is None:
        return values.value
    if joint:
        return torch.cat([values.value, values.own_variance, values.shared[0]])
    return torch.cat([values.value, values.errors().square()])


def _variance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(n,) variance of B - A, of what `_rows` gives without the values."""
    # own errors, and the common factor, are of each flight: only the STF's parameters are shared
    own = a[0] + b[0]
    if len(a) == 1:
        return own
    return own + (b[1:-1] - a[1:-1]).square().sum(0) + a[-1].square() + b[-1].square()


def _write(
    a: SpectralSource,
    other: _MapsOfB,
    request: IndexRequest,
    out: Path,
    *,
    overwrite: bool,
    progress: Progress | None,
) -> ChangeMaps:
    evaluation = IndexEvaluation.of([request], a.grid, a.errors)
    known = a.errors is not None and other.source.errors is not None
    layers = _layers(request, known=known)
    step = max(1, -(-max(a.height, a.width) // PREVIEW_SIDE))
    preview = np.full((5, -(-a.height // step), -(-a.width // step)), np.nan, np.float32)

    def change(tile: SpectralTile) -> tuple[Window, Float32Array]:
        b_maps, b_valid = other.warped.read(tile.window)
        both = b_valid & tile.valid
        at = torch.from_numpy(np.flatnonzero(both[tile.valid]))
        ours = _rows(evaluation(tile.chosen(at)), joint=other.joint)
        theirs = torch.from_numpy(b_maps[:, both])
        stack = np.full((5, *both.shape), np.nan, np.float32)
        difference = theirs[0] - ours[0]
        rows = [ours[0], theirs[0], difference]
        if known:
            error = _variance(ours[1:], theirs[1:]).sqrt()
            significant = (difference.abs() > SIGNIFICANT_Z * error) * difference.sign()
            significant[difference.isnan()] = torch.nan
            rows += [error, significant]
        stack[: len(rows), both] = torch.stack(rows).numpy()
        return tile.window, stack

    compared, lower, higher = 0, 0, 0
    tags = other.source.name
    with open_writer(_target(a, out, layers, overwrite=overwrite, other=tags)) as writer:
        for window, stack in a.map(change, progress=progress, task="comparing"):
            writer.write_quantised(window, np.ascontiguousarray(stack[2 : 2 + len(layers)]))
            add_to_preview(preview, step, window, stack)
            compared += int(np.count_nonzero(np.isfinite(stack[2])))
            lower += int(np.count_nonzero(stack[4] < 0))
            higher += int(np.count_nonzero(stack[4] > 0))
        if not compared:
            raise InputRefused(
                f"has no valid pixel where {a.name} has one",
                path=other.source.path,
                remedy="compare images of the same ground",
            )
        writer.finish()
    return ChangeMaps(
        path=out, preview=preview, step=step, compared=compared, lower=lower, higher=higher
    )


def _layers(request: IndexRequest, *, known: bool) -> tuple[Layer, ...]:
    name, text = f"{request.name} change", request.formula.text
    if not known:
        return (Layer(name, text),)
    error = Layer(f"{name} standard error", text, is_error=True)
    return Layer(name, text), error, Layer(f"{name} significant", text)


def _grid(source: SpectralSource) -> TargetGrid:
    return TargetGrid(
        height=source.height,
        width=source.width,
        crs_wkt=source.crs_wkt,
        transform=source.transform,
    )


def _map_file(source: SpectralSource, path: Path, bands: int) -> MapFile:
    place = MapPlace(source.crs_wkt, source.transform)
    return MapFile(path=path, bands=bands, height=source.height, width=source.width, place=place)


def _target(
    source: SpectralSource,
    path: Path,
    layers: Sequence[Layer],
    *,
    overwrite: bool,
    other: str | None = None,
) -> MapTarget:
    tags = source.tags if other is None else source.tags | {"uavssr_compared_with": other}
    return MapTarget(
        path=path,
        height=source.height,
        width=source.width,
        crs_wkt=source.crs_wkt,
        transform=source.transform,
        block=source.tiles.tile,
        tags=tags,
        overwrite=overwrite,
        inputs=source.inputs,
        layers=tuple(layers),
    )
