"""A cube from a file of coefficients, block by block: what `reconstruct` would have written.

Must not know how a file is laid out, or run the network.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
import torch

from uavssr.errors import UsageError
from uavssr.io.hsi import CoefficientSource, CubeBasis, open_coefficients
from uavssr.io.writers import (
    CubeDtype,
    CubeSink,
    Format,
    check_format,
    open_writer,
    remove_stale_parts,
)
from uavssr.model import SpectralBasis
from uavssr.reconstruction.products import CubeRender
from uavssr.reconstruction.tile_engine import torch_threads
from uavssr.tiling import Progress, TileGrid, Window

BLOCK: Final = 256
"""Side of the windows in pixels, and of the output's blocks."""


def expand(
    coefficients: str | os.PathLike[str] | CoefficientSource,
    out: str | os.PathLike[str],
    *,
    format: Format | None = None,  # noqa: A002 - the name of the option
    dtype: CubeDtype = "uint16",
    wavelengths: Sequence[int] | None = None,
    creation_options: Mapping[str, str] | None = None,
    overwrite: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write the cube that coefficients stand for; memory is that of a few blocks.

    Args:
        coefficients: a file, or an opened one.
        out: the cube.
        format: of the cube; by default what its suffix says.
        dtype: counts of 0.0001 reflectance, or float32 reflectance.
        wavelengths: indices into the file's wavelengths of what is written; all by default.
        creation_options: GDAL options that win over the defaults.
        overwrite: whether an output may be replaced.
        workers: blocks that are expanded at a time; the cores by default.
        progress: told of every block.

    Raises:
        UsageError: options that do not fit.
        InputRefused: no file of coefficients, or a damaged one.
        OutputError: the cube cannot be written.
    """
    source = _opened(coefficients)
    chosen = check_format(out, format)
    if chosen == "coefficients":
        raise UsageError("expand writes cubes", path=Path(out), remedy="use another --format")
    sink = open_writer(
        out,
        format=chosen,
        height=source.height,
        width=source.width,
        grid=source.basis.grid,
        crs_wkt=source.place.crs_wkt,
        transform=source.place.transform,
        dtype=dtype,
        block=BLOCK,
        overwrite=overwrite,
        creation_options=creation_options,
        tags=source.provenance(),
        inputs=[source.path],
        wavelengths=wavelengths,
    )
    render = CubeRender(basis=_basis(source.basis), dtype=dtype, bands=wavelengths)
    remove_stale_parts(out)
    with torch_threads(1), sink:
        _stream(source, render, sink, workers or os.cpu_count() or 1, progress)
        return sink.finish()


def _opened(coefficients: str | os.PathLike[str] | CoefficientSource) -> CoefficientSource:
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
    sink: CubeSink,
    workers: int,
    progress: Progress | None,
) -> None:
    def work(window: Window) -> int:
        coefficients, valid = source.coefficients(window)
        if valid.any():  # what is not written is nodata
            known = np.where(valid, coefficients, np.float32(0))
            sink.write_quantised(window, render(known, valid))
        return valid.size

    total, pending = source.height * source.width, deque[Future[int]]()

    def settle(most: int) -> None:
        while len(pending) > most:
            done = pending.popleft().result()
            if progress is not None:
                progress("expanding", done, total)

    with ThreadPoolExecutor(workers) as pool:
        try:
            for tile in TileGrid(height=source.height, width=source.width, tile=BLOCK):
                settle(workers)
                pending.append(pool.submit(work, tile.core))
            settle(0)
        finally:
            pool.shutdown(cancel_futures=True)
