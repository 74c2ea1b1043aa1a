"""The spectra of an image by tiles, and what their errors follow from: computed, or of a file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
import torch
from torch import Tensor

from uavssr.errors import InputRefused, UsageError
from uavssr.io.hsi import (
    CoefficientSource,
    CubeSource,
    is_coefficient_file,
    open_coefficients,
    open_cube,
    product_tags,
)
from uavssr.io.raster import metres_per_unit
from uavssr.io.stf import (
    ReferencePixels,
    StfEstimate,
    read_stf,
    reference_pixels_of,
    scene_estimate,
    stf_path,
)
from uavssr.model import BandErrors, Correction, Model, PGUNet, SpectralBasis, Stf, load_model
from uavssr.reconstruction import (
    COEFFICIENTS,
    CPU_COUNT,
    PixelCounts,
    PlannedReconstruction,
    RunVerdict,
    bounded_map,
    stf_from_estimate,
    torch_threads,
)
from uavssr.sensors import BoolArray, Sensor, WavelengthGrid, load_sensor
from uavssr.tiling import Progress, TileGrid, Window

if TYPE_CHECKING:
    from uavssr.io.raster import Transform

Result = TypeVar("Result")
MIN_CUBE_BANDS: Final = 20
"""Least number of wavelengths of a hyperspectral cube; cameras for `reconstruct` have up to 16."""

BLOCK: Final = 256
"""Side in pixels of the windows in which a cube is read."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpectralTile:
    """The spectra of a window, n valid pixels of its h x w."""

    window: Window
    """Its place in the image."""
    index: int
    """Its number."""
    valid: BoolArray
    """(h, w)."""
    basis: SpectralBasis
    """The spectra are mean + E A."""
    coefficients: Tensor
    """A (r, n) of the valid pixels, row by row."""
    spectra: Tensor | None = None
    """X (C, n) as a file holds it; by default that of the coefficients."""

    def chosen(self, positions: Tensor) -> SpectralTile:
        """The same with some of its valid pixels only, by their positions among these."""
        spectra = None if self.spectra is None else self.spectra[:, positions]
        return replace(self, coefficients=self.coefficients[:, positions], spectra=spectra)

    def combine(self, weights: Tensor) -> Tensor:
        """W X (m, n), reflectance, of weights W (m, C) on the bands."""
        if self.spectra is not None:
            return weights @ self.spectra
        # W X = (W E) A + W mean
        return (
            weights @ self.basis.components @ self.coefficients
            + (weights @ self.basis.mean)[:, None]
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpectralErrors:
    """What made a scene's spectra, from which their errors follow."""

    network: PGUNet
    """The network."""
    stf: Stf
    """The scene's STF (S = 1)."""
    basis: SpectralBasis
    """The coefficients' basis: the network's, or a wider one."""
    correction: Correction | None = None
    """The correction with reference spectra."""

    def of_bands(self, weights: Tensor) -> BandErrors:
        """The joint errors of W X, weights W (m, C) on the bands."""
        return self.network.band_errors(weights, self.stf, self.correction)

    @property
    def bands(self) -> int:
        """Bands of the camera, c."""
        return self.stf.rows.shape[1]

    def distance(self, coefficients: Tensor) -> Tensor:
        """(n,) squared distance of pixels (r, n) to the nearest component of the prior."""
        seen = self.network.observation_model(self.stf, stf_uncertainty=False)
        return self.network.mixture.nearest_distance(
            self.image(coefficients), seen.mixing, seen.offset, seen.component_noise
        )[0]

    def image(self, coefficients: Tensor) -> Tensor:
        """Y = R X (1, c, n) of coefficients (r, n): the image, but for the misfit that is left."""
        acting = self.stf.rows[0] @ self.basis.extended
        return (acting[:, :-1] @ coefficients + acting[:, -1:])[None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpectralSource:
    """The spectra of an image of height x width pixels, C bands."""

    grid: WavelengthGrid
    """The C wavelengths."""
    height: int
    """Rows."""
    width: int
    """Columns."""
    crs_wkt: str
    """CRS, empty without one."""
    transform: Transform
    """From pixels to map coordinates."""
    inputs: tuple[Path, ...]
    """Files that are read: no output may replace them."""
    tags: dict[str, str]
    """How the spectra were made, for an output's tags."""
    tiles: TileGrid
    """The windows in which they are read or computed."""
    read: Callable[[Window, int], SpectralTile | None]
    """The tile of a window and its number, or None where it holds no valid pixel."""
    errors: SpectralErrors | None
    """None where the errors are not known."""
    warnings: tuple[str, ...] = ()
    """Sentences for the user."""
    judge: Callable[[], RunVerdict] | None = None
    """Gives the verdict on a reconstruction whose tiles were all computed; None for a file."""
    workers: int = CPU_COUNT
    """Tiles at a time."""

    @property
    def pixel_size(self) -> tuple[float, float]:
        """Width and height of a pixel in metres."""
        a, b, c, d, e, f = self.transform
        along_x, along_y = metres_per_unit(self.crs_wkt, x=c, y=f)
        return math.hypot(a * along_x, d * along_y), math.hypot(b * along_x, e * along_y)

    def verdict(self) -> RunVerdict | None:
        """After all tiles were mapped: what is odd about them; None for a file."""
        return None if self.judge is None else self.judge()

    def map(
        self,
        function: Callable[[SpectralTile], Result],
        *,
        progress: Progress | None,
        task: str,
        indices: Sequence[int] | None = None,
    ) -> Iterator[Result]:
        """function(tile) of every tile with valid pixels, in row-major order, in threads.

        `indices` are the tiles to read, by default all.
        """
        numbers = range(len(self.tiles)) if indices is None else indices
        cores = [self.tiles[index].core for index in numbers]
        total = sum(core.height * core.width for core in cores)

        @torch.inference_mode()
        def run(index: int) -> Result | None:
            tile = self.read(self.tiles[index].core, index)
            return None if tile is None else function(tile)

        with torch_threads():
            results = bounded_map(run, numbers, workers=self.workers)
            for core, result in zip(cores, results, strict=True):
                if progress is not None:
                    progress(task, core.height * core.width, total)
                if result is not None:
                    yield result


def of_image(planned: PlannedReconstruction) -> SpectralSource:
    """The spectra that a reconstruction computes, tile by tile; no cube is written.

    Raises:
        InputRefused: the scene has no valid pixel.
        UsageError: the options estimate an STF for each tile.
    """
    if planned.plan.options.stf_scope == "tile":
        raise UsageError(
            "the errors of spectra with an STF for each tile are not known",
            remedy="leave out --stf-scope tile",
        )
    scene, counts = planned.scene, PixelCounts()
    plan, engine = scene.plan, scene.engine(quality=True)
    estimate = scene.stf.estimate
    errors = _errors(plan.model, plan.source.sensor, estimate, plan.references, plan.stages)

    def read(window: Window, index: int) -> SpectralTile | None:
        record = engine.record(index, stf=False)
        counts.add(record, clipped=0)
        if COEFFICIENTS not in record.maps:
            return None
        flat = torch.from_numpy(record.maps[COEFFICIENTS][:, record.valid])
        return SpectralTile(
            window=window,
            index=index,
            valid=record.valid,
            basis=errors.basis,
            coefficients=flat,
        )

    source = plan.source
    return SpectralSource(
        grid=plan.model.grid,
        height=source.height,
        width=source.width,
        crs_wkt=source.crs_wkt,
        transform=source.transform,
        inputs=plan.inputs,
        tags=planned.provenance(),
        tiles=plan.tiles,
        read=read,
        errors=errors,
        judge=lambda: counts.verdict(scene.prior_driven_bands),
        workers=plan.threads.workers,
    )


def holds_spectra(path: Path) -> bool:
    """Whether a path is a cube or a file of coefficients, and not a camera's image.

    A file with fewer than `MIN_CUBE_BANDS` wavelengths, or none, is an image.

    Raises:
        InputRefused: the file is unsafe or broken.
    """
    if path.is_dir() or is_coefficient_file(path):
        return True
    if "uavssr_model" in product_tags(path):
        return True
    try:
        return len(open_cube(path).grid) >= MIN_CUBE_BANDS
    except InputRefused:
        return False


def of_cube(
    path: Path,
    *,
    stf: Path | None = None,
    model: str | Path | None = None,
    sensor: str | Path | Sensor | None = None,
) -> SpectralSource:
    """The spectra of a cube or a file of coefficients.

    Their errors are known where the STF file of the run that made them is there.

    Args:
        path: the file.
        stf: the STF file; by default the one beside the cube.
        model: the model that made the cube; by default the one that the cube names.
        sensor: the camera; by default the one that the cube names.

    Raises:
        InputRefused: a file is broken, the STF file is of another camera or grid, or the cube of
            other weights or of a part of the wavelengths.
        ModelRefused: there is no such model.
    """
    source, tags = _open(path), product_tags(path)
    grid = source.basis.grid if isinstance(source, CoefficientSource) else source.grid
    stf_file, errors = stf or stf_path(path), None
    warnings = () if isinstance(source, CoefficientSource) else source.warnings
    unknown = _why_unknown(tags, stf_file, given=stf is not None)
    if unknown:
        warnings += (f"{path.name}: no standard errors, because {unknown}",)
    else:
        loaded = load_model(model or tags["uavssr_model"])
        _check_model(path, loaded, tags, grid)
        named = sensor or tags["uavssr_sensor"]
        camera = named if isinstance(named, Sensor) else load_sensor(named)
        dataset = read_stf(stf_file, sensor=camera, grid=loaded.grid)
        references, stages = reference_pixels_of(dataset), int(tags["uavssr_stages"])
        errors = _errors(loaded, camera, scene_estimate(dataset), references, stages)
        if "uavssr_references" in tags and references is None:
            fact = "standard errors as without the reference spectra that corrected it"
            warnings += (f"{path.name}: {fact}; give their file with --stf",)
    tiles = TileGrid(height=source.height, width=source.width, tile=BLOCK)
    return SpectralSource(
        grid=grid,
        height=source.height,
        width=source.width,
        crs_wkt=source.place.crs_wkt,
        transform=source.place.transform,
        inputs=(path, stf_file) if errors is not None else (path,),
        tags={key: value for key, value in tags.items() if key.startswith("uavssr_")},
        tiles=tiles,
        read=partial(_read, source, errors),
        errors=errors,
        warnings=warnings,
    )


def _why_unknown(tags: Mapping[str, str], stf: Path, *, given: bool) -> str:
    """The reason why the errors of a cube are not known; empty where they are."""
    if not {"uavssr_model", "uavssr_sensor", "uavssr_stages"} <= tags.keys():
        return "it is no cube of uavssr"
    return "" if given or stf.exists() else f"there is no {stf.name} beside it"


def _check_model(path: Path, model: Model, tags: Mapping[str, str], grid: WavelengthGrid) -> None:
    """Refuse a cube of other weights, and one that holds a part of the wavelengths."""
    if model.sha256 != tags.get("uavssr_model_sha256"):
        raise InputRefused(
            f"was not made with these weights of {model.name}",
            path=path,
            remedy="name the model that made it with --model",
        )
    if len(grid) != len(model.grid) or not np.allclose(grid.centres, model.grid.centres, atol=0.01):
        raise InputRefused(
            f"holds {len(grid)} of the {len(model.grid)} wavelengths, too few for standard errors",
            path=path,
            remedy="give the image, a file of coefficients or a cube of all wavelengths",
        )


def _open(path: Path) -> CubeSource | CoefficientSource:
    if path.is_file() and is_coefficient_file(path):
        return open_coefficients(path)
    return open_cube(path)


def _read(
    source: CubeSource | CoefficientSource,
    errors: SpectralErrors | None,
    window: Window,
    index: int,
) -> SpectralTile | None:
    """The tile of a window of a file, None without a valid pixel."""
    if isinstance(source, CoefficientSource):
        numbers, valid = source.coefficients(window)
        basis = errors.basis if errors is not None else _as_tensors(source)
        if not valid.any():
            return None
        flat = torch.from_numpy(numbers[:, valid])
        return SpectralTile(window=window, index=index, valid=valid, basis=basis, coefficients=flat)
    numbers, valid = source.read(window)
    if not valid.any():
        return None
    spectra = torch.from_numpy(numbers[:, valid])
    basis = SpectralBasis.identity(source.grid) if errors is None else errors.basis
    coefficients = spectra if errors is None else basis.project(spectra)
    return SpectralTile(
        window=window,
        index=index,
        valid=valid,
        basis=basis,
        coefficients=coefficients,
        spectra=spectra,
    )


def _as_tensors(source: CoefficientSource) -> SpectralBasis:
    """The basis of a file, whose residual is not known."""
    basis = source.basis
    return SpectralBasis(
        grid=basis.grid,
        mean=torch.from_numpy(basis.mean),
        components=torch.from_numpy(basis.components),
        residual=torch.zeros(len(basis.grid)),
    )


def _errors(
    model: Model,
    sensor: Sensor,
    estimate: StfEstimate,
    references: ReferencePixels | None,
    stages: int,
) -> SpectralErrors:
    """What the errors follow from, on the CPU."""
    network = model.network
    stf = stf_from_estimate(network, sensor, estimate, device=torch.device("cpu"))
    correction = None
    if references is not None:
        arrays = references.msi, references.spectra
        pixels = (torch.tensor(array, dtype=torch.float32) for array in arrays)
        correction = network.fit_correction(stf, *pixels, stages=stages)
    basis = network.basis if correction is None else correction.basis
    return SpectralErrors(network=network, stf=stf, basis=basis, correction=correction)
