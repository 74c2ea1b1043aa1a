"""Spectra of whatever a caller gives: a cube or an image, as a path or in memory."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Unpack, cast

import xarray as xr

from uavssr.io.msi import Image, ImageKeywords, is_array

if TYPE_CHECKING:
    from uavssr.analysis import SpectralSource

Spectra: TypeAlias = Image
"""An image in any form, or a cube: its path, a dataset with `reflectance`, or its array."""


class SpectraKeywords(ImageKeywords, total=False):
    """How spectra are opened: the options of `open_msi`, and those of the reconstruction."""

    model: str | Path | None
    """The model; by default the released one, or the one that made the cube."""
    stf: str | Path | None
    """The STF file to hold fixed; of a cube, that of the run that made it."""
    device: str
    """`auto`, `cpu` or `cuda[:i]`."""
    workers: int | None
    """Batches of tiles in the network at a time."""


def spectra_of(data: Spectra, **keywords: Unpack[SpectraKeywords]) -> SpectralSource:
    """The spectra of a cube, or those that a reconstruction of an image gives.

    Doubtful facts are given as a `UserWarning`.

    Raises:
        UavssrError: the input is refused, or an option makes no sense.
    """
    from uavssr.analysis import holds_spectra, of_array, of_cube

    model, sensor, stf = (keywords.get("model"), keywords.get("sensor"), keywords.get("stf"))
    stf_file = None if stf is None else Path(stf)
    path = _only_path(data)
    if is_array(data) and _is_cube(data):
        source = of_array(data, stf=stf_file, model=model, sensor=sensor)
    elif path is not None and holds_spectra(path):
        source = of_cube(path, stf=stf_file, model=model, sensor=sensor)
    else:
        return _of_image(data, keywords)
    for text in source.warnings:
        warnings.warn(text, UserWarning, stacklevel=3)
    return source


def _of_image(image: Image, keywords: SpectraKeywords) -> SpectralSource:
    from uavssr.analysis import of_image
    from uavssr.model import DEFAULT_MODEL
    from uavssr.reconstruction import ReconstructionOptions, plan_reconstruction

    options = ReconstructionOptions(
        model=keywords.get("model") or DEFAULT_MODEL,
        stf=keywords.get("stf"),
        device=keywords.get("device", "auto"),
        workers=keywords.get("workers"),
    )
    own = {name: keywords.get(name) for name in ImageKeywords.__annotations__}
    given = cast("ImageKeywords", {name: value for name, value in own.items() if value is not None})
    planned = plan_reconstruction(image, options, **given)
    for note in planned.reference_notes():
        if note.startswith("warning: "):
            warnings.warn(note.removeprefix("warning: "), UserWarning, stacklevel=4)
    return of_image(planned)


def _only_path(data: Spectra) -> Path | None:
    """The path that is given, alone or as the only one of a sequence."""
    if isinstance(data, Sequence) and not isinstance(data, str) and len(data) == 1:
        data = data[0]
    return Path(data) if isinstance(data, str | os.PathLike) else None


def _is_cube(data: xr.DataArray | xr.Dataset) -> bool:
    """Whether an array has wavelengths as a dimension, and not the bands of a camera."""
    array = data.get("reflectance") if isinstance(data, xr.Dataset) else data
    return array is not None and "wavelength" in array.dims
