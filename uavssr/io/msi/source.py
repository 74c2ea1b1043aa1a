"""The only way into a multispectral raster: `open_msi` checks, `MsiSource.read` reads.

Must not write anything, or guess where evidence is missing.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rasterio.errors import NotGeoreferencedWarning

from uavssr.errors import InputRefused, UsageError
from uavssr.io.checks import GDAL_ERRORS, CheckedFile, check_path_text, check_raster
from uavssr.io.msi.band_roles import Assignment, assign_roles
from uavssr.io.msi.camera import FoundSensor, resolve_sensor
from uavssr.io.msi.input_summary import BandSummary, InputSummary
from uavssr.io.msi.sample import ValueSample, sample_values
from uavssr.io.raster import (
    BandMetadata,
    BandReader,
    FileBands,
    Place,
    Quantiles,
    Request,
    Scale,
    ValidityRule,
    check_same_grid,
    parse_scale,
    read_band_metadata,
    read_place,
    read_tags,
    resolve_scale,
)
from uavssr.sensors import BoolArray, Float32Array, Sensor
from uavssr.tiling import Window

AnyPath = str | os.PathLike[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class MsiSource:
    """A multispectral scene as reflectance in its sensor's band order.

    It may be pickled, forked and used by many threads: each opens the files for itself.
    """

    summary: InputSummary
    """What was found, with the evidence."""
    sensor: Sensor
    """The camera."""
    height: int
    """Rows."""
    width: int
    """Columns."""
    crs_wkt: str
    """The coordinate reference system."""
    transform: tuple[float, float, float, float, float, float]
    """Affine a, b, c, d, e, f: x = a col + b row + c, y = d col + e row + f."""
    reader: BandReader
    """Gives the stored numbers."""
    rule: ValidityRule
    """Which of them are valid."""
    scale: Scale
    """What they mean."""

    def read(self, window: Window) -> tuple[Float32Array, BoolArray]:
        """Reflectance (band, y, x), NaN where invalid, and the valid pixels (y, x).

        Raises:
            ValueError: the window reaches outside the scene.
            InputRefused: a block cannot be decoded, or a file changed since it was opened.
        """
        numbers, valid = self.reader.read(window)
        return self.scale.masked(numbers, valid & self.rule.valid(numbers))


def open_msi(
    path: AnyPath | Sequence[AnyPath],
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
        sensor: name of a known camera, a sensor file, or a Sensor; else the file must tell.
        bands: the role of each band in file order; "skip" for those not to be used.
        bidx: numbers from one of the bands to use; without `bands`, in the sensor's order.
        scale: reflectance = stored number x scale; a fraction such as "1/32768" is taken.
        assume_crs: AUTHORITY:CODE for a file without a CRS.
        max_pixels: the size of a scene that is larger, or a file that is sparser, than is sane.

    Raises:
        UsageError: an option makes no sense.
        InputRefused: the input is unsafe, broken, incomplete, ambiguous or empty.
    """
    paths = _paths(path)
    request = Request(
        paths=paths,
        sensor=None if sensor is None else _sensor_name(sensor),
        bands=None if bands is None else tuple(bands),
        bidx=None if bidx is None else tuple(bidx),
        scale=None if scale is None else str(scale),
        assume_crs=assume_crs,
        max_pixels=max_pixels,
        subcommand="reconstruct",
    )
    if scale is not None:
        parse_scale(scale)
    checked = tuple(check_raster(p, max_pixels=max_pixels) for p in paths)
    _check_distinct(checked)
    facts, tags, places = _inspect(checked, request)
    place = places[0]
    found = resolve_sensor(sensor, facts, tags, request)
    roles = assign_roles(facts, found.sensor, request)
    reader = _reader(checked, roles, place)
    rule = ValidityRule(
        nodata=tuple(band.nodata for band in roles.bands),
        has_mask=any(file.alpha or file.mask for file in reader.files),
    )
    sample = sample_values(reader, rule)
    scaled = resolve_scale(
        scale, roles.bands, tags, found.sensor, Quantiles.of(sample.numbers), request
    )
    return MsiSource(
        summary=_summary(checked, places, found, roles, rule, scaled, sample),
        sensor=found.sensor,
        height=place.height,
        width=place.width,
        crs_wkt=place.crs_wkt,
        transform=place.transform,
        reader=reader,
        rule=rule,
        scale=scaled,
    )


