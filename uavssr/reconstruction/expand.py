"""Expand a file of coefficients to the cube that `reconstruct` would have written, by blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from uavssr.errors import UsageError
from uavssr.io.hsi import CoefficientSource
from uavssr.io.writers import CubeTarget, TileWriter, check_output, open_writer
from uavssr.model import SpectralBasis
from uavssr.reconstruction.bounded_map import bounded_map
from uavssr.reconstruction.devices import CPU_COUNT, torch_threads
from uavssr.reconstruction.options import BLOCK, OutputOptions
from uavssr.reconstruction.products import CubeRender
from uavssr.reconstruction.styles import write_styles
from uavssr.tiling import Progress, TileGrid, Window


def expand(
    source: CoefficientSource,
    output: OutputOptions,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write the cube X = mean + E A of coefficients A, and its QGIS style, in little memory.

    `workers` is the number of blocks that are expanded at a time; by default the number of cores.

    Raises:
        UsageError: the options do not fit.
        InputRefused: the file of coefficients is damaged.
        OutputError: the cube cannot be written.
    """
    path = Path(output.cube)
    if output.cube_format == "coefficients":
        raise UsageError("expand writes cubes", path=path, remedy="use another --format")
    basis, bands = source.basis, output.wavelength_indices(source.basis.grid)
    target = CubeTarget(
        path=path,
        format=output.cube_format,
        height=source.height,
        width=source.width,
        grid=basis.grid,
        crs_wkt=source.place.crs_wkt,
        transform=source.place.transform,
        dtype=output.dtype,
        block=BLOCK,
        overwrite=output.overwrite,
        creation_options=output.creation_options or {},
        tags=source.provenance(),
        inputs=[source.path],
        wavelengths=bands,
    )
    if output.cube_style is not None:
        check_output(output.cube_style, overwrite=output.overwrite, inputs=[source.path])
    tensors = SpectralBasis(
        grid=basis.grid,
        mean=torch.from_numpy(basis.mean),
        components=torch.from_numpy(basis.components),
        residual=torch.zeros(len(basis.grid)),
    )
    sink = open_writer(target)
    render = CubeRender(basis=tensors, dtype=output.dtype, bands=bands)
    with torch_threads(), sink:
        _stream(source, render, sink, workers or CPU_COUNT, progress)
        sink.finish()
    write_styles(output, overwrite=output.overwrite, inputs=[source.path])
    return path


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

    windows = (tile.core for tile in TileGrid(height=source.height, width=source.width, tile=BLOCK))
    for pixels in bounded_map(write_block, windows, workers=workers):
        if progress is not None:
            progress("expanding", pixels, source.height * source.width)
