"""Multispectral images: `open_msi` checks one and `MsiSource` reads it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rasterio.errors import NotGeoreferencedWarning

from uavssr.errors import InputRefused, UsageError
from uavssr.io.checks import GDAL_ERRORS, CheckedFile, PathLike, check_path_text, check_raster
from uavssr.io.msi.band_roles import BandAssignment, assign_roles
from uavssr.io.msi.camera import CameraMatch, resolve_camera
from uavssr.io.msi.input_summary import BandSummary, InputSummary
from uavssr.io.msi.msi_scale import resolve_scale
from uavssr.io.msi.sample import ValueSample, sample_values
from uavssr.io.raster import (
    BandMetadata,
    BandReader,
    FileBands,
    Place,
    Quantiles,
    Request,
    Scale,
    ScaleEvidence,
    Transform,
    ValidityRule,
    check_same_grid,
    parse_scale,
    read_band_metadata,
    read_place,
    read_tags,
)
from uavssr.sensors import BoolArray, Float32Array, Sensor
from uavssr.tiling import Window


@dataclass(frozen=True, slots=True, kw_only=True)
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
        numbers, valid = self.reader.read(window)
        return self.scale.masked(numbers, valid & self.rule.valid(numbers))


def open_msi(
    path: PathLike | Sequence[PathLike],
    *,
    sensor: str | Path | Sensor | None = None,
    bands: Sequence[str] | None = None,
    bidx: Sequence[int] | None = None,
    scale: float | str | None = None,
    assume_crs: str | None = None,
    max_pixels: int | None = None,
) -> MsiSource:
    """Open a multispectral raster, or a set of single-band rasters on one grid.

    Args:
        path: a GeoTIFF or ENVI file, or a sequence of them.
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
    """
    name = sensor.name if isinstance(sensor, Sensor) else sensor
    request = Request(
        paths=_paths(path),
        sensor=None if name is None else str(name),
        bands=None if bands is None else tuple(bands),
        bidx=None if bidx is None else tuple(bidx),
        scale=None if scale is None else str(scale),
        assume_crs=assume_crs,
        max_pixels=max_pixels,
        subcommand="reconstruct",
    )
    if scale is not None:
        parse_scale(scale)
    files = _inspect(request)
    camera = resolve_camera(sensor, files.bands, files.tags, request)
    assignment = assign_roles(files.bands, camera.sensor, request)
    reader = _reader(files, assignment)
    rule = ValidityRule(
        nodata=tuple(band.nodata for band in assignment.bands),
        has_mask=any(file.alpha or file.mask for file in reader.files),
    )
    sample = sample_values(reader, rule)
    evidence = ScaleEvidence(
        bands=assignment.bands,
        tags=files.tags,
        quantiles=Quantiles.of(sample.numbers),
        path=request.paths[0],
    )
    found_scale = resolve_scale(scale, evidence, camera.sensor, request)
    return MsiSource(
        summary=_summary(files, camera, assignment, rule, found_scale, sample),
        sensor=camera.sensor,
        height=files.place.height,
        width=files.place.width,
        crs_wkt=files.place.crs_wkt,
        transform=files.place.transform,
        reader=reader,
        rule=rule,
        scale=found_scale,
    )


def _paths(path: PathLike | Sequence[PathLike]) -> tuple[Path, ...]:
    paths = [path] if isinstance(path, str | os.PathLike) else list(path)
    if not paths:
        raise UsageError("no input file")
    texts = [os.fspath(p) for p in paths]
    for text in texts:
        check_path_text(text)
    return tuple(Path(text) for text in texts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    """The files of one input, which lie on the same grid, and their metadata."""

    checked: tuple[CheckedFile, ...]
    """The files."""
    place: Place
    """Place of the first file."""
    bands: tuple[BandMetadata, ...]
    """Bands of all files."""
    tags: Mapping[str, str]
    """Tags of all files, with keys in lower case."""
    warnings: tuple[str, ...]
    """Warnings about their places, a sentence each."""


def _inspect(request: Request) -> _Files:
    """Check the files and read their metadata."""
    checked = tuple(check_raster(p, max_pixels=request.max_pixels) for p in request.paths)
    _check_distinct(checked)
    places, bands, tags = [], list[BandMetadata](), dict[str, str]()
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        # read_place refuses a file without georeference in an error that names the remedy.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        for file in checked:
            dataset = stack.enter_context(file.open())
            try:
                places.append(read_place(dataset, file, request))
                bands += read_band_metadata(dataset, file)
                tags |= read_tags(dataset, file)
            except GDAL_ERRORS as err:
                raise InputRefused(f"unreadable metadata: {err}", path=file.path) from err
    if len(checked) > 1:
        check_same_grid(places, bands)
    return _Files(
        checked=checked,
        place=places[0],
        bands=tuple(bands),
        tags=tags,
        warnings=tuple(warning for place in places for warning in place.warnings),
    )


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


def _reader(files: _Files, assignment: BandAssignment) -> BandReader:
    file_bands = []
    for checked in files.checked:
        bands = [(i, b) for i, b in enumerate(assignment.bands) if b.file == checked.path]
        if bands:
            alphas = [band for band in assignment.alphas if band.file == checked.path]
            file_bands.append(FileBands.of(checked, bands, alphas))
    place = files.place
    return BandReader(files=tuple(file_bands), height=place.height, width=place.width)


def _summary(
    files: _Files,
    camera: CameraMatch,
    assignment: BandAssignment,
    rule: ValidityRule,
    scale: Scale,
    sample: ValueSample,
) -> InputSummary:
    parts = (files, camera, assignment, sample, scale)
    place, factors = files.place, scale.factors
    return InputSummary(
        paths=tuple(file.path for file in files.checked),
        driver=files.checked[0].driver,
        width=place.width,
        height=place.height,
        crs=place.crs_name,
        gsd=place.gsd,
        gsd_unit=place.unit,
        sensor=camera.sensor.name,
        sensor_title=camera.sensor.title,
        sensor_evidence=camera.evidence,
        bands=_band_summaries(camera.sensor, assignment, scale),
        left_out=assignment.left_out,
        scale=factors[0] if len(set(factors)) == 1 else factors,
        scale_evidence=scale.evidence,
        mask_evidence=rule.describe(alpha=bool(assignment.alphas)),
        valid_fraction=sample.valid_fraction,
        valid_fraction_sampled=sample.partial,
        warnings=tuple(dict.fromkeys(warning for part in parts for warning in part.warnings)),
    )


def _band_summaries(
    sensor: Sensor, assignment: BandAssignment, scale: Scale
) -> tuple[BandSummary, ...]:
    columns = (sensor.bands, assignment.bands, assignment.evidence, scale.factors, scale.offsets)
    return tuple(
        BandSummary(
            role=band.role,
            file=stored.file,
            index=stored.index,
            wavelength=band.centre,
            fwhm=band.fwhm,
            evidence=evidence,
            dtype=stored.dtype,
            nodata=stored.nodata,
            scale=factor,
            offset=offset,
        )
        for band, stored, evidence, factor, offset in zip(*columns, strict=True)
    )
