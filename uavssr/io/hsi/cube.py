"""Hyperspectral cubes as reflectance: opened and checked here, then read window by window.

The same files are refused as for images; wavelengths and scale are never guessed.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from uavssr.errors import UsageError
from uavssr.io.checks import CheckedFile, PathLike, check_path_text, check_raster
from uavssr.io.hsi.coefficient_file import CoefficientSource, coefficients_in
from uavssr.io.hsi.file_reader import CubeFileReader
from uavssr.io.hsi.number_reader import READ_TILE, NumberReader
from uavssr.io.hsi.wavelengths import read_grid
from uavssr.io.hsi.zarr_array import ZarrArray, read_json
from uavssr.io.hsi.zarr_cube import (
    ZarrReader,
    check_cube,
    is_zarr,
    read_georeference,
    read_store_grid,
    store_facts,
)
from uavssr.io.raster import (
    BandMetadata,
    Place,
    Scale,
    ScaleEvidence,
    ValidityRule,
    make_place,
    opened_metadata,
    parse_scale,
    quantiles_of,
    read_band_metadata,
    read_place,
    read_tags,
    sample_values,
)
from uavssr.sensors import BoolArray, Float32Array, WavelengthGrid
from uavssr.tiling import Window

_MODEL_TAG: Final = "uavssr_model"
_SAMPLE_WINDOWS: Final = 3
"""The scale is judged by the numbers in 3 x 3 windows of a scene."""
_SAMPLE_SIDE: Final = 64
"""Side of those windows in pixels."""
_SCALE_REMEDY: Final = "give what a number means in reflectance, such as 1/10000"


@dataclass(frozen=True, slots=True, kw_only=True)
class CubeSource:
    """A hyperspectral scene as reflectance by increasing wavelength."""

    path: Path
    """The file as given."""
    grid: WavelengthGrid
    """Its C bands, nm."""
    wavelengths_from: str
    """The place in the file that states them."""
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

    @property
    def height(self) -> int:
        """Rows."""
        return self.place.height

    @property
    def width(self) -> int:
        """Columns."""
        return self.place.width

    @property
    def label(self) -> str:
        """The name, and the size of a file: what an output records of its input."""
        if self.path.is_dir():
            return self.path.name
        return f"{self.path.name} ({self.path.stat().st_size} bytes)"

    def read(self, window: Window) -> tuple[Float32Array, BoolArray]:
        """Reflectance (C, y, x), NaN where invalid, and the pixels valid in every band (y, x).

        Raises:
            ValueError: the window reaches outside the scene.
            InputRefused: a block cannot be decoded, or the file changed since it was opened.
        """
        numbers, valid = self.reader.read(window)
        return self.scale.masked(numbers, valid & self.rule.valid(numbers))

    def decimated(self, bands: Sequence[int], shape: tuple[int, int]) -> Float32Array:
        """Mean reflectance (len(bands), *shape) of some bands, NaN where there is none.

        Overviews are used where the file has some. Only nodata and masks make a pixel invalid.

        Args:
            bands: positions on the grid, counted from zero.
            shape: rows and columns to bring the scene to.

        Raises:
            InputRefused: a block cannot be decoded, or the file changed since it was opened.
        """
        factors, offsets = (
            tuple(values[k] for k in bands) for values in (self.scale.factors, self.scale.offsets)
        )
        scale = replace(self.scale, factors=factors, offsets=offsets)
        return scale.reflectance(self.reader.decimated(bands, shape))


def open_cube(
    path: PathLike,
    *,
    scale: float | str | None = None,
    assume_crs: str | None = None,
    max_pixels: int | None = None,
) -> CubeSource:
    """Open a hyperspectral GeoTIFF, ENVI file or Zarr store that names the wavelength of each band.

    A file of coefficients is read as the cube that they stand for.

    Args:
        path: the file; for ENVI the raw file, with its header beside it.
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
    if isinstance(opened, CoefficientSource):
        if scale is not None:
            raise UsageError("coefficients have no scale to be given", path=opened.path)
        return _expanding(opened)
    return opened.with_sampled_scale(scale)