def _paths(path: AnyPath | Sequence[AnyPath]) -> tuple[Path, ...]:
    given = [path] if isinstance(path, str | os.PathLike) else list(path)
    if not given:
        raise UsageError("no input file")
    texts = [os.fspath(p) for p in given]
    for text in texts:
        check_path_text(text)
    return tuple(Path(text) for text in texts)


def _check_distinct(checked: Sequence[CheckedFile]) -> None:
    """Refuse one file under two names, links included: it would serve as two bands."""
    seen: dict[tuple[int, ...], Path] = {}
    for file in checked:
        first = seen.setdefault(file.identity[:2], file.path)
        if first is not file.path:
            raise InputRefused(
                f"is given twice: it is the same file as {first}",
                path=file.path,
                remedy="give each band's file once",
            )


def _sensor_name(sensor: str | Path | Sensor) -> str:
    return sensor.name if isinstance(sensor, Sensor) else str(sensor)


def _inspect(
    checked: Sequence[CheckedFile], request: Request
) -> tuple[tuple[BandMetadata, ...], dict[str, str], list[Place]]:
    """The facts of every file, once each is known to lie on the same grid."""
    facts: list[BandMetadata] = []
    tags: dict[str, str] = {}
    places = []
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        # read_place refuses such a file, in a line that says what to do.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        for file in checked:
            dataset = stack.enter_context(file.open())
            try:
                places.append(read_place(dataset, file, request))
                facts += read_band_metadata(dataset, file)
                tags |= read_tags(dataset, file)
            except GDAL_ERRORS as err:
                raise InputRefused(f"unreadable metadata: {err}", path=file.path) from err
    if len(checked) > 1:
        check_same_grid(places, facts)
    return tuple(facts), tags, places


def _reader(checked: Sequence[CheckedFile], roles: Assignment, place: Place) -> BandReader:
    files = []
    for file in checked:
        mine = [(i, band) for i, band in enumerate(roles.bands) if band.file == file.path]
        if not mine:
            continue
        alpha = [band.index for band in roles.alphas if band.file == file.path]
        masked = [band.index for _, band in mine if band.masked]
        files.append(
            FileBands(
                checked=file,
                indexes=tuple(band.index for _, band in mine),
                positions=tuple(i for i, _ in mine),
                alpha=alpha[0] if alpha else None,
                mask=masked[0] if masked else None,
            )
        )
    return BandReader(files=tuple(files), height=place.height, width=place.width)


def _summary(
    checked: Sequence[CheckedFile],
    places: Sequence[Place],
    found: FoundSensor,
    roles: Assignment,
    rule: ValidityRule,
    scale: Scale,
    sample: ValueSample,
) -> InputSummary:
    place = places[0]
    doubts = [warning for each in places for warning in each.warnings]
    doubts += [*found.warnings, *roles.warnings, *sample.warnings, *scale.warnings]
    return InputSummary(
        paths=tuple(file.path for file in checked),
        driver=checked[0].driver,
        width=place.width,
        height=place.height,
        crs=place.crs_name,
        gsd=place.gsd,
        gsd_unit=place.unit,
        sensor=found.sensor.name,
        sensor_title=found.sensor.title,
        sensor_evidence=found.evidence,
        bands=_band_summaries(found.sensor, roles, scale),
        left_out=roles.left_out,
        scale=scale.factors[0] if len(set(scale.factors)) == 1 else scale.factors,
        scale_evidence=scale.evidence,
        mask_evidence=rule.describe(alpha=bool(roles.alphas)),
        valid_fraction=sample.valid_fraction,
        valid_fraction_sampled=sample.partial,
        warnings=tuple(dict.fromkeys(doubts)),
    )


def _band_summaries(sensor: Sensor, roles: Assignment, scale: Scale) -> tuple[BandSummary, ...]:
    return tuple(
        BandSummary(
            role=band.role,
            file=fact.file,
            index=fact.index,
            wavelength=band.centre,
            fwhm=band.fwhm,
            evidence=evidence,
            dtype=fact.dtype,
            nodata=fact.nodata,
            scale=factor,
            offset=offset,
        )
        for band, fact, evidence, factor, offset in zip(
            sensor.bands, roles.bands, roles.evidence, scale.factors, scale.offsets, strict=True
        )
    )
