"""What was read from an input, and the evidence for it, as plain values that others print."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

from uavssr.io.raster import BandFacts

JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BandSummary:
    """One band of the sensor, and the stored band it is read from."""

    role: str
    """Name of the sensor's band."""
    file: Path
    """File of the stored band."""
    index: int
    """Number of the stored band in that file, from one."""
    wavelength: float
    """Nominal centre of the sensor's band in nm."""
    fwhm: float
    """Nominal full width at half maximum in nm."""
    evidence: str
    """Reason why this stored band is that band of the sensor."""
    dtype: str
    """Type of the stored numbers."""
    nodata: float | None
    """Nodata tag of the file, in stored numbers."""
    scale: float
    """Factor in reflectance = stored number x scale + offset."""
    offset: float
    """Offset in the same formula, in reflectance."""
    facts: BandFacts
    """Level and range of its reflectance in a sample of the scene."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSummary:
    """One multispectral input: size, place, camera, bands, scale, and warnings."""

    paths: tuple[Path, ...]
    """The files as given."""
    driver: str
    """GDAL driver that reads them."""
    width: int
    """Columns."""
    height: int
    """Rows."""
    crs: str
    """Name of the coordinate reference system, an EPSG code where there is one."""
    gsd: tuple[float, float]
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
    """(c,) bands in the sensor's order."""
    left_out: tuple[str, ...]
    """Stored bands that are not used, each with the reason."""
    scale: float | tuple[float, ...]
    """Reflectance per stored number; (c,) if the bands differ."""
    scale_evidence: str
    """Reason for that scale."""
    mask_evidence: str
    """Rule for invalid pixels."""
    valid_fraction: float
    """Share of valid pixels, 0..1."""
    valid_fraction_sampled: bool
    """Whether that share is an estimate from windows spread over the scene."""
    warnings: tuple[str, ...]
    """Warnings, a sentence each."""

    def to_dict(self) -> dict[str, JsonValue]:
        """The summary as plain values for JSON; NaN and infinity become text."""
        return {key: _plain(value) for key, value in asdict(self).items()}


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