def open_product(path: PathLike) -> CubeSource:
    """Open a cube that uavssr has written, of any size and with any values.

    Its scale tags are taken at their word, so no pixel is read.

    Raises:
        InputRefused: the file is unsafe or broken, or lacks wavelengths.
    """
    opened = _open(path, None, sys.maxsize)
    return _expanding(opened) if isinstance(opened, CoefficientSource) else opened.as_tagged()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Metadata:
    """A file or store that is not of coefficients: all that is known before a pixel is read."""

    place: Place
    bands: Sequence[BandMetadata]
    """Without alpha."""
    tags: Mapping[str, str]
    grid: WavelengthGrid
    wavelengths_from: str
    reader: NumberReader
    has_mask: bool = False
    """Whether alpha or a mask band states validity."""

    @property
    def rule(self) -> ValidityRule:
        nodata = tuple(band.nodata for band in self.bands)
        return ValidityRule(nodata=nodata, has_mask=self.has_mask)

    def with_sampled_scale(self, given: float | str | None) -> CubeSource:
        """The cube, once its numbers have shown that the scale can be right."""
        place, side = self.place, max(self.reader.height, self.reader.width)
        whole = side <= _SAMPLE_WINDOWS * _SAMPLE_SIDE
        count, side = (1, side) if whole else (_SAMPLE_WINDOWS, _SAMPLE_SIDE)
        sample = sample_values(
            self.reader, self.rule, place.path, count=count, side=side, search=READ_TILE
        )
        evidence = ScaleEvidence(
            bands=self.bands,
            tags=self.tags,
            quantiles=quantiles_of(sample.numbers),
            path=place.path,
        )
        scale = evidence.resolve(given, remedy=lambda _: _SCALE_REMEDY)
        return self._source(scale, place.warnings + sample.warnings + scale.warnings)

    def as_tagged(self) -> CubeSource:
        """The cube with the scale that its bands' tags state."""
        factors, offsets = zip(*((band.scale, band.offset) for band in self.bands), strict=True)
        scale = Scale(factors=factors, offsets=offsets, evidence="tags of the bands")
        return self._source(scale, self.place.warnings)

    def _source(self, scale: Scale, warnings: tuple[str, ...]) -> CubeSource:
        return CubeSource(
            path=self.place.path,
            grid=self.grid,
            wavelengths_from=self.wavelengths_from,
            place=self.place,
            reader=self.reader,
            rule=self.rule,
            scale=scale,
            warnings=warnings,
            model=self.tags.get(_MODEL_TAG, ""),
        )


def _open(
    path: PathLike, assume_crs: str | None, max_pixels: int | None
) -> _Metadata | CoefficientSource:
    check_path_text(os.fspath(path))
    if is_zarr(Path(path)):
        return _open_store(Path(path), assume_crs, max_pixels)
    checked = check_raster(path, max_pixels=max_pixels)
    return coefficients_in(checked) or _open_file(checked, assume_crs)


def _open_file(checked: CheckedFile, assume_crs: str | None) -> _Metadata:
    with opened_metadata(checked) as dataset:
        place = read_place(dataset, checked, assume_crs=assume_crs)
        facts = read_band_metadata(dataset, checked)
        bands = [fact for fact in facts if fact.colour != "alpha"]
        indexes = [band.index for band in bands]
        tags = read_tags(dataset, checked)
        grid, wavelengths_from = read_grid(dataset, checked, indexes)
    alpha = next((fact.index for fact in facts if fact.colour == "alpha"), None)
    mask = next((band.index for band in bands if band.masked), None)
    return _Metadata(
        place=place,
        bands=bands,
        tags=tags,
        grid=grid,
        wavelengths_from=wavelengths_from,
        reader=CubeFileReader.of(checked, place, indexes, alpha=alpha, mask=mask),
        has_mask=alpha is not None or mask is not None,
    )


def _open_store(path: Path, assume_crs: str | None, max_pixels: int | None) -> _Metadata:
    cube = ZarrArray.of(path, "reflectance")
    check_cube(cube, max_pixels=max_pixels)
    crs, transform = read_georeference(path)
    size = cube.shape[1], cube.shape[2]
    place = make_place(path, crs=crs, transform=transform, size=size, assume_crs=assume_crs)
    grid = read_store_grid(path, count=cube.shape[0])
    return _Metadata(
        place=place,
        bands=store_facts(cube, grid),
        tags={key.lower(): str(value) for key, value in read_json(path, ".zattrs").items()},
        grid=grid,
        wavelengths_from="wavelength coordinate",
        reader=ZarrReader(array=cube),
    )


def _expanding(source: CoefficientSource) -> CubeSource:
    """The cube that coefficients stand for: its stored numbers are reflectance already."""
    count = len(source.basis.grid)
    return CubeSource(
        path=source.path,
        grid=source.basis.grid,
        wavelengths_from="spectral basis",
        place=source.place,
        reader=source,
        rule=ValidityRule(nodata=(math.nan,) * count, has_mask=False),
        scale=Scale(factors=(1.0,) * count, offsets=(0.0,) * count, evidence="spectral basis"),
        warnings=source.place.warnings,
        model=source.tags.get(_MODEL_TAG, ""),
    )
