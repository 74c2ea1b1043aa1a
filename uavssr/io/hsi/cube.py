"""Hyperspectral cubes as reflectance: opened and checked here, then read window by window.

The same files are refused as for images; wavelengths and scale are never guessed.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy as np

from uavssr.errors import InputRefused, UsageError
from uavssr.io.bounded import is_folder
from uavssr.io.checks import CheckedFile, PathLike, check_path_text, check_raster, data_file
from uavssr.io.hsi.coefficient_file import CoefficientSource, coefficients_in
from uavssr.io.hsi.cube_reader import CubeFileReader
from uavssr.io.hsi.wavelengths import bad_band_warnings, read_grid
from uavssr.io.raster import (
    BandMetadata,
    Place,
    Scale,
    ScaleEvidence,
    ValidityRule,
    band_facts,
    judge_sample,
    opened_metadata,
    parse_scale,
    read_band_metadata,
    read_pixels,
    read_place,
    read_tags,
    sample_values,
)
from uavssr.sensors import BoolArray, Float32Array, WavelengthGrid
from uavssr.tiling import Window

if TYPE_CHECKING:
    from uavssr.io.hsi.array_cube import ArrayReader
    from uavssr.io.hsi.zarr_cube import ZarrReader

NumberReader: TypeAlias = "CubeFileReader | ZarrReader | CoefficientSource | ArrayReader"
"""Gives stored numbers (band, y, x), from any thread or process."""
READ_TILE: Final = 128
"""Side in pixels of the windows in which a cube is read from end to end."""
QUANTITY_TAG: Final = "uavssr_quantity"
"""Tag of a file in a cube's format that holds another quantity than reflectance."""
STANDARD_ERROR: Final = "standard error of reflectance"
"""The quantity of a file of standard errors."""
_MODEL_TAG: Final = "uavssr_model"
_SAMPLE_WINDOWS: Final = 3
"""The scale is judged by the numbers in 3 x 3 windows of a scene."""
_SAMPLE_SIDE: Final = 64
"""Side of those windows in pixels."""
_SCALE_REMEDY: Final = (
    "give reflectance per number, such as 1/10000, by --scale, --reference-scale, --pred-scale or "
    "--ref-scale"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CubeSource:
    """A hyperspectral scene as reflectance by increasing wavelength."""

    path: Path
    """The file as given."""
    grid: WavelengthGrid
    """Its C bands, nm."""
    place: Place
    """Size, CRS and geotransform."""
    reader: NumberReader
    """Gives the stored numbers."""
    rule: ValidityRule
    """Tells which of them are valid."""
    scale: Scale
    """Turns them into reflectance."""
    warnings: tuple[str, ...]
    """Doubtful facts, such as untagged fill values."""
    model: str = ""
    """Name of the uavssr model that made it; empty where the file names none."""
    bad_bands: int = 0
    """Bands of the file that its list of bad bands (`bbl`) leaves out."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Its tags `uavssr_...`: how it was made."""

    @property
    def height(self) -> int:
        """Rows."""
        return self.place.height

    @property
    def width(self) -> int:
        """Columns."""
        return self.place.width

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns of a stored block."""
        return self.reader.block

    @property
    def label(self) -> str:
        """The name, and the size of a file: what an output records of its input."""
        if not self.path.is_file():
            return self.path.name
        return f"{self.path.name} ({self.path.stat().st_size} bytes)"

    def read(self, window: Window) -> tuple[Float32Array, BoolArray]:
        """Reflectance (C, y, x), NaN where invalid, and the pixels valid in every band (y, x).

        Raises:
            ValueError: the window reaches outside the scene.
            InputRefused: a block cannot be decoded, or the file changed since it was opened.
        """
        pixels = read_pixels(self.reader, self.rule, self.scale, window)
        return pixels.reflectance, pixels.valid

    def read_bands(self, window: Window, bands: Sequence[int]) -> Float32Array:
        """Reflectance (len(bands), y, x) of some bands, NaN where a pixel is invalid in any band.

        Only these bands are read of a file that uavssr made, as its pixels are valid in all bands
        or in none.

        Raises:
            ValueError: the window reaches outside the scene.
            InputRefused: a block cannot be decoded, or the file changed since it was opened.
        """
        reader, chosen = self.reader, list(bands)
        if isinstance(reader, CoefficientSource):
            coefficients, valid = reader.coefficients(window)
            cube = reader.basis.expand(coefficients, bands=chosen)
            cube[:, ~valid] = np.nan
            return cube
        if not (self.model and isinstance(reader, CubeFileReader)):
            return self.read(window)[0][chosen]
        rule = replace(self.rule, nodata=tuple(self.rule.nodata[k] for k in chosen))
        return read_pixels(
            reader.of_bands(chosen), rule, self._scale_of(chosen), window
        ).reflectance

    def decimated(self, bands: Sequence[int], shape: tuple[int, int]) -> Float32Array:
        """Mean reflectance (len(bands), *shape) of some bands, NaN where there is none.

        Overviews are used where the file has some. Only nodata and masks make a pixel invalid.

        Args:
            bands: positions on the grid, counted from zero.
            shape: rows and columns to bring the scene to.

        Raises:
            InputRefused: a block cannot be decoded, or the file changed since it was opened.
        """
        return self._scale_of(bands).reflectance(self.reader.decimated(bands, shape))

    def _scale_of(self, bands: Sequence[int]) -> Scale:
        factors, offsets = (
            tuple(values[k] for k in bands) for values in (self.scale.factors, self.scale.offsets)
        )
        return replace(self.scale, factors=factors, offsets=offsets)


def open_cube_source(
    path: PathLike,
    *,
    scale: float | str | None = None,
    assume_crs: str | None = None,
    max_pixels: int | None = None,
) -> CubeSource:
    """Open a hyperspectral GeoTIFF, ENVI file or Zarr store that names the wavelength of each band.

    A file of coefficients is read as the cube that they stand for.

    Args:
        path: the file; for ENVI the raw file or the header beside it.
        scale: reflectance = stored number x scale; else tags or the numbers' range must tell.
        assume_crs: AUTHORITY:CODE for a file without a CRS.
        max_pixels: the size of a scene that is larger, or a file that is sparser, than is usual.

    Raises:
        UsageError: an option makes no sense.
        InputRefused: the input is unsafe, broken, ambiguous or empty, or lacks wavelengths.
    """
    if scale is not None:
        parse_scale(scale)
    opened = _open(path, assume_crs, max_pixels)
    if (quantity := opened.tags.get(QUANTITY_TAG)) is not None:
        raise InputRefused(
            f"holds the {quantity}, not reflectance",
            path=opened.cube.path,
            remedy="give the cube that it belongs to",
        )
    if isinstance(opened.cube.reader, CoefficientSource):
        if scale is not None:
            raise UsageError("coefficients have no scale to be given", path=opened.cube.path)
        return opened.cube
    return judged(opened, scale)


def judged(opened: OpenedCube, scale: float | str | None) -> CubeSource:
    """The cube with its scale and its valid pixels, after a look at some of its numbers."""
    cube, bands, tags = opened
    longest = max(cube.height, cube.width)
    whole = longest <= _SAMPLE_WINDOWS * _SAMPLE_SIDE
    count, side = (1, longest) if whole else (_SAMPLE_WINDOWS, _SAMPLE_SIDE)
    sample = sample_values(
        cube.reader, cube.rule, cube.path, count=count, side=side, search=READ_TILE
    )
    facts = band_facts(sample.numbers)
    evidence = ScaleEvidence(bands=bands, tags={cube.path: tags}, facts=facts, path=cube.path)
    resolved = evidence.resolve(scale, remedy=_SCALE_REMEDY)
    judged = judge_sample(sample, resolved)
    pixels = tuple(f"{cube.path.name}: {text}" for text in judged.warnings)
    warnings = cube.warnings + pixels + resolved.warnings
    return replace(cube, scale=resolved, rule=judged.rule, warnings=warnings)


def open_product(path: PathLike) -> CubeSource:
    """Open a cube that uavssr has written, of any size and with any values.

    Its scale tags are taken at their word, so no pixel is read.

    Raises:
        InputRefused: the file is unsafe or broken, or lacks wavelengths.
    """
    return _open(path, None, sys.maxsize).cube


def product_tags(path: PathLike) -> dict[str, str]:
    """The tags of a file or store that uavssr has written, with names in lower case.

    Raises:
        InputRefused: the file is unsafe or broken.
    """
    if _is_zarr(Path(path)):
        from uavssr.io.hsi.zarr_cube import read_store_tags

        return read_store_tags(Path(path))
    checked = check_raster(path, max_pixels=sys.maxsize)
    with opened_metadata(checked) as dataset:
        return read_tags(dataset, checked)


class OpenedCube(NamedTuple):
    """A cube whose scale is not known yet."""

    cube: CubeSource
    """With the scale that its bands' tags state."""
    bands: Sequence[BandMetadata]
    """Its bands, without alpha; none for coefficients."""
    tags: Mapping[str, str]
    """The dataset's tags."""


def _open(path: PathLike, assume_crs: str | None, max_pixels: int | None) -> OpenedCube:
    check_path_text(os.fspath(path))
    if _is_zarr(Path(path)):
        return _open_store(Path(path), assume_crs, max_pixels)
    file = data_file(Path(path))
    header = None if file == Path(path) else Path(path)
    checked = check_raster(file, header=header, max_pixels=max_pixels)
    coefficients = coefficients_in(checked)
    return _open_file(checked, assume_crs) if coefficients is None else _expanding(coefficients)


def _is_zarr(path: Path) -> bool:
    """Whether a path is a folder that might be a Zarr store of version 2 or 3."""
    return is_folder(path) and any((path / name).is_file() for name in (".zgroup", "zarr.json"))


def _open_store(path: Path, assume_crs: str | None, max_pixels: int | None) -> OpenedCube:
    from uavssr.io.hsi import zarr_cube as store  # zarr takes 0.1 s to load

    reader = store.ZarrReader.of(path, max_pixels=max_pixels)
    place = store.read_store_place(path, (reader.height, reader.width), assume_crs)
    grid = store.read_store_grid(path, count=reader.array.shape[0])
    tags = store.read_store_tags(path)
    return as_tagged(place, grid, store.store_bands(reader, grid), reader, tags)


def _open_file(checked: CheckedFile, assume_crs: str | None) -> OpenedCube:
    with opened_metadata(checked) as dataset:
        place = read_place(dataset, checked, assume_crs=assume_crs)
        every = read_band_metadata(dataset, checked)
        tags = read_tags(dataset, checked)
        alphas = [band.index for band in every if band.is_alpha]
        good = [band.index for band in every if not (band.is_alpha or band.bad)]
        stated = read_grid(dataset, checked, good)
    bands = [every[index - 1] for index in stated.indexes]
    mask = next((band.index for band in bands if band.masked), None)
    reader = CubeFileReader.of(checked, place, stated.indexes, alphas=alphas, mask=mask)
    has_mask = bool(alphas) or mask is not None
    warnings = (*place.warnings, *stated.warnings, *bad_band_warnings(every))
    place = replace(place, warnings=warnings)
    opened = as_tagged(place, stated.grid, bands, reader, tags, has_mask=has_mask)
    bad_bands = sum(band.bad for band in every)
    return opened._replace(cube=replace(opened.cube, bad_bands=bad_bands))


def as_tagged(
    place: Place,
    grid: WavelengthGrid,
    bands: Sequence[BandMetadata],
    reader: NumberReader,
    tags: Mapping[str, str],
    *,
    has_mask: bool = False,
) -> OpenedCube:
    """A cube with the scales that its bands state."""
    factors, offsets = zip(*((band.scale, band.offset) for band in bands), strict=True)
    model = tags.get(_MODEL_TAG, "")
    cube = CubeSource(
        path=place.path,
        grid=grid,
        place=place,
        reader=reader,
        rule=ValidityRule(
            nodata=tuple(band.nodata for band in bands), has_mask=has_mask, trusted=bool(model)
        ),
        scale=Scale(factors=factors, offsets=offsets, evidence="tags of the bands"),
        warnings=place.warnings,
        model=model,
        provenance={key: text for key, text in tags.items() if key.startswith("uavssr_")},
    )
    return OpenedCube(cube, bands, tags)


def _expanding(source: CoefficientSource) -> OpenedCube:
    """The cube that coefficients stand for: its stored numbers are reflectance already."""
    count = len(source.basis.grid)
    cube = CubeSource(
        path=source.path,
        grid=source.basis.grid,
        place=source.place,
        reader=source,
        rule=ValidityRule(nodata=(math.nan,) * count, has_mask=False, trusted=True),
        scale=Scale.uniform(1.0, count, "spectral basis"),
        warnings=source.place.warnings,
        model=source.tags.get(_MODEL_TAG, ""),
        provenance=source.provenance(),
    )
    return OpenedCube(cube, (), source.tags)
