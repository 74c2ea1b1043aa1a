"""Sensor files: our table of known cameras, and the user's own in YAML or CSV."""

from __future__ import annotations

import csv
import math
from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np
import yaml

from uavssr.errors import InputRefused, UsageError
from uavssr.sensors.band import Band
from uavssr.sensors.sensor import Sensor

_REMEDY: Final = "see the section on sensor files in docs/formats.md"


def _known_cameras() -> dict[str, Sensor]:
    text = files("uavssr.sensors").joinpath("cameras.yaml").read_text(encoding="utf-8")
    cameras = [_sensor_from_mapping(entry) for entry in yaml.safe_load(text)]
    return {camera.name: camera for camera in cameras}


def load_sensor(name_or_path: str | Path) -> Sensor:
    """A built-in sensor by name, or a user's own from a .yaml, .yml or .csv file.

    YAML: `name`, and `bands` with a list of `{role, centre, fwhm[, shape]}` or
    `{role, wavelength_nm: [...], response: [...]}`; centre and fwhm in nm.
    CSV: columns `role,centre,fwhm[,shape]` and a row for each band; or a column `wavelength_nm` and
    a column with the response of each band, headed by its role.

    Raises:
        UsageError: no such sensor or file.
        InputRefused: the file does not describe a sensor.
    """
    text = str(name_or_path)
    if text.lower() in SENSORS:
        return SENSORS[text.lower()]
    path = Path(text)
    readers = {".yaml": _read_yaml, ".yml": _read_yaml, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise UsageError(
            f"unknown sensor {text!r}",
            remedy=f"use one of {', '.join(SENSORS)}, or a .yaml or .csv file of your own",
        )
    if not path.is_file():
        raise UsageError("no such sensor file", path=path)
    try:
        return readers[path.suffix.lower()](path)
    except InputRefused as err:
        raise InputRefused(err.fact, path=path, remedy=err.remedy) from err
    except KeyError as err:
        raise InputRefused(f"not a sensor file (no {err})", path=path, remedy=_REMEDY) from err
    except (OSError, csv.Error, TypeError, ValueError, AttributeError, RecursionError) as err:
        raise InputRefused(f"not a sensor file ({err})", path=path, remedy=_REMEDY) from err


def _read_yaml(path: Path) -> Sensor:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except yaml.YAMLError as err:
        raise ValueError(" ".join(str(err).split())) from err
    if not isinstance(content, dict):
        raise TypeError("a mapping with the key 'bands' is needed")
    return _sensor_from_mapping({"name": path.stem, **content})


def _sensor_from_mapping(content: dict[str, object]) -> Sensor:
    if unknown := set(content) - {"name", "title", "note", "bands"}:
        raise ValueError(f"unknown keys {sorted(unknown)}")
    bands = content["bands"]
    if not isinstance(bands, list):
        raise TypeError("bands must be a list")
    return Sensor(
        name=str(content["name"]),
        title=str(content.get("title", "")),
        note=str(content.get("note", "")),
        bands=tuple(_band_from_mapping(row) for row in bands),
    )


def _band_from_mapping(row: dict[str, object]) -> Band:
    role = str(row["role"]).strip().lower()
    has_curve = "response" in row
    known = {"wavelength_nm", "response"} if has_curve else {"centre", "fwhm", "shape"}
    if unknown := set(row) - known - {"role"}:
        raise ValueError(f"band {role}: unknown keys {sorted(unknown)}")
    if has_curve:
        nm, response = row["wavelength_nm"], row["response"]
        if not isinstance(nm, list) or not isinstance(response, list):
            raise ValueError(f"band {role}: wavelength_nm and response must be lists")
        return Band.from_curve(role, [float(v) for v in nm], [float(v) for v in response])
    numbers = {k: float(str(row[k])) for k in ("centre", "fwhm", "shape") if row.get(k) is not None}
    if not all(math.isfinite(v) for v in numbers.values()):
        raise ValueError(f"band {role}: {numbers} must be finite")
    shape = numbers.get("shape", 4.0)
    return Band(role=role, centre=numbers["centre"], fwhm=numbers["fwhm"], shape=shape)


def _read_csv(path: Path) -> Sensor:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    if len(rows) < 2:
        raise ValueError("a header and a row below it are needed")
    header = [cell.strip().lower() for cell in rows[0]]
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} cells, the header {len(header)}")
    body = [[cell.strip() for cell in row] for row in rows[1:]]
    if header[0] == "wavelength_nm":
        table = np.array(body, dtype=float)
        bands = tuple(
            Band.from_curve(role, table[:, 0].tolist(), table[:, i].tolist())
            for i, role in enumerate(header[1:], start=1)
        )
    else:
        named = [dict(zip(header, row, strict=True)) for row in body]
        bands = tuple(_band_from_mapping({k: v or None for k, v in row.items()}) for row in named)
    return Sensor(name=path.stem, bands=bands)


SENSORS: Final = _known_cameras()
"""The built-in cameras by name, from cameras.yaml."""
