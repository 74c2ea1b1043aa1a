"""Satellite images in: surface reflectance, quality mask, date, and the evidence for each.

Nothing here knows an image of a camera, or guesses an offset or a date.
"""

from uavssr.io.satellite.dates import acquisition_date, parse_date
from uavssr.io.satellite.image import (
    PSF_SIGMA_CELLS,
    CellGrid,
    CellWindow,
    SatelliteImage,
    mixed_sensor,
)
from uavssr.io.satellite.opened import names_product, open_satellite
from uavssr.io.satellite.request import SatelliteRequest

__all__ = [
    "PSF_SIGMA_CELLS",
    "CellGrid",
    "CellWindow",
    "SatelliteImage",
    "SatelliteRequest",
    "acquisition_date",
    "mixed_sensor",
    "names_product",
    "open_satellite",
    "parse_date",
]
