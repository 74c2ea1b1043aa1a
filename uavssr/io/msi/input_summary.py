"""What was read from an input, and the evidence for it, as plain values that others print."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from uavssr.errors import InputRefused
from uavssr.io.msi.examined import Examined
from uavssr.io.raster import BandFacts, band_facts

JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BandSummary:
    """One band of the sensor, and the stored band it is read from."""

    role: str
    """Name of the sensor's band, empty if unknown."""
    file: Path
    """File of the stored band."""
    index: int
    """Number of the stored band in that file, from one."""
    wavelength: float | None
    """Nominal centre of the sensor's band in nm, None if the role is unknown."""
    fwhm: float | None
    """Nominal full width at half maximum in nm."""
    evidence: str
    """Reason why this stored band is that band of the sensor."""
    dtype: str
    """Type of the stored numbers."""
    nodata: float | None
    """Nodata tag of the file, in stored numbers."""
    scale: float | None
    """Factor in reflectance = stored number x scale + offset, None if unknown."""
    offset: float | None
    """Offset in the same formula, in reflectance."""
    facts: BandFacts | None
    """Level and range in a sample: of reflectance, or of stored numbers if the scale is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSummary:
    """One multispectral input: size, place, camera, bands, scale, warnings and problems.

    Texts are empty where something is unknown; then a problem says so.
    """

    paths: tuple[Path, ...]
    """The files that can be read, as given."""
    driver: str
    """GDAL driver that reads them."""
    width: int
    """Columns."""
    height: int
    """Rows."""
    crs: str
    """Name of the coordinate reference system, an EPSG code where there is one."""
    gsd: tuple[float, float] | None
    """Ground sampling distance along a row and down a column, in `gsd_unit`."""
    gsd_unit: str
    """Unit of the CRS: metre, degree ..."""
    sensor: str
    """Name of the camera."""
    sensor_title: str
    """Full name of the camera."""
    sensor_evidence: str
    """Reason why it is that camera."""
    bands: tuple[BandSummary, ...]
    """(c,) bands in the sensor's order, or in file order if a role is unknown."""
    left_out: tuple[str, ...]
    """Stored bands that are not used, each with the reason."""
    scale: float | tuple[float, ...] | None
    """Reflectance per stored number; (c,) if the bands differ."""
    scale_evidence: str
    """Reason for that scale."""
    mask_evidence: str
    """Rule for invalid pixels."""
    valid_fraction: float | None
    """Share of valid pixels, 0..1."""
    valid_fraction_sampled: bool
    """Whether that share is an estimate from windows spread over the scene."""
    warnings: tuple[str, ...]
    """Warnings, a sentence each."""
    problems: tuple[InputRefused, ...] = ()
    """Reasons why the input is refused."""
    command: str = ""
    """The command that reconstructs the input, with words in capitals for what only the user knows.

    Empty if options cannot solve a problem.
    """

    def to_dict(self) -> dict[str, JsonValue]:
        """The summary as plain values for JSON; NaN and infinity become text."""
        values = {key: _plain(value) for key, value in asdict(replace(self, problems=())).items()}
        values["problems"] = [
            {
                "path": str(problem.path),
                "fact": problem.fact,
                "remedy": problem.remedy,
                "exit_code": problem.exit_code,
            }
            for problem in self.problems
        ]
        return values


def summarize(examined: Examined) -> InputSummary:
    """The summary of an input, with or without problems."""
    files, camera, scale, sample = examined.files, examined.camera, examined.scale, examined.sample
    place = files.places[0] if files.places else None
    parts = (*files.places, camera, examined.assignment, sample, scale)
    warnings = [warning for part in parts if part is not None for warning in part.warnings]
    warnings += examined.band_warnings
    factors = None if scale is None else scale.factors
    return InputSummary(
        paths=tuple(file.path for file in files.checked),
        driver=files.checked[0].driver,
        width=examined.reader.width,
        height=examined.reader.height,
        crs="" if place is None else place.crs_name,
        gsd=None if place is None else place.gsd,
        gsd_unit="" if place is None else place.unit,
        sensor="" if camera is None else camera.sensor.name,
        sensor_title="" if camera is None else camera.sensor.title,
        sensor_evidence="" if camera is None else camera.evidence,
        bands=tuple(_band_summaries(examined)),
        left_out=examined.assignment.left_out,
        scale=factors[0] if factors and len(set(factors)) == 1 else factors,
        scale_evidence="" if scale is None else scale.evidence,
        mask_evidence=examined.rule.describe(alpha=bool(examined.assignment.alphas)),
        valid_fraction=None if sample is None else sample.valid_fraction,
        valid_fraction_sampled=sample is not None and sample.partial,
        warnings=tuple(dict.fromkeys(warnings)),
        problems=tuple(examined.problems.refusals),
        command=examined.problems.command,
    )


def _band_summaries(examined: Examined) -> Iterator[BandSummary]:
    assignment, camera, scale = examined.assignment, examined.camera, examined.scale
    nominal = {band.role: band for band in camera.sensor.bands} if camera else {}
    facts = examined.facts
    if examined.sample is not None and not facts:
        facts = band_facts(examined.sample.numbers)
    for i, (role, stored) in enumerate(zip(assignment.roles, assignment.bands, strict=True)):
        band = nominal.get(role)
        yield BandSummary(
            role=role,
            file=stored.file,
            index=stored.index,
            wavelength=None if band is None else band.centre,
            fwhm=None if band is None else band.fwhm,
            evidence=assignment.evidence[i],
            dtype=stored.dtype,
            nodata=stored.nodata,
            scale=None if scale is None else scale.factors[i],
            offset=None if scale is None else scale.offsets[i],
            facts=facts[i] if facts else None,
        )


def _plain(value: object) -> JsonValue:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, str | int | float):
        return value
    return str(value)
