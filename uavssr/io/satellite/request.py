"""Options of a satellite image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from uavssr.sensors import Sensor


@dataclass(frozen=True, slots=True, kw_only=True)
class SatelliteRequest:
    """A satellite image to open, and what the user says about it."""

    path: Path
    """A .SAFE folder, a folder of Landsat bands, or a GeoTIFF with all bands."""
    sensor: Sensor | None = None
    """`--reference-sensor`: by default the satellite that the product names."""
    bands: Sequence[str] | None = None
    """`--reference-bands`: the role of each band of a GeoTIFF, in file order."""
    scale: float | str | None = None
    """`--reference-scale`: reflectance = number x scale + offset."""
    offset: float | None = None
    """`--reference-offset`: the offset in that formula, in reflectance."""
    acquired: date | None = None
    """`--reference-date`: the day on which it was acquired."""
