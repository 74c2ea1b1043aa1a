"""The spectra of a cube or a file of coefficients, with errors where the run's STF is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from uavssr.analysis.spectral_source import SpectralErrors, SpectralSource, SpectralTile
from uavssr.errors import InputRefused
from uavssr.io.hsi import (
    CoefficientSource,
    CubeSource,
    cube_of_array,
    is_coefficient_file,
    open_coefficients,
    open_cube_source,
    product_tags,
)
from uavssr.io.stf import read_stf, reference_pixels_of, scene_estimate, stf_path
from uavssr.model import Model, SpectralBasis, load_model
from uavssr.reconstruction import RunVerdict
from uavssr.sensors import Sensor, WavelengthGrid, load_sensor
from uavssr.tiling import TileGrid, Window

if TYPE_CHECKING:
    import xarray as xr

MIN_CUBE_BANDS: Final = 20
"""Least number of wavelengths of a hyperspectral cube; cameras for `reconstruct` have up to 16."""
READ_BLOCK: Final = 256
"""Side in pixels of the windows in which a cube is read."""


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
        return len(open_cube_source(path).grid) >= MIN_CUBE_BANDS
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
    stf_file = stf or stf_path(path)
    run = CubeRun(path=path, tags=tags, model=model, sensor=sensor)
    if stf is None and not stf_file.exists():
        made = run.with_unknown_errors(source, f"there is no {stf_file.name} beside it")
        return replace(made, inputs=(path,))
    made = run.spectra(source, lambda camera, grid: read_stf(stf_file, sensor=camera, grid=grid))
    return replace(made, inputs=(path,) if made.errors is None else (path, stf_file))


def of_array(
    cube: xr.DataArray | xr.Dataset,
    *,
    stf: Path | None = None,
    model: str | Path | None = None,
    sensor: str | Path | Sensor | None = None,
) -> SpectralSource:
    """The spectra of a cube in memory, lazy or not.

    Their errors are known where a dataset holds the scene's STF (as `reconstruct` and `open_cube`
    give it), or with `stf`. For the arguments and errors see `of_cube`.
    """
    import xarray as xr

    source = cube_of_array(cube)
    run = CubeRun(path=source.path, tags=source.provenance, model=model, sensor=sensor)
    if stf is not None:
        made = run.spectra(source, lambda camera, grid: read_stf(stf, sensor=camera, grid=grid))
        return replace(made, inputs=(stf,))
    dataset = cube if isinstance(cube, xr.Dataset) else cube.to_dataset(name="reflectance")
    if "scene_stf" not in dataset:
        return run.with_unknown_errors(source, "it comes without the scene's STF")
    # the rows of a whole nominal response sum to one
    if not np.allclose(dataset["nominal_stf"].sum("wavelength"), 1, atol=0.01):
        return run.with_unknown_errors(source, "the STF in it lacks wavelengths or was changed")
    return run.spectra(source, lambda camera, _: dataset.sel(band=list(camera.roles)))


@dataclass(frozen=True, slots=True, kw_only=True)
class CubeRun:
    """The run that made a cube, as far as it is known."""

    path: Path
    """The cube, for messages."""
    tags: Mapping[str, str]
    """What its file or array states."""
    model: str | Path | None
    """The model as given; None: as the cube names it."""
    sensor: str | Path | Sensor | None
    """The camera as given; None: as the cube names it."""

    @property
    def _is_known(self) -> bool:
        return {"uavssr_model", "uavssr_sensor", "uavssr_stages"} <= self.tags.keys()

    def spectra(
        self,
        source: CubeSource | CoefficientSource,
        stf: Callable[[Sensor, WavelengthGrid], xr.Dataset],
    ) -> SpectralSource:
        """The spectra, with errors where the run is known; `stf` gives its STF."""
        if not self._is_known:
            return self.with_unknown_errors(source, "")
        loaded = load_model(self.model or self.tags["uavssr_model"])
        _check_model(self.path, loaded, self.tags, _grid(source))
        named = self.sensor or self.tags["uavssr_sensor"]
        camera = named if isinstance(named, Sensor) else load_sensor(named)
        dataset = stf(camera, loaded.grid)
        references, stages = reference_pixels_of(dataset), int(self.tags["uavssr_stages"])
        estimate = scene_estimate(dataset)
        errors = SpectralErrors.of(loaded, camera, estimate, references, stages)
        warnings: tuple[str, ...] = ()
        if "uavssr_references" in self.tags and references is None:
            fact = "standard errors as without the reference spectra that corrected it"
            warnings = (f"{self.path.name}: {fact}; give their file with --stf",)
        return replace(
            self._source(source, errors, warnings),
            sensor=camera,
            scene_stf=estimate,
            run_verdict=_verdict(dataset),
        )

    def with_unknown_errors(
        self, source: CubeSource | CoefficientSource, reason: str
    ) -> SpectralSource:
        """The spectra without errors, and the reason as a warning."""
        if not self._is_known:
            reason = "it is no cube of uavssr"
        return self._source(
            source, None, (f"{self.path.name}: no standard errors, because {reason}",)
        )

    def _source(
        self,
        source: CubeSource | CoefficientSource,
        errors: SpectralErrors | None,
        warnings: tuple[str, ...],
    ) -> SpectralSource:
        stated = () if isinstance(source, CoefficientSource) else source.warnings
        tiles = TileGrid(height=source.height, width=source.width, tile=READ_BLOCK)
        return SpectralSource(
            grid=_grid(source),
            height=source.height,
            width=source.width,
            crs_wkt=source.place.crs_wkt,
            transform=source.place.transform,
            inputs=(),
            tags={key: value for key, value in self.tags.items() if key.startswith("uavssr_")},
            tiles=tiles,
            read=partial(_read, source, errors),
            errors=errors,
            warnings=(*stated, *warnings),
            # stored numbers, reflectance, and the spectra of valid pixels
            tile_bytes=READ_BLOCK**2 * 10 * len(_grid(source)),
        )


def _verdict(dataset: xr.Dataset) -> RunVerdict | None:
    """The verdict in the attributes of an STF; None where there is none, as of an estimate."""
    try:
        return RunVerdict.from_tags({str(key): str(dataset.attrs[key]) for key in dataset.attrs})
    except (KeyError, ValueError):
        return None


def _grid(source: CubeSource | CoefficientSource) -> WavelengthGrid:
    return source.basis.grid if isinstance(source, CoefficientSource) else source.grid


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
    return open_cube_source(path)


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
