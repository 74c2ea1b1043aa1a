"""Products: files of which each is made of one stack of maps in every tile's record."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from uavssr.errors import IncompleteRun
from uavssr.io.hsi import QUANTITY_TAG, STANDARD_ERROR, CubeBasis
from uavssr.io.writers import (
    NODATA,
    SCALE,
    CubeDtype,
    CubeTarget,
    Quality,
    QualityTarget,
    Replaceable,
    TileRecord,
    TileWriter,
    check_format,
    cube_bytes,
    open_writer,
)
from uavssr.model import CubeUncertainty, SpectralBasis
from uavssr.reconstruction.finished_run import RUN_TAG, run_digest
from uavssr.reconstruction.fitted_scene import FittedScene
from uavssr.reconstruction.options import BLOCK, OutputOptions
from uavssr.reconstruction.plan import Plan
from uavssr.reconstruction.provenance import provenance
from uavssr.reconstruction.tile_engine import COEFFICIENTS, ERROR_MAPS
from uavssr.sensors import BoolArray, Float32Array
from uavssr.tiling import Window

Render = Callable[[Float32Array, BoolArray], npt.NDArray[Any]]
"""Converts maps (k, h, w) and valid pixels (h, w) to the numbers (C, h, w) that a file stores."""

_PIXELS: Final = {"cpu": 1024, "cuda": 4096}
"""Pixels that are expanded at a time: few enough for the processor's cache, in few calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A file that is made of one stack of maps in every tile's record."""

    maps: str
    """Name of the maps in the records."""
    sink: TileWriter
    """The file."""
    render: Render | None = None
    """Makes the numbers of the file; None if the sink takes the maps as they are."""

    def add(self, window: Window, record: TileRecord) -> int:
        """Write a tile; an empty tile is not written, which makes it nodata.

        Returns the number of valid pixels that a cube of uint16 holds as clipped, otherwise 0.
        """
        if self.maps not in record.maps:
            return 0
        stack, valid = record.maps[self.maps], record.valid
        if self.render is None:
            self.sink.write(window, stack, valid)
            return 0
        numbers = self.render(stack, valid)
        self.sink.write_quantised(window, numbers)
        is_cube = isinstance(self.render, CubeRender)
        return _clipped(numbers, valid) if is_cube and numbers.dtype == np.uint16 else 0


def _clipped(numbers: npt.NDArray[np.uint16], valid: BoolArray) -> int:
    """Valid pixels (h, w) with the least or largest number of (C, h, w) in some band."""
    at_limit = (numbers.min(0) == 0) | (numbers.max(0) == NODATA - 1)
    return int(np.count_nonzero(at_limit & valid))


@dataclass(frozen=True, slots=True, kw_only=True)
class CubeRender:
    """Renders coefficients A as the numbers of a cube, X = mean + E A, on the device of the basis.

    uint16: counts as `uavssr.io.writers.quantise` gives them but for rounding at the half, clipped
    to 0..65534, and 65535 where invalid. float32: reflectance, NaN where invalid.
    """

    basis: SpectralBasis
    """E and the mean."""
    dtype: CubeDtype
    """Number type of the file."""
    bands: Sequence[int] | None = None
    """Indices of the wavelengths that the file holds; None for all."""

    @property
    def _affine(self) -> tuple[Tensor, Tensor]:
        """E (C, r) and the mean (C, 1) of the file's wavelengths, in its units."""
        components, mean = self.basis.components, self.basis.mean[:, None]
        if self.bands is not None:
            rows = list(self.bands)
            components, mean = components[rows], mean[rows]
        if self.dtype == "uint16":  # counts; converting to integers rounds down, hence the half
            return components / SCALE, mean / SCALE + 0.5
        return components, mean

    @torch.inference_mode()
    def __call__(self, coefficients: Float32Array, valid: BoolArray) -> npt.NDArray[Any]:
        """(C, h, w) in the file's number type, of coefficients (r, h, w) and valid pixels (h, w).

        Raises:
            IncompleteRun: a number would overflow.
        """
        components, mean = self._affine
        device = components.device
        # a copy: the strides of the given array must not change the last digits
        flat = torch.tensor(coefficients, device=device).flatten(1)
        _check_range(flat, components, "coefficients")
        as_counts = self.dtype == "uint16"
        number_type = torch.uint16 if as_counts else torch.float32
        stored = torch.empty((len(components), flat.shape[1]), dtype=number_type, device=device)
        step = _PIXELS[device.type]
        for pixels, target in zip(flat.split(step, 1), stored.split(step, 1), strict=True):
            spectra = torch.addmm(mean, components, pixels)  # X = mean + E A
            target.copy_(spectra.clamp_(0, NODATA - 0.5) if as_counts else spectra)
        if not valid.all():
            _mask(stored, torch.from_numpy(~valid.ravel()).to(device))
        numbers: npt.NDArray[Any] = stored.cpu().numpy()
        return numbers.reshape(-1, *valid.shape)


