"""Multispectral images: `open_msi` checks one and `MsiSource` reads it."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeGuard

from rasterio.errors import NotGeoreferencedWarning

from uavssr.errors import InputRefused, UsageError
from uavssr.io.checks import CheckedFile, PathLike, check_path_text, check_raster
from uavssr.io.msi.band_checks import check_bands
from uavssr.io.msi.band_roles import MAX_LISTED, BandAssignment, assign_roles, unassigned
from uavssr.io.msi.camera import resolve_camera
from uavssr.io.msi.examined import Examined, InputFiles
from uavssr.io.msi.input_summary import InputSummary, summarize
from uavssr.io.msi.problems import Problems
from uavssr.io.msi.request import Request
from uavssr.io.msi.scale_conventions import conventional_scale, is_micasense
from uavssr.io.raster import (
    BandReader,
    FileBands,
    Scale,
    ScaleEvidence,
    Transform,
    ValidityRule,
    ValueSample,
    band_facts,
    check_same_grid,
    judge_sample,
    opened_metadata,
    parse_scale,
    read_band_metadata,
    read_pixels,
    read_place,
    read_tags,
    sample_values,
)
from uavssr.sensors import BoolArray, Float32Array, Sensor
from uavssr.tiling import Window

if TYPE_CHECKING:
    import xarray as xr

_MAX_WHOLE: Final = 2_000_000
"""Pixels of a scene up to which all of it is sampled."""
_SAMPLE_WINDOWS: Final = 8
"""Windows along each axis of a larger scene, so that the cost does not grow with it."""
_SAMPLE_SIDE: Final = 128
"""Rows and columns of those windows."""
_SEARCH_SIDE: Final = 1024
"""Rows and columns of the tiles of the search for a valid pixel, if the sample held none."""


@dataclass(frozen=True, slots=True, kw_only=True, weakref_slot=True)
class MsiSource:
    """A multispectral scene as reflectance, bands in the order of its sensor.

    It may be pickled, forked and used by many threads: each opens the files for itself.
    """

    summary: InputSummary
    """What was read from the files, and the evidence for it."""
    sensor: Sensor
    """The camera, c bands."""
    height: int
    """Rows."""
    width: int
    """Columns."""
    crs_wkt: str
    """Coordinate reference system as WKT."""
    transform: Transform
    """Affine (a, b, c, d, e, f): x = a col + b row + c, y = d col + e row + f."""
    reader: BandReader
    """Reads stored numbers (c, y, x)."""
    rule: ValidityRule
    """Tells which stored numbers are valid."""
    scale: Scale
    """From stored numbers to reflectance."""

    def read(self, window: Window) -> tuple[Float32Array, BoolArray]:
        """Reflectance (c, y, x), NaN where invalid, and the valid pixels (y, x).

        Raises:
            ValueError: the window reaches outside the scene.
            InputRefused: a block cannot be decoded, or a file changed since it was opened.
        """
        pixels = read_pixels(self.reader, self.rule, self.scale, window)
        return pixels.reflectance, pixels.valid


def open_msi(
    path: PathLike | Sequence[PathLike] | xr.DataArray | xr.Dataset,
    *,
    sensor: str | Path | Sensor | None = None,
    bands: Sequence[str] | None = None,
    bidx: Sequence[int] | None = None,
    scale: float | str | None = None,
    assume_crs: str | None = None,
    max_pixels: int | None = None,
) -> MsiSource:
    """Open a multispectral raster, a set of single-band rasters on one grid, or an array.

    Args:
        path: a GeoTIFF or ENVI file, a sequence of them, or an array (band, y, x) of xarray with
            a CRS; see `open_image_array`.
        sensor: name of a known camera, a sensor file, or a Sensor; by default the camera is found
            by tags of the file.
        bands: role of each band in file order, "skip" for a band that is not used; by default the
            roles are found by descriptions, colours, wavelength tags and file names.
        bidx: numbers from one of the bands to use; without `bands`, in the order of the sensor.
        scale: reflectance = stored number x scale; also a fraction such as "1/32768".
        assume_crs: AUTHORITY:CODE for a file without a CRS.
        max_pixels: limit for rows x columns; also allows a file that is mostly sparse.

    Raises:
        UsageError: an option makes no sense.
        InputRefused: the input is unsafe, broken, incomplete, ambiguous or empty.

    Examples:
        >>> import uavssr
        >>> image = uavssr.open_msi("examples/field.tif")
        >>> image.sensor.name, image.sensor.roles
        ('p4m', ('blue', 'green', 'red', 'rededge', 'nir'))
        >>> image.height, image.width
        (420, 480)
    """
    request = Request(
        paths=() if is_array(path) else _paths(path),
        sensor=sensor,
        bands=bands,
        bidx=bidx,
        scale=scale,
        assume_crs=assume_crs,
        max_pixels=max_pixels,
    )
    if not is_array(path):
        return open_request(request)
    from uavssr.io.msi.array_image import open_image_array  # which imports this module

    return open_image_array(path, request)


def open_request(request: Request) -> MsiSource:
    """Open the input of `request`; see `open_msi`.

    Raises:
        UsageError: an option makes no sense.
        InputRefused: the input is unsafe, broken, incomplete, ambiguous or empty.
    """
    examined = _examine(request)
    if examined.problems.refusals or examined.camera is None or examined.scale is None:
        raise examined.problems.refusal()
    place = examined.files.places[0]
    return MsiSource(
        summary=summarize(examined),
        sensor=examined.camera.sensor,
        height=place.height,
        width=place.width,
        crs_wkt=place.crs_wkt,
        transform=place.transform,
        reader=examined.reader,
        rule=examined.rule,
        scale=examined.scale,
    )


def inspect_msi(request: Request) -> InputSummary:
    """What there is to know of an input, with all of its problems.

    Raises:
        UsageError: an option makes no sense.
        InputRefused: none of its files can be read.
    """
    return summarize(_examine(request))


def _examine(request: Request) -> Examined:
    """Do all checks, each as far as the ones before it allow."""
    if request.scale is not None:
        parse_scale(request.scale)
    problems = Problems(request=request)
    files = _inspect(request, problems)
    # The roles of an incomplete set would only be found incomplete again.
    judged = problems if len(files.checked) == len(request.paths) else Problems(request=request)
    camera = judged.attempt(resolve_camera, files.bands, files.tags, request)
    sensor, assigned = None, None
    if camera is not None:
        sensor = camera.sensor
        assigned = judged.attempt(assign_roles, files.bands, sensor, request)
    assignment = assigned or unassigned(files.bands, sensor)
    reader = _reader(files, assignment)
    rule = ValidityRule(
        nodata=tuple(band.nodata for band in assignment.bands),
        has_mask=any(file.alphas or file.mask for file in reader.files),
    )
    sample, scale = None, None
    if assigned or 0 < len(assignment.bands) <= MAX_LISTED:
        sample = problems.attempt(_sample, reader, rule, request)
    if sample is not None:
        scale = problems.attempt(_scale, sample, files, assignment, sensor, request)
    final = problems.attempt(judge_sample, sample, scale) if sample and scale else None
    rule = final.rule if final else rule
    examined = Examined(files, camera, assignment, reader, rule, final or sample, scale, problems)
    if scale is None or final is None:
        return examined
    facts = band_facts(final.numbers, scale.factors, scale.offsets)
    odd = problems.attempt(check_bands, assignment, facts) if assigned else None
    return examined._replace(facts=facts, band_warnings=odd or ())


def is_array(image: object) -> TypeGuard[xr.DataArray | xr.Dataset]:
    """Whether it is an array or a dataset of xarray, which is not loaded to tell."""
    loaded = sys.modules.get("xarray")
    return loaded is not None and isinstance(image, loaded.DataArray | loaded.Dataset)


def _paths(path: PathLike | Sequence[PathLike]) -> tuple[Path, ...]:
    paths = [path] if isinstance(path, str | os.PathLike) else path
    texts = [os.fspath(p) for p in paths]
    if not texts:
        raise UsageError("no input file")
    for text in texts:
        check_path_text(text)
    return tuple(map(Path, texts))


def _inspect(request: Request, problems: Problems) -> InputFiles:
    """Check the files and read their metadata; of files that differ in size, one size is kept."""
    check = partial(check_raster, max_pixels=request.max_pixels)
    attempts = [problems.attempt(check, path) for path in request.paths]
    checked = [file for file in attempts if file is not None]
    problems.attempt(_check_distinct, checked)
    checked = list({file.identity[:2]: file for file in reversed(checked)}.values())[::-1]
    files = InputFiles([], [], [], {})
    for file in checked:
        problems.attempt(_read_metadata, file, files, request, problems)
    if not files.checked:
        raise problems.refusal()
    if len(files.checked) > 1:
        problems.attempt(check_same_grid, files.places, files.bands)
    sizes = [(file.layout.height, file.layout.width) for file in files.checked]
    usual = max(sizes, key=sizes.count)
    usual_files = [file for file, size in zip(files.checked, sizes, strict=True) if size == usual]
    bands = [band for band in files.bands if band.file in {file.path for file in usual_files}]
    return files._replace(checked=usual_files, bands=bands)


def _read_metadata(
    file: CheckedFile, files: InputFiles, request: Request, problems: Problems
) -> None:
    """Add a file with its metadata to `files`."""
    with opened_metadata(file) as dataset:
        bands, tags = read_band_metadata(dataset, file), read_tags(dataset, file)
        place = problems.attempt(
            read_place,
            dataset,
            file,
            assume_crs=request.assume_crs,
            crs_remedy="give the true one with --assume-crs",
        )
    files.checked.append(file)
    files.bands.extend(bands)
    files.tags[file.path] = tags
    files.places.extend([place] if place is not None else [])


def _check_distinct(checked: Sequence[CheckedFile]) -> None:
    """Refuse one file under two names, links included: it would serve as two bands."""
    paths: dict[tuple[int, ...], Path] = {}
    for file in checked:
        first = paths.setdefault(file.identity[:2], file.path)
        if first is not file.path:
            raise InputRefused(
                f"is given twice: it is the same file as {first}",
                path=file.path,
                remedy="give each band's file once",
            )


def _reader(files: InputFiles, assignment: BandAssignment) -> BandReader:
    file_bands = []
    for checked in files.checked:
        bands = {i: b for i, b in enumerate(assignment.bands) if b.file == checked.path}
        alphas = [band.index for band in assignment.alphas if band.file == checked.path]
        if bands or alphas:
            of_file = FileBands(
                checked=checked,
                indexes=tuple(band.index for band in bands.values()),
                positions=tuple(bands),
                alphas=tuple(alphas),
                mask=next((band.index for band in bands.values() if band.masked), None),
            )
            file_bands.append(of_file)
    layout = files.checked[0].layout
    return BandReader(files=tuple(file_bands), height=layout.height, width=layout.width)


def _sample(reader: BandReader, rule: ValidityRule, request: Request) -> ValueSample:
    height, width = reader.height, reader.width
    count, side = 1, max(height, width)
    if height * width > _MAX_WHOLE:
        count, side = _SAMPLE_WINDOWS, _SAMPLE_SIDE
    path = request.paths[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a problem says so already
        return sample_values(reader, rule, path, count=count, side=side, search=_SEARCH_SIDE)


def _scale(
    sample: ValueSample,
    files: InputFiles,
    assignment: BandAssignment,
    sensor: Sensor | None,
    request: Request,
) -> Scale:
    used = {band.file for band in assignment.bands}
    evidence = ScaleEvidence(
        bands=assignment.bands,
        tags={path: tags for path, tags in files.tags.items() if path in used},
        facts=band_facts(sample.numbers),
        path=request.paths[0],
        each_band=all(assignment.roles),
    )
    return evidence.resolve(
        request.scale,
        convention=conventional_scale(evidence, sensor),
        remedy="give the true one with --scale",
        unlikely="0.0001" if is_micasense(sensor) else "",
    )
