"""The sensor of a satellite image: as given, and as the product names it."""

from __future__ import annotations

import re
from typing import Final

from uavssr.errors import InputRefused, UsageError
from uavssr.io.satellite.request import SatelliteRequest
from uavssr.sensors import SATELLITES, Sensor, load_satellite

_OPTION: Final = "--reference-sensor"


def chosen_sensor(request: SatelliteRequest, spacecraft: str) -> Sensor:
    """The satellite of a product whose metadata name it, such as Sentinel-2A or LANDSAT_8.

    Raises:
        UsageError: scale, offset, bands or date are given, which the metadata state.
        InputRefused: the user names another one, or curves for it are not built in.
    """
    options = {
        "--reference-scale": request.scale,
        "--reference-offset": request.offset,
        "--reference-bands": request.bands,
        "--reference-date": request.acquired,
    }
    for option, value in options.items():
        if value is not None:
            fact = f"{option} has no effect: the metadata of {request.path.name} state it"
            raise UsageError(fact, remedy="leave it out")
    named = re.sub(r"[^a-z0-9]", "", spacecraft.lower())
    if request.sensor is not None:
        if named in SATELLITES and request.sensor.name in SATELLITES:
            check_same(request, named)
        return request.sensor
    if named in SATELLITES:
        return load_satellite(named)
    raise InputRefused(
        f"is of {spacecraft or 'an unknown satellite'}, whose response curves are not built in",
        path=request.path,
        remedy=f"give them with {_OPTION} FILE.csv, a sensor file with the roles b2, b3, ...",
    )


def check_same(request: SatelliteRequest, named: str) -> None:
    """Refuse a built-in satellite that is not the one that the product names."""
    if request.sensor is not None and request.sensor.name != named:
        raise InputRefused(
            f"is of {named}, not of {request.sensor.name}",
            path=request.path,
            remedy=f"give {_OPTION} {named}",
        )
