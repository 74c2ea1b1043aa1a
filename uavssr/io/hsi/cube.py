"""The only way into a hyperspectral raster: `open_cube` checks, `CubeSource.read` reads.

The policy is that of `source`. Must not write anything, or guess wavelengths or scale.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
from rasterio.errors import NotGeoreferencedWarning

from uavssr.errors import InputRefused, UsageError
from uavssr.io.checks import GDAL_ERRORS, CheckedFile, check_path_text, check_raster
from uavssr.io.hsi.coefficient_file import CoefficientSource, coefficients_in
from uavssr.io.hsi.wavelengths import read_grid
from uavssr.io.hsi.zarr_cube import (
    ZarrArray,
    ZarrReader,
    check_cube,
    is_zarr,
    read_georeference,
    read_json,
    read_store_grid,
    store_facts,
)
from uavssr.io.raster import (
    BandMetadata,
    BandReader,
    FileBands,
    Place,
    Quantiles,
    Request,
    Scale,
    ValidityRule,
    make_place,
    parse_scale,
    read_band_metadata,
    read_place,
    read_tags,
    resolve_cube_scale,
)
from uavssr.sensors import BoolArray, Float32Array, WavelengthGrid
from uavssr.tiling import TileGrid, Window

MADE_BY: Final = "uavssr_model"
"""The tag that names the model."""
TILE: Final = 128
"""Side of the windows in which a cube is read from end to end."""
_PLACES: Final = 3
"""The numbers are looked at in up to 3 x 3 windows ..."""
_SIDE: Final = 64
"""... of 64 x 64 pixels, before a scale is settled."""


class NumberReader(Protocol):
    """Gives stored numbers, window by window, from any thread."""

    @property
    def height(self) -> int:
        """Rows of the scene."""

    @property
    def width(self) -> int:
        """Columns of the scene."""

    def read(self, window: Window) -> tuple[npt.NDArray[np.generic], BoolArray]:
        """Numbers (band, y, x), and where masks let them be valid (y, x)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CubeSource:
    """A hyperspectral scene as reflectance by increasing wavelength."""

    path: Path
    """The file as given."""
    grid: WavelengthGrid
    """Its C bands."""
    wavelengths_from: str
    """Where the file states them."""
    place: Place
    """Size, CRS and geotransform."""
    reader: NumberReader
    """Gives the stored numbers."""
    rule: ValidityRule
    """Which of them are valid."""
    scale: Scale
    """What they mean."""
    warnings: tuple[str, ...]
    """What to be wary of."""
    model: str = ""
    """Of uavssr that made it, by name; empty where the file names none."""

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


