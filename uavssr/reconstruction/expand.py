"""Expand a file of coefficients to the cube that `reconstruct` would have written, by blocks."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Unpack

import numpy as np
import torch

from uavssr.errors import UsageError
from uavssr.io.checks import PathLike
from uavssr.io.hsi import CoefficientSource, CubeBasis, open_coefficients
from uavssr.io.writers import (
    CubeTarget,
    TileWriter,
    open_writer,
    remove_stale_parts,
)
from uavssr.model import SpectralBasis
from uavssr.reconstruction.devices import CPU_COUNT, torch_threads
from uavssr.reconstruction.options import BLOCK, CubeKeywords, OutputOptions, output_options
from uavssr.reconstruction.products import CubeRender
from uavssr.tiling import Progress, TileGrid, Window


def expand(
    coefficients: PathLike | CoefficientSource,
    out: str | Path | OutputOptions,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[CubeKeywords],
) -> Path:
    """Write the cube X = mean + E A of coefficients A; memory is that of a few blocks.

    Args:
        coefficients: a file, or an opened one.
        out: the cube, or all options of the output.
        workers: blocks that are expanded at a time; by default the number of cores.
        progress: called with each finished block.
        keywords: fields of `OutputOptions`: `format`, `dtype`, `wavelengths` (nm),
            `creation_options`, `overwrite`.

    Raises:
        UsageError: options that do not fit.
        InputRefused: no file of coefficients, or a damaged one.
        OutputError: the cube cannot be written.
    """
    source = _opened(coefficients)
    options = output_options(out, keywords)
    if options.cube_format == "coefficients":
        raise UsageError(
            "expand writes cubes", path=Path(options.cube), remedy="use another --format"
        )
    indices = options.wavelength_indices(source.basis.grid)
    target = CubeTarget(
        path=Path(options.cube),
        format=options.cube_format,
        height=source.height,
        width=source.width,
        grid=source.basis.grid,
        crs_wkt=source.place.crs_wkt,
        transform=source.place.transform,
        dtype=options.dtype,
        block=BLOCK,
        overwrite=options.overwrite,
        creation_options=options.creation_options or {},
        tags=source.provenance(),
        inputs=[source.path],
        wavelengths=indices,
    )
    sink = open_writer(target)
    render = CubeRender(basis=_basis(source.basis), dtype=options.dtype, bands=indices)
    remove_stale_parts(Path(options.cube))
    with torch_threads(1), sink:
        _stream(source, render, sink, workers or CPU_COUNT, progress)
        return sink.finish()


def _opened(coefficients: PathLike | CoefficientSource) -> CoefficientSource:
    if isinstance(coefficients, CoefficientSource):
        return coefficients
    return open_coefficients(coefficients)


def _basis(basis: CubeBasis) -> SpectralBasis:
    return SpectralBasis(
        grid=basis.grid,
        mean=torch.from_numpy(basis.mean),
        components=torch.from_numpy(basis.components),
        residual=torch.zeros(len(basis.grid)),
    )


def _stream(
    source: CoefficientSource,
    render: CubeRender,
    sink: TileWriter,
    workers: int,
    progress: Progress | None,
) -> None:
    def write_block(window: Window) -> int:
        coefficients, valid = source.coefficients(window)
        if valid.any():  # an empty block is not written, which makes it nodata
            finite = np.where(valid, coefficients, np.float32(0))
            sink.write_quantised(window, render(finite, valid))
        return valid.size

    total, pending = source.height * source.width, deque[Future[int]]()

    def wait_until_pending(most: int) -> None:
        while len(pending) > most:
            done = pending.popleft().result()
            if progress is not None:
                progress("expanding", done, total)

    with ThreadPoolExecutor(workers) as pool:
        try:
            for tile in TileGrid(height=source.height, width=source.width, tile=BLOCK):
                wait_until_pending(workers)
                pending.append(pool.submit(write_block, tile.core))
            wait_until_pending(0)
        finally:
            pool.shutdown(cancel_futures=True)
