"""Satellite images as references of `estimate-stf`: their options, and what is printed of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from uavssr.cli import tables
from uavssr.cli.app import say
from uavssr.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from uavssr.io.msi import MsiSource
    from uavssr.io.satellite import SatelliteRequest
    from uavssr.io.stf import StfArrays
    from uavssr.model import Model

MAX_DAYS_DEFAULT: Final = 10
ERROR_DEFAULT: Final = 0.05
SATELLITE_ONLY: Final = (
    *("reference_offset", "reference_bands", "reference_date", "reference_error"),
    *("flight_date", "max_days"),
)
"""Options that have an effect with satellite images alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SatelliteOptions:
    """The options of `estimate-stf` that are about satellite images, as given."""

    sensor: str | None
    """`--reference-sensor`."""
    scale: str | None
    """`--reference-scale`."""
    offset: float | None
    """`--reference-offset`."""
    bands: str | None
    """`--reference-bands`."""
    dates: list[str] | None
    """`--reference-date`, in the order of `--reference`."""
    error: float
    """`--reference-error`."""
    flight_date: str | None
    """`--flight-date`."""
    max_days: int
    """`--max-days`."""

    def requests(self, paths: list[Path]) -> list[SatelliteRequest]:
        """The satellite images to open.

        Raises:
            UsageError: no such sensor, no date, or not a date for each image.
        """
        from uavssr.io.satellite import SatelliteRequest, parse_date
        from uavssr.sensors import load_sensor

        days: list[date | None] = [
            parse_date(text, "--reference-date") for text in self.dates or []
        ]
        if days and len(days) != len(paths):
            fact = f"{len(days)} --reference-date for {len(paths)} --reference"
            raise UsageError(fact, remedy="give one for each, in the same order")
        return [
            SatelliteRequest(
                path=path,
                sensor=None if self.sensor is None else load_sensor(self.sensor),
                bands=None if self.bands is None else self.bands.split(","),
                scale=self.scale,
                offset=self.offset,
                acquired=day,
            )
            for path, day in zip(paths, days or [None] * len(paths), strict=True)
        ]


def are_satellites(paths: list[Path], sensor: str | None) -> bool:
    """Whether references are satellite images: by `--reference-sensor`, or as products."""
    from uavssr.io.satellite import names_product

    return sensor is not None or any(map(names_product, paths))


def satellite_stf(
    context: typer.Context,
    msi: MsiSource,
    paths: list[Path],
    options: SatelliteOptions,
    model: Model,
) -> tuple[StfArrays, dict[str, Any]]:
    """The STF from one or two satellite images, and facts about the calibration for `--json`."""
    from uavssr.calibration import calibrate_with_satellite, flight_date, read_satellite_cells
    from uavssr.io.satellite import open_satellite, parse_date
    from uavssr.io.stf import StfArrays

    images = [open_satellite(request) for request in options.requests(paths)]
    stated = options.flight_date
    flight = flight_date(msi, None if stated is None else parse_date(stated, "--flight-date"))
    cells = read_satellite_cells(msi, images, flight=flight, max_days=options.max_days)
    calibration = calibrate_with_satellite(msi, cells, error=options.error, model=model)
    for warning in calibration.warnings:
        say(context, f"uavssr: warning: {warning}")
    dataset = calibration.dataset
    learned = {
        name: [round(float(share), 4) for share in dataset[f"learned_{name}"].to_numpy()]
        for name in ("centre", "fwhm", "gain")
    }
    facts = {
        "kind": "satellite",
        "used": calibration.used,
        "skipped": cells.skipped,
        **cells.facts,
        "error": options.error,
        "learned": learned,
        "warnings": list(calibration.warnings),
    }
    return StfArrays.of(dataset), facts


def satellite_parts(facts: dict[str, Any], roles: tuple[str, ...]) -> list[RenderableType]:
    """What a satellite image gave: its facts, and the share learned of each band."""
    skipped = ", ".join(f"{number} {reason}" for reason, number in facts["skipped"].items())
    lines = {
        "sensor": f"{facts['sensor']} of {facts['date']}, flight of {facts['flight']}",
        "product": f"{facts['product']}, baseline {facts['baseline']}, {facts['scale']}",
        "cells": f"{facts['cells']}, {facts['cell']}" + (f"; left out: {skipped}" * bool(skipped)),
        "shift": facts["shift"],
        "error": f"{facts['error']:.3g} in a factor of each satellite band",
    }
    rows = zip(roles, *(facts["learned"][name] for name in ("centre", "fwhm", "gain")), strict=True)
    return [*tables.fact_lines(lines), tables.learned_table(rows)]
