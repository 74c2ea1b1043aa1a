"""Flights with known spectra, from tables of plots and manifests, for a camera's profile."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from uavssr.calibration import (
    RATIO_LIMITS,
    CameraFit,
    Flight,
    fit_camera,
    flight_of,
    open_reference,
    reference_of_plots,
)
from uavssr.data.manifest import read_manifest
from uavssr.data.manifest_row import ManifestRow
from uavssr.errors import InputRefused, UavssrError, UsageError
from uavssr.io.bounded import open_regular, why_unread
from uavssr.io.checks import PathLike, check_path_text
from uavssr.io.manifests import ManifestProblem, ManifestRefused
from uavssr.io.msi import open_msi
from uavssr.io.raster import parse_scale
from uavssr.io.writers import write_sensor
from uavssr.model import DEFAULT_MODEL, Model, load_model
from uavssr.sensors import Sensor, load_sensor
from uavssr.spectra import PlotTable, read_plot_table

_MAX_HEADER_BYTES: Final = 2**16

_FlightsAndWarnings = tuple[list[Flight], list[str]]
"""Flights, and warnings about them."""


def fit_camera_profile(
    pairs: str | Path | Sequence[str | Path],
    *,
    sensor: str | Path | Sensor,
    out: PathLike | None = None,
    reference_scale: str | None = None,
    model: str | Path | Model = DEFAULT_MODEL,
    overwrite: bool = False,
) -> CameraFit:
    r"""Fit a camera's profile to flights with known spectra, see `calibration.fit_camera`.

    Args:
        pairs: tables of plots (.npz, .csv), and manifests (.csv) of images with their cubes, of
            which each row is a flight.
        sensor: the camera: a name, a file, or a sensor; its profile is named after `out`.
        out: the profile to write, a .yaml.
        reference_scale: reflectance = number in the tables' spectra x scale.
        model: the model whose wavelengths and basis spectra are completed with.
        overwrite: whether `out` may be replaced.

    Raises:
        UsageError: no pairs, or a scale that is no number.
        InputRefused: a table, a manifest or a file in it cannot be used.
        OutputError: the profile cannot be written.

    Examples:
        >>> import pathlib, uavssr
        >>> _ = uavssr.simulate("hsi.tif", sensor="p4m", out="known.tif")
        >>> _ = pathlib.Path("pairs.csv").write_text("msi,hsi,sensor\nknown.tif,hsi.tif,p4m\n")
        >>> fit = uavssr.fit_camera_profile("pairs.csv", sensor="p4m", out="mine.yaml")
        >>> uavssr.open_msi("known.tif", sensor="mine.yaml").sensor.name
        'mine'
    """
    paths = [Path(path) for path in ([pairs] if isinstance(pairs, str | Path) else pairs)]
    known = sensor if isinstance(sensor, Sensor) else load_sensor(sensor)
    loaded = model if isinstance(model, Model) else load_model(model)
    scale = 1.0 if reference_scale is None else parse_scale(reference_scale)
    flights: list[Flight] = []
    warnings: list[str] = []
    for path in paths:
        if _is_manifest(path):
            new_flights, new_warnings = _from_manifest(path, known, loaded)
        else:
            table = read_plot_table(path, known, scale=scale)
            new_flights, new_warnings = _from_plots(table, known, loaded)
        flights += new_flights
        warnings += new_warnings
    name = "profile" if out is None else Path(out).stem
    if known.data_sheet:
        text = f"{known.name} is a profile: a flight that it was fitted to must not be given again"
        warnings.append(text)
    fit = fit_camera(known, _distinct(flights), loaded.grid, name=name)
    fit = replace(fit, warnings=(*warnings, *fit.warnings, *_odd_gains(fit)))
    if out is not None:
        write_sensor(fit.sensor, out, overwrite=overwrite, inputs=paths)
    return fit


def _is_manifest(path: Path) -> bool:
    """Whether the first line of a .csv has the column `hsi`."""
    check_path_text(str(path))
    if path.suffix.lower() == ".npz":
        return False
    if path.suffix.lower() != ".csv":
        raise UsageError(
            "is neither a table of plots nor a manifest",
            path=path,
            remedy="give .npz or .csv files; a manifest lists rasters",
        )
    try:
        with open_regular(path) as file:
            first = file.readline(_MAX_HEADER_BYTES)
    except OSError as err:
        remedy = "give the path of a local file"
        raise InputRefused(why_unread(err, path), path=path, remedy=remedy) from err
    header = first.decode("utf-8-sig", errors="replace").lower()
    return "hsi" in (cell.strip() for cell in re.split(r"[,;\t]", header))


def _from_plots(table: PlotTable, sensor: Sensor, model: Model) -> _FlightsAndWarnings:
    flights = [
        flight_of(reference_of_plots(table.of(name)), sensor, model.network.basis, name=name)
        for name in table.flights
    ]
    warning = f"left out of {table.path.name}: {table.skipped} rows without plausible reflectance"
    return flights, [warning] if table.skipped else []


def _from_manifest(path: Path, sensor: Sensor, model: Model) -> _FlightsAndWarnings:
    manifest = read_manifest(path)
    problems = list(manifest.problems)
    flights: list[Flight] = []
    warnings: list[str] = []
    for row in manifest.rows:
        try:
            new_flights, new_warnings = _from_row(row, sensor, model)
            flights += new_flights
            warnings += [f"{path.name}, line {row.line}: {text}" for text in new_warnings]
        except UavssrError as err:
            problems.append(ManifestProblem(row.line, str(err)))
    if problems:
        raise ManifestRefused(path, problems)
    return flights, warnings


def _from_row(row: ManifestRow, sensor: Sensor, model: Model) -> _FlightsAndWarnings:
    if row.kind not in ("pair", "plots"):
        raise InputRefused("names no image", remedy="fill the column msi, or remove the row")
    if row.sensor is not None and row.sensor != sensor:
        fact = f"the camera is {row.sensor.name}, and the profile is that of {sensor.name}"
        raise InputRefused(fact, remedy="fit a profile for each camera")
    if row.kind == "plots":
        scale, msi_scale = (parse_scale(text or "1") for text in (row.hsi_scale, row.msi_scale))
        table = read_plot_table(row.hsi, sensor, scale=scale, msi_scale=msi_scale)
        return _from_plots(table, sensor, model)
    image = open_msi(row.msi, sensor=sensor, bands=row.bands, scale=row.msi_scale)
    reference = open_reference(row.hsi, image, scale=row.hsi_scale)
    name = row.group or row.msi[0].stem
    flight = flight_of(reference, sensor, model.network.basis, name=name)
    return [flight], [*image.summary.warnings, *reference.warnings]


def _distinct(flights: list[Flight]) -> list[Flight]:
    """The flights with a number behind names that come twice."""
    counts: dict[str, int] = {}
    named = []
    for flight in flights:
        count = counts[flight.name] = counts.get(flight.name, 0) + 1
        named.append(flight if count == 1 else replace(flight, name=f"{flight.name} ({count})"))
    return named


def _odd_gains(fit: CameraFit) -> Iterator[str]:
    low, high = RATIO_LIMITS
    for name, gain in zip(fit.flights, np.exp(fit.gain.mean(1)).tolist(), strict=True):
        if not low <= gain <= high:
            yield f"the image of flight {name} is {gain:.2g} times as bright as its ground"
