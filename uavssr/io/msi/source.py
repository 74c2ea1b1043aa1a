"""Multispectral images: `open_msi` checks one and `MsiSource` reads it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from uavssr.errors import InputRefused, UsageError
from uavssr.io.checks import CheckedFile, PathLike, check_path_text, check_raster
from uavssr.io.msi.band_roles import BandAssignment, assign_roles
from uavssr.io.msi.camera import CameraMatch, resolve_camera
from uavssr.io.msi.input_summary import BandSummary, InputSummary
from uavssr.io.msi.request import Request
from uavssr.io.msi.scale_conventions import conventional_scale
from uavssr.io.raster import (
    BandMetadata,
    BandReader,
    FileBands,
    Place,
    Scale,
    ScaleEvidence,
    Transform,
    ValidityRule,
    ValueSample,
    band_facts,
    check_same_grid,
    opened_metadata,
    parse_scale,
    read_band_metadata,
    read_place,
    read_tags,
    sample_values,
)
from uavssr.sensors import BoolArray, Float32Array, Sensor
from uavssr.tiling import Window

_MAX_WHOLE: Final = 2_000_000
"""Pixels of a scene up to which all of it is sampled."""
_SAMPLE_WINDOWS: Final = 8
"""Windows along each axis of a larger scene, so that the cost does not grow with it."""
_SAMPLE_SIDE: Final = 128
"""Rows and columns of those windows."""
_SEARCH_SIDE: Final = 1024
"""Rows and columns of the tiles of the search for a valid pixel, if the sample held none."""


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
    request = Request(
        paths=_paths(path),
        sensor=sensor,
        bands=bands,
        bidx=bidx,
        scale=scale,
        assume_crs=assume_crs,
        max_pixels=max_pixels,
    )
    if scale is not None:
        parse_scale(scale)
    return _open(request)


def _open(request: Request) -> MsiSource:
    files = _inspect(request)
    camera = resolve_camera(files.bands, files.tags, request)
    assignment = assign_roles(files.bands, camera.sensor, request)
    reader = _reader(files, assignment)
    rule = ValidityRule(
        nodata=tuple(band.nodata for band in assignment.bands),
        has_mask=any(file.alpha or file.mask for file in reader.files),
    )
    sample = _sample(reader, rule, request)
    scale = _scale(sample, files, assignment, camera.sensor, request)
    place = files.places[0]
    return MsiSource(
        summary=_summary(files, camera, assignment, rule, scale, sample),
        sensor=camera.sensor,
        height=place.height,
        width=place.width,
        crs_wkt=place.crs_wkt,
        transform=place.transform,
        reader=reader,
        rule=rule,
        scale=scale,
    )


def _paths(path: PathLike | Sequence[PathLike]) -> tuple[Path, ...]:
    paths = [path] if isinstance(path, str | os.PathLike) else path
    texts = [os.fspath(p) for p in paths]
    if not texts:
        raise UsageError("no input file")
    for text in texts:
        check_path_text(text)
    return tuple(map(Path, texts))


class _Files(NamedTuple):
    """The files of one input, which lie on the same grid, and their metadata."""

    checked: list[CheckedFile]
    places: list[Place]
    bands: list[BandMetadata]
    tags: dict[str, str]
    """Tags of all files, with keys in lower case."""


def _inspect(request: Request) -> _Files:
    """Check the files and read their metadata."""
    checked = [check_raster(path, max_pixels=request.max_pixels) for path in request.paths]
    _check_distinct(checked)
    files = _Files(checked, [], [], {})
    command = replace(request, assume_crs="EPSG:CODE").command()
    crs_remedy = f"give the true one, as in: {command}"
    for file in checked:
        with opened_metadata(file) as dataset:
            place = read_place(dataset, file, assume_crs=request.assume_crs, crs_remedy=crs_remedy)
            files.places.append(place)
            files.bands.extend(read_band_metadata(dataset, file))
            files.tags.update(read_tags(dataset, file))
    if len(checked) > 1:
        check_same_grid(files.places, files.bands)
    return files


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
        bands = {i: b for i, b in enumerate(assignment.bands) if b.file == checked.path}
        alphas = (band.index for band in assignment.alphas if band.file == checked.path)
        if bands:
            of_file = FileBands(
                checked=checked,
                indexes=tuple(band.index for band in bands.values()),
                positions=tuple(bands),
                alpha=next(alphas, None),
                mask=next((band.index for band in bands.values() if band.masked), None),
            )
            file_bands.append(of_file)
    place = files.places[0]
    return BandReader(files=tuple(file_bands), height=place.height, width=place.width)


def _sample(reader: BandReader, rule: ValidityRule, request: Request) -> ValueSample:
    height, width = reader.height, reader.width
    count, side = 1, max(height, width)
    if height * width > _MAX_WHOLE:
        count, side = _SAMPLE_WINDOWS, _SAMPLE_SIDE
    path = request.paths[0]
    return sample_values(reader, rule, path, count=count, side=side, search=_SEARCH_SIDE)


def _scale(
    sample: ValueSample, files: _Files, assignment: BandAssignment, sensor: Sensor, request: Request
) -> Scale:
    evidence = ScaleEvidence(
        bands=assignment.bands,
        tags=files.tags,
        facts=band_facts(sample.numbers),
        path=request.paths[0],
    )
    return evidence.resolve(
        request.scale,
        convention=conventional_scale(evidence, sensor),
        remedy=lambda text: f"give the true one, as in: {replace(request, scale=text).command()}",
    )


def _summary(
    files: _Files,
    camera: CameraMatch,
    assignment: BandAssignment,
    rule: ValidityRule,
    scale: Scale,
    sample: ValueSample,
) -> InputSummary:
    warnings = [warning for place in files.places for warning in place.warnings]
    for part in (camera, assignment, sample, scale):
        warnings += part.warnings
    place, factors = files.places[0], scale.factors
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
        bands=_band_summaries(camera.sensor, assignment, scale, sample),
        left_out=assignment.left_out,
        scale=factors[0] if len(set(factors)) == 1 else factors,
        scale_evidence=scale.evidence,
        mask_evidence=rule.describe(alpha=bool(assignment.alphas)),
        valid_fraction=sample.valid_fraction,
        valid_fraction_sampled=sample.partial,
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _band_summaries(
    sensor: Sensor, assignment: BandAssignment, scale: Scale, sample: ValueSample
) -> tuple[BandSummary, ...]:
    columns = (sensor.bands, assignment.bands, assignment.evidence, scale.factors, scale.offsets)
    facts = band_facts(sample.numbers, scale.factors, scale.offsets)
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
            facts=reflectance,
        )
        for band, stored, evidence, factor, offset, reflectance in zip(*columns, facts, strict=True)
    )
