"""What was read from an input, and the evidence for it, as plain values that others print."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BandSummary:
    """One band as it is handed to the model."""

    role: str
    """Name in the sensor."""
    file: Path
    """Where it is stored."""
    index: int
    """Its number in that file, from one."""
    wavelength: float
    """Nominal centre of the sensor's band in nm."""
    fwhm: float
    """Nominal full width at half maximum in nm."""
    evidence: str
    """Why this stored band is that band of the sensor."""
    dtype: str
    """Type of the stored numbers."""
    nodata: float | None
    """The file's own nodata value."""
    scale: float
    """Reflectance = stored number x scale + offset."""
    offset: float
    """See `scale`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSummary:
    """One multispectral input: size, place, camera, bands, scale, and what to be wary of."""

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
    """Its full name."""
    sensor_evidence: str
    """Why it is taken to be that camera."""
    bands: tuple[BandSummary, ...]
    """The bands in the sensor's order."""
    left_out: tuple[str, ...]
    """Stored bands that are not used, each with the reason."""
    scale: float | tuple[float, ...]
    """Reflectance per stored number; one per band where they differ."""
    scale_evidence: str
    """Why the numbers mean reflectance in that scale."""
    mask_evidence: str
    """Which pixels are invalid."""
    valid_fraction: float
    """Share of valid pixels, 0..1."""
    valid_fraction_sampled: bool
    """Whether that share is an estimate from windows spread over the scene."""
    warnings: tuple[str, ...]
    """What to be wary of, a sentence each."""

    def to_dict(self) -> dict[str, Json]:
        """The card as plain values for JSON; a number that JSON lacks becomes its name."""
        return {key: _plain(value) for key, value in asdict(self).items()}


def _plain(value: object) -> Json:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, str | int | float):
        return value
    return str(value)
