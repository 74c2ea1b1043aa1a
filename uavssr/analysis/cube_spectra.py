"""The spectra of a cube or a file of coefficients, with errors where the run's STF is there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch

from uavssr.analysis.spectral_source import SpectralErrors, SpectralSource, SpectralTile
from uavssr.errors import InputRefused
from uavssr.io.hsi import (
    CoefficientSource,
    CubeSource,
    is_coefficient_file,
    open_coefficients,
    open_cube_source,
    product_tags,
)
from uavssr.io.stf import read_stf, reference_pixels_of, scene_estimate, stf_path
from uavssr.model import Model, SpectralBasis, load_model
from uavssr.sensors import Sensor, WavelengthGrid, load_sensor
from uavssr.tiling import TileGrid, Window

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
        errors = SpectralErrors.of(loaded, camera, scene_estimate(dataset), references, stages)
        if "uavssr_references" in tags and references is None:
            fact = "standard errors as without the reference spectra that corrected it"
            warnings += (f"{path.name}: {fact}; give their file with --stf",)
    tiles = TileGrid(height=source.height, width=source.width, tile=READ_BLOCK)
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