def open_cube(
    path: str | os.PathLike[str],
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
        max_pixels: the size of a scene that is larger, or a file that is sparser, than is sane.

    Raises:
        UsageError: an option makes no sense.
        InputRefused: the input is unsafe, broken, ambiguous or empty, or lacks wavelengths.
    """
    check_path_text(os.fspath(path))
    if scale is not None:
        parse_scale(scale)
    if is_zarr(Path(path)):
        return _open_store(Path(path), scale, assume_crs, max_pixels)
    checked = check_raster(path, max_pixels=max_pixels)
    coefficients = coefficients_in(checked)
    if coefficients is not None:
        return _expanding(coefficients, scale)
    request = Request(paths=(checked.path,), assume_crs=assume_crs)
    place, facts, tags, grid = _inspect(checked, request)
    reader = _reader(checked, facts, place)
    bands = [fact for fact in facts if fact.colour != "alpha"]
    has_mask = reader.files[0].alpha is not None or reader.files[0].mask is not None
    return _source(reader, bands, tags, place, grid, scale, has_mask=has_mask)


_Named = tuple[WavelengthGrid, str]
"""Wavelengths, and where they were found."""


def _source(
    reader: NumberReader,
    bands: Sequence[BandMetadata],
    tags: Mapping[str, str],
    place: Place,
    grid: _Named,
    scale: float | str | None,
    *,
    has_mask: bool,
) -> CubeSource:
    """A cube whose numbers have been looked at, so that their scale is settled."""
    rule = ValidityRule(nodata=tuple(band.nodata for band in bands), has_mask=has_mask)
    numbers, seen = _look(reader, rule, place.path)
    found = resolve_cube_scale(scale, bands, tags, Quantiles.of(numbers), place.path)
    return CubeSource(
        path=place.path,
        grid=grid[0],
        wavelengths_from=grid[1],
        place=place,
        reader=reader,
        rule=rule,
        scale=found,
        warnings=(*place.warnings, *sorted(seen), *found.warnings),
        model=tags.get(MADE_BY, ""),
    )


def _expanding(source: CoefficientSource, scale: float | str | None) -> CubeSource:
    if scale is not None:
        raise UsageError("coefficients have no scale to be given", path=source.path)
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
        model=source.tags.get(MADE_BY, ""),
    )


def _open_store(
    path: Path, scale: float | str | None, assume_crs: str | None, max_pixels: int | None
) -> CubeSource:
    cube = ZarrArray.of(path, "reflectance")
    check_cube(cube, max_pixels=max_pixels)
    crs, transform = read_georeference(path)
    request = Request(paths=(path,), assume_crs=assume_crs)
    size = cube.shape[1], cube.shape[2]
    place = make_place(path, crs=crs, transform=transform, size=size, request=request)
    grid = read_store_grid(path, count=cube.shape[0])
    bands = store_facts(cube, grid)
    tags = {key.lower(): str(value) for key, value in read_json(path, ".zattrs").items()}
    named = grid, "wavelength coordinate"
    return _source(ZarrReader(array=cube), bands, tags, place, named, scale, has_mask=False)


_Facts = tuple[Place, tuple[BandMetadata, ...], dict[str, str], _Named]


def _inspect(checked: CheckedFile, request: Request) -> _Facts:
    with warnings.catch_warnings():
        # read_place refuses such a file, in a line that says what to do.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with checked.open() as dataset:
            try:
                place = read_place(dataset, checked, request)
                facts = read_band_metadata(dataset, checked)
                indexes = [fact.index for fact in facts if fact.colour != "alpha"]
                tags = read_tags(dataset, checked)
                return place, facts, tags, read_grid(dataset, checked, indexes)
            except (*GDAL_ERRORS, OSError) as err:
                raise InputRefused(f"unreadable metadata: {err}", path=checked.path) from err


def _reader(checked: CheckedFile, facts: tuple[BandMetadata, ...], place: Place) -> BandReader:
    bands = [fact.index for fact in facts if fact.colour != "alpha"]
    alpha = [fact.index for fact in facts if fact.colour == "alpha"]
    masked = [fact.index for fact in facts if fact.masked and fact.colour != "alpha"]
    file = FileBands(
        checked=checked,
        indexes=tuple(bands),
        positions=tuple(range(len(bands))),
        alpha=alpha[0] if alpha else None,
        mask=masked[0] if masked else None,
    )
    return BandReader(files=(file,), height=place.height, width=place.width)


def _look(
    reader: NumberReader, rule: ValidityRule, path: Path
) -> tuple[npt.NDArray[np.generic], set[str]]:
    """Stored numbers (band, n) of valid pixels here and there, and fill values that were met."""
    found, seen = [], set[str]()
    for window in _windows(reader.height, reader.width):
        numbers, valid = reader.read(window)
        seen |= rule.observe(numbers)
        valid &= rule.valid(numbers)
        found.append(numbers[:, valid])
    if any(part.shape[1] for part in found):
        return np.concatenate(found, axis=1), seen
    for tile in TileGrid(height=reader.height, width=reader.width, tile=TILE):
        numbers, valid = reader.read(tile.core)
        valid &= rule.valid(numbers)
        if valid.any():
            return numbers[:, valid][:, : _SIDE * _SIDE], seen
    raise InputRefused(
        f"no valid pixel in {reader.width} x {reader.height} ({rule.describe(alpha=False)})",
        path=path,
        remedy="check the nodata value and the bands",
    )


def _windows(height: int, width: int) -> Iterator[Window]:
    """Windows in the middle of equal parts of the scene; the scene itself where it is small."""
    if max(height, width) <= _SIDE * _PLACES:
        yield Window(0, 0, height, width)
        return
    for i in range(_PLACES):
        for j in range(_PLACES):
            (row, rows), (col, cols) = _span(i, height), _span(j, width)
            yield Window(row, col, rows, cols)


def _span(i: int, length: int) -> tuple[int, int]:
    first, last = i * length // _PLACES, (i + 1) * length // _PLACES
    size = min(_SIDE, max(last - first, 1))
    return min(first + (last - first - size) // 2, length - size), size