def _mask(stored: Tensor, invalid: Tensor) -> None:
    """Set invalid pixels (n,) of what is stored (C, n) to nodata."""
    if stored.dtype == torch.uint16:  # all bits of 65535 are set, and OR is faster than a choice
        stored.view(torch.int16).bitwise_or_(-invalid.to(torch.int16))
    else:
        stored.masked_fill_(invalid, math.nan)


def _check_range(flat: Tensor, factors: Tensor, name: str) -> None:
    """Refuse maps (k, n) whose products with `factors` (C, k) could overflow, and NaN."""
    largest = float(flat.abs().amax())
    if not largest * float(factors.abs().sum(1).amax()) < torch.finfo(torch.float32).max / 2:
        raise IncompleteRun(
            f"{name} of {largest:.3g} are no reflectance",
            remedy="look at the input's values with uavssr inspect",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRender:
    """Renders the maps as standard errors in a cube's number type: steps of 0.0001, or float32."""

    uncertainty: CubeUncertainty
    """Standard errors of the cube for the scene's STF."""
    dtype: CubeDtype
    """Number type of the file."""
    bands: Sequence[int] | None = None
    """Indices of the wavelengths that the file holds; None for all."""

    @torch.inference_mode()
    def __call__(self, maps: Float32Array, valid: BoolArray) -> npt.NDArray[Any]:
        """(C, h, w) in the file's type.

        Raises:
            IncompleteRun: a number would overflow.
        """
        expansion, floor = self.uncertainty.expansion, self.uncertainty.floor[:, None]
        if self.bands is not None:
            rows = list(self.bands)
            expansion, floor = expansion[rows], floor[rows]
        device, as_counts = expansion.device, self.dtype == "uint16"
        invalid = torch.from_numpy(~valid.ravel()).to(device)
        flat = torch.tensor(maps[:-1], device=device).flatten(1).masked_fill_(invalid, 0)
        _check_range(flat, expansion, "variances")
        number_type = torch.uint16 if as_counts else torch.float32
        stored = torch.empty((len(expansion), flat.shape[1]), dtype=number_type, device=device)
        step = _PIXELS[device.type]
        for pixels, target in zip(flat.split(step, 1), stored.split(step, 1), strict=True):
            sigma = torch.maximum(expansion @ pixels, floor).sqrt_()
            if as_counts:
                sigma = sigma.clamp_(max=(NODATA - 1) * SCALE).mul_(1 / SCALE).round_()
            target.copy_(sigma)
        _mask(stored, invalid)
        numbers: npt.NDArray[Any] = stored.cpu().numpy()
        return numbers.reshape(-1, *valid.shape)


def render_flags(maps: Float32Array, valid: BoolArray) -> npt.NDArray[Any]:
    """Flags (1, h, w) uint16 of the maps of a tile, 0 where invalid."""
    flags = maps[-1].astype(np.uint16) | np.uint16(Quality.DATA)
    return np.where(valid, flags, 0).astype(np.uint16)[None]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputWriters:
    """Writers of the files that are made of tiles; nothing is created before they are entered."""

    cube: TileWriter
    """The cube, or its coefficients."""
    errors: TileWriter | None
    """Standard errors of the cube."""
    flags: TileWriter | None
    """Quality flags."""
    bands: Sequence[int] | None
    """Indices of the wavelengths that the files hold; None for all."""

    @classmethod
    def of(
        cls,
        plan: Plan,
        output: OutputOptions,
        *,
        overwrite: Replaceable,
        size: tuple[int, int] | None = None,
    ) -> OutputWriters:
        """Check the names of the files and prepare their writers.

        A trial gives the `size` (rows, columns) in place of the image's.

        Raises:
            UsageError: the options do not fit the format.
            OutputError: a file exists, or is an input.
        """
        target = _cube_target(plan, output, overwrite=overwrite, size=size)
        cube = open_writer(target)
        errors: TileWriter | None = None
        if output.uncertainty is not None:
            # coefficients of standard errors do not exist: they are written as a GeoTIFF cube
            as_cube = "gtiff" if target.format == "coefficients" else target.format
            chosen = check_format(output.uncertainty, as_cube)
            tags = dict(target.tags) | {QUANTITY_TAG: STANDARD_ERROR}
            path = Path(output.uncertainty)
            errors = open_writer(replace(target, path=path, format=chosen, tags=tags))
        flags: TileWriter | None = None
        if output.quality is not None:
            flags_target = QualityTarget(
                path=Path(output.quality),
                height=target.height,
                width=target.width,
                crs_wkt=target.crs_wkt,
                transform=target.transform,
                block=target.block,
                tags=target.tags,
                overwrite=overwrite,
                inputs=target.inputs,
            )
            flags = open_writer(flags_target)
        return cls(cube=cube, errors=errors, flags=flags, bands=target.wavelengths)

    def products(self, scene: FittedScene) -> list[Product]:
        """The products, once the scene's STF is known: standard errors are rendered with it."""
        cube, errors, bands = self.cube, self.errors, self.bands
        render = CubeRender(basis=scene.plan.basis, dtype=cube.dtype, bands=bands)
        as_maps = cube.takes == "coefficients"
        products = [Product(maps=COEFFICIENTS, sink=cube, render=None if as_maps else render)]
        if errors is not None:
            uncertainty = scene.quality().uncertainty
            error_render = ErrorRender(uncertainty=uncertainty, dtype=errors.dtype, bands=bands)
            products.append(Product(maps=ERROR_MAPS, sink=errors, render=error_render))
        if self.flags is not None:
            products.append(Product(maps=ERROR_MAPS, sink=self.flags, render=render_flags))
        return products

    def __iter__(self) -> Iterator[TileWriter]:
        writers = (self.cube, self.errors, self.flags)
        return (writer for writer in writers if writer is not None)

    @property
    def output_bytes(self) -> int:
        """Bytes of all files without compression."""
        targets = [writer.target for writer in self]
        return sum(cube_bytes(t.height, t.width, t.bands, dtype=t.dtype) for t in targets)

    @property
    def pixel_bytes(self) -> int:
        """Bytes of one pixel while it is written, in the larger of cube and standard errors."""
        files = (file for file in (self.cube, self.errors) if file is not None)
        return max(file.bands * np.dtype(file.dtype).itemsize for file in files)


def _cube_target(
    plan: Plan, output: OutputOptions, *, overwrite: Replaceable, size: tuple[int, int] | None
) -> CubeTarget:
    source, grid, basis = plan.source, plan.model.grid, plan.basis
    height, width = size or (source.height, source.width)
    return CubeTarget(
        path=Path(output.cube),
        format=output.cube_format,
        height=height,
        width=width,
        grid=grid,
        crs_wkt=source.crs_wkt,
        transform=source.transform,
        dtype=output.dtype,
        block=min(plan.tiles.tile, BLOCK),
        overwrite=overwrite,
        creation_options=output.creation_options or {},
        tags=provenance(plan) | {RUN_TAG: run_digest(plan, output)},
        inputs=plan.inputs,
        basis=CubeBasis(
            grid=grid,
            mean=basis.mean.cpu().numpy(),
            components=basis.components.cpu().numpy(),
            sha256=plan.model.sha256,
        ),
        wavelengths=output.wavelength_indices(grid),
    )
