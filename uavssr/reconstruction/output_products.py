"""The products of a run: cube, standard errors and flags with their writers, and their sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from uavssr.io.hsi import CubeBasis
from uavssr.io.writers import CubeDtype, CubeTarget, QualityTarget, cube_bytes, open_writer
from uavssr.reconstruction.error_maps import ERROR_MAPS, ErrorRender, render_flags
from uavssr.reconstruction.fitted_scene import FittedScene
from uavssr.reconstruction.options import BLOCK, OutputOptions
from uavssr.reconstruction.plan import Plan
from uavssr.reconstruction.products import CubeRender, Product
from uavssr.reconstruction.provenance import provenance
from uavssr.reconstruction.tile_engine import COEFFICIENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputProducts:
    """Writers of the files that are made of tiles, and the bytes that they need."""

    plan: Plan
    """The plan."""
    output: OutputOptions
    """The files."""
    products: tuple[Product, ...]
    """Cube, standard errors and flags, as far as they are wanted; see `for_scene`."""

    @classmethod
    def of(cls, plan: Plan, output: OutputOptions, *, overwrite: bool) -> OutputProducts:
        """Check the names of the files and prepare their writers; nothing is created yet.

        Args:
            plan: the plan.
            output: the files.
            overwrite: whether existing files may be replaced.

        Raises:
            UsageError: the options do not fit the format.
            OutputError: a file exists, or is an input.
        """
        output = replace(output, overwrite=overwrite)
        return cls(plan=plan, output=output, products=tuple(_products(plan, output)))

    def for_scene(self, scene: FittedScene) -> list[Product]:
        """The products once the scene's STF is known, which standard errors are rendered with."""
        render = None
        if self.output.uncertainty is not None:
            render = ErrorRender(
                uncertainty=scene.error_maps().uncertainty,
                dtype=self.output.dtype,
                bands=self.output.wavelength_indices(self.plan.model.grid),
            )
        return [
            replace(product, render=render)
            if product.maps == ERROR_MAPS and product.render is None
            else product
            for product in self.products
        ]

    @property
    def needed_bytes(self) -> int:
        """Most bytes of disk while the files are written."""
        return sum(product.sink.needed_bytes for product in self.products)

    @property
    def output_bytes(self) -> int:
        """Bytes of the uncompressed files."""
        source, output = self.plan.source, self.output
        size = source.height, source.width
        total = cube_bytes(*size, self._cube_numbers, dtype=self._cube_dtype)
        if output.uncertainty is not None:
            total += cube_bytes(*size, self._wavelengths, dtype=output.dtype)
        return total + (cube_bytes(*size, 1) if output.quality is not None else 0)

    @property
    def pixel_bytes(self) -> int:
        """Bytes of one pixel while it is written, in the larger of cube and standard errors."""
        cube = self._cube_numbers * np.dtype(self._cube_dtype).itemsize
        if self.output.uncertainty is None:
            return cube
        return max(cube, self._wavelengths * (np.dtype(self.output.dtype).itemsize + 4))

    @property
    def _wavelengths(self) -> int:
        grid = self.plan.model.grid
        return len(self.output.wavelength_indices(grid) or grid)

    @property
    def _cube_numbers(self) -> int:
        """Numbers of a pixel in the cube's file."""
        as_coefficients = self.output.cube_format == "coefficients"
        return self.plan.basis.rank if as_coefficients else self._wavelengths

    @property
    def _cube_dtype(self) -> CubeDtype:
        return "float32" if self.output.cube_format == "coefficients" else self.output.dtype


def _products(plan: Plan, output: OutputOptions) -> Iterator[Product]:
    yield cube_product(plan, output)
    if output.uncertainty is not None:
        # coefficients of standard errors do not exist: they are written as a GeoTIFF cube
        as_cube = "gtiff" if output.cube_format == "coefficients" else output.cube_format
        errors = cube_product(plan, replace(output, cube=output.uncertainty, format=as_cube))
        yield replace(errors, maps=ERROR_MAPS, render=None)
    if output.quality is not None:
        target = QualityTarget(
            path=Path(output.quality),
            height=plan.source.height,
            width=plan.source.width,
            crs_wkt=plan.source.crs_wkt,
            transform=plan.source.transform,
            block=min(plan.tiles.tile, BLOCK),
            overwrite=output.overwrite,
            inputs=plan.inputs,
            tags=provenance(plan),
        )
        yield Product(maps=ERROR_MAPS, sink=open_writer(target), render=render_flags)


def cube_product(
    plan: Plan, output: OutputOptions, *, size: tuple[int, int] | None = None
) -> Product:
    """The cube, or its coefficients.

    Args:
        plan: the plan.
        output: the files, of which the cube is written.
        size: (rows, columns) in place of the image's, for a trial.
    """
    height, width = size or (plan.source.height, plan.source.width)
    basis, bands = plan.basis, output.wavelength_indices(plan.model.grid)
    target = CubeTarget(
        path=Path(output.cube),
        format=output.cube_format,
        height=height,
        width=width,
        grid=plan.model.grid,
        crs_wkt=plan.source.crs_wkt,
        transform=plan.source.transform,
        dtype=output.dtype,
        block=min(plan.tiles.tile, BLOCK),
        overwrite=output.overwrite,
        creation_options=output.creation_options or {},
        tags=provenance(plan),
        inputs=plan.inputs,
        basis=CubeBasis(
            grid=plan.model.grid,
            mean=basis.mean.cpu().numpy(),
            components=basis.components.cpu().numpy(),
            sha256=plan.model.sha256,
        ),
        wavelengths=bands,
    )
    sink = open_writer(target)
    render = CubeRender(basis=basis, dtype=output.dtype, bands=bands)
    return Product(maps=COEFFICIENTS, sink=sink, render=render if sink.takes == "cube" else None)
