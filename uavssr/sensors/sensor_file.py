"""Sensor files: our table of known cameras, and the user's own in YAML or CSV."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import yaml

from uavssr.errors import InputRefused, UsageError
from uavssr.io.bounded import MAX_YAML_BYTES, parse_json, parse_yaml, read_bytes, read_table
from uavssr.sensors.band import Band, BandPrior
from uavssr.sensors.sensor import COMMON_SPREAD, Sensor

SENSOR_TAG: Final = "sensor_definition"
"""Tag of an image that describes its camera, where that is no built-in one."""
_REMEDY: Final = "see the section on sensor files in docs/formats.md"
_TEXTS: Final = ("name", "title", "note", "data_sheet")
MAX_CANDIDATES: Final = 1000
"""Most bands of a file of candidates."""
FromFile = TypeVar("FromFile")

_UNREADABLE: Final = (
    *(OSError, KeyError, TypeError),
    *(ValueError, AttributeError, OverflowError),
)


def load_sensor(name_or_path: str | Path) -> Sensor:
    """A built-in camera or satellite by name, or a user's own from a .yaml, .yml or .csv file.

    docs/formats.md describes both formats; centre, fwhm and wavelengths are in nm.

    Raises:
        UsageError: no such sensor or file.
        InputRefused: the file does not describe a sensor.
    """
    text = str(name_or_path)
    if text.lower() in SENSORS:
        return SENSORS[text.lower()]
    if text.lower() in SATELLITES:
        return load_satellite(text.lower())
    return _read_file(Path(text), lambda path: _read_content(path).sensor())


def load_candidates(name_or_path: str | Path) -> tuple[Band, ...]:
    """The bands of a sensor or a sensor file, of which there may be `MAX_CANDIDATES` here.

    Bands of a file need no role: one without is named by centre and width, such as `650/10`.

    Raises:
        UsageError: no such sensor or file.
        InputRefused: the file does not describe bands, or has too many, or one twice.
    """
    text = str(name_or_path)
    if text.lower() in (*SENSORS, *SATELLITES):
        return load_sensor(text).bands
    return _read_file(Path(text), _read_candidates)


def _read_candidates(path: Path) -> tuple[Band, ...]:
    bands = _read_content(path, name_missing=True).bands
    if len(bands) > MAX_CANDIDATES:
        fact = f"has {len(bands)} candidates, more than the {MAX_CANDIDATES} allowed"
        raise InputRefused(fact, remedy="leave out those that are nearly alike")
    roles = [band.role for band in bands]
    if twice := sorted({role for role in roles if roles.count(role) > 1}):
        remedy = "leave one out, or tell them apart in the column role"
        raise InputRefused(f"candidate {twice[0]} is given twice", remedy=remedy)
    return bands


def _read_file(path: Path, read: Callable[[Path], FromFile]) -> FromFile:
    """What `read` makes of a file; all errors name the file."""
    if path.suffix.lower() not in (".yaml", ".yml", ".csv"):
        raise UsageError(
            f"unknown sensor {str(path)!r}",
            remedy=f"use one of {', '.join((*SENSORS, *SATELLITES))}, or a .yaml or .csv file of "
            "your own",
        )
    try:
        exists = path.is_file()
    except OSError as err:  # a name that is too long, a folder that may not be entered
        raise UsageError(f"cannot be looked up ({err.strerror})", path=path) from err
    if not exists:
        remedy = "correct the path, or use a name listed by uavssr sensors"
        raise UsageError("no such sensor file", path=path, remedy=remedy)
    try:
        return read(path)
    except InputRefused as err:
        raise InputRefused(err.fact, path=path, remedy=err.remedy) from err
    except _UNREADABLE as err:
        fact = f"no {err}" if isinstance(err, KeyError) else " ".join(str(err).split())
        raise InputRefused(f"not a sensor file ({fact})", path=path, remedy=_REMEDY) from err


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """What a sensor file says."""

    texts: dict[str, str]
    bands: tuple[Band, ...]
    common: float = COMMON_SPREAD

    def sensor(self) -> Sensor:
        return Sensor(**self.texts, bands=self.bands, common_gain_sd=self.common)


def _read_content(path: Path, *, name_missing: bool = False) -> _Content:
    if path.suffix.lower() == ".csv":
        return _read_csv(path, name_missing=name_missing)
    content = parse_yaml(read_bytes(path, MAX_YAML_BYTES).decode("utf-8-sig"))
    if not isinstance(content, dict):
        raise TypeError("a mapping with the key 'bands' is needed")
    return _content_of_mapping({"name": path.stem, **content}, name_missing=name_missing)


def _sensor_from_mapping(content: dict[str, object]) -> Sensor:
    return _content_of_mapping(content).sensor()


def _content_of_mapping(content: dict[str, object], *, name_missing: bool = False) -> _Content:
    if unknown := set(content) - {*_TEXTS, "bands", "common_gain_sd"}:
        raise ValueError(f"unknown keys {sorted(unknown)}")
    texts: dict[str, str] = {key: str(content[key]) for key in _TEXTS if key in content}
    bands, common = content["bands"], float(str(content.get("common_gain_sd", COMMON_SPREAD)))
    if not isinstance(bands, list):
        raise TypeError("bands must be a list")
    named = [_named(row) for row in bands] if name_missing else bands
    read = tuple(_band_from_mapping(row) for row in named)
    return _Content(texts=texts, bands=read, common=common)


def _named(row: Mapping[str, object]) -> Mapping[str, object]:
    """A band's row, with a role of its centre and width where it has none."""
    if row.get("role") is not None or "response" in row:
        return row
    centre, fwhm = (float(str(row[key])) for key in ("centre", "fwhm"))
    return {**row, "role": f"{centre:g}/{fwhm:g}"}


def _band_from_mapping(row: Mapping[str, object]) -> Band:
    if row.get("role") is None:
        raise KeyError("role")
    role = str(row["role"]).strip().lower()
    known = {"wavelength_nm", "response"} if "response" in row else {"shape"}
    if known == {"shape"} or "nominal" in row:  # a profile's curve has a centre of its own
        known |= {"centre", "fwhm", "nominal"}
    if unknown := set(row) - known - {"role", "prior"}:
        raise ValueError(f"band {role}: unknown keys {sorted(unknown)}")
    band = _curve_from_mapping(role, row, known)
    if row.get("prior") is None:
        return band
    if not isinstance(row["prior"], dict):
        raise TypeError(f"band {role}: prior must be a mapping")
    prior = BandPrior(**{key: float(str(value)) for key, value in row["prior"].items()})
    return replace(band, prior=prior)


def _curve_from_mapping(role: str, row: Mapping[str, object], known: set[str]) -> Band:
    keys = known - {"wavelength_nm", "response"}
    numbers = {key: float(str(row[key])) for key in keys if row.get(key) is not None}
    if "response" in row:
        nm, response = row["wavelength_nm"], row["response"]
        if not isinstance(nm, list) or not isinstance(response, list):
            raise ValueError(f"band {role}: wavelength_nm and response must be lists")
        band = Band.from_curve(role, [float(v) for v in nm], [float(v) for v in response])
    else:
        band = Band(role=role, centre=numbers["centre"], fwhm=numbers["fwhm"])
    return replace(
        band,
        centre=numbers.get("centre", band.centre),
        fwhm=numbers.get("fwhm", band.fwhm),
        shape=numbers.get("shape", band.shape),
        nominal=numbers.get("nominal"),
    )


def sensor_text(sensor: Sensor) -> str:
    """A sensor as the text of a .yaml file; `load_sensor` gives the same sensor from it."""
    content = _mapping_of_sensor(sensor)
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=100)


def sensor_json(sensor: Sensor) -> str:
    """A sensor as a line of JSON, for a file's tags; `parse_sensor_json` gives it back."""
    return json.dumps(_mapping_of_sensor(sensor), separators=(",", ":"))


def parse_sensor_json(text: str) -> Sensor:
    """The sensor of a line of `sensor_json`.

    Raises:
        InputRefused: the text does not describe a sensor.
    """
    try:
        if len(text) > MAX_YAML_BYTES:
            raise ValueError(f"{len(text)} characters")
        return _sensor_from_mapping(parse_json(text))
    except _UNREADABLE as err:
        raise InputRefused(f"not a sensor ({' '.join(str(err).split())[:200]})") from err


def _mapping_of_sensor(sensor: Sensor) -> dict[str, object]:
    texts = {name: getattr(sensor, name) for name in _TEXTS}
    content: dict[str, object] = {name: text for name, text in texts.items() if text}
    content["common_gain_sd"] = sensor.common_gain_sd
    content["bands"] = [_mapping_of_band(band) for band in sensor.bands]
    return content


def _mapping_of_band(band: Band) -> dict[str, object]:
    row: dict[str, object] = {"role": band.role}
    if band.prior is not None:
        row["prior"] = asdict(band.prior)
    if band.nominal is not None:
        row |= {"nominal": band.nominal}
    if band.curve is None or band.nominal is not None:
        row |= {"centre": band.centre, "fwhm": band.fwhm}
    if band.curve is None:
        return row | {"shape": band.shape}
    nm, response = band.curve
    return row | {"wavelength_nm": list(nm), "response": list(response)}


def _read_csv(path: Path, *, name_missing: bool = False) -> _Content:
    table = [[cell.strip() for cell in row] for row in read_table(path, MAX_YAML_BYTES)]
    names, *rows = [row for row in table if any(row)] or [[]]
    if not rows:
        raise ValueError("a header and a row below it are needed")
    header = [name.lower() for name in names]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} cells, the header {len(header)}")
    if header[0] == "wavelength_nm":
        nm, *curves = np.array(rows, dtype=float).T.tolist()
        roles = zip(header[1:], curves, strict=True)
        bands = [Band.from_curve(role, nm, response) for role, response in roles]
    else:
        named = [dict(zip(header, (cell or None for cell in row), strict=True)) for row in rows]
        bands = [_band_from_mapping(_named(row) if name_missing else row) for row in named]
    return _Content(texts={"name": path.stem}, bands=tuple(bands))


_CAMERAS: Final = files("uavssr.sensors").joinpath("cameras.yaml").read_text(encoding="utf-8")
SENSORS: Final = {entry["name"]: _sensor_from_mapping(entry) for entry in parse_yaml(_CAMERAS)}
"""The built-in cameras by name, from cameras.yaml."""

_ESA: Final = "ESA's spectral response functions (COPE-GSEG-EOPG-TN-15-0007), bands below 1000 nm"
_USGS: Final = "USGS and NASA's spectral response functions of OLI, bands below 1000 nm"
SATELLITES: Final = {
    "sentinel2a": ("Sentinel-2A MSI", _ESA),
    "sentinel2b": ("Sentinel-2B MSI", _ESA),
    "landsat8": ("Landsat 8 OLI", _USGS),
    "landsat9": ("Landsat 9 OLI", _USGS),
}
"""Title and source of the built-in satellites by name; `load_satellite` reads their curves."""
_OF_SENTINEL2: Final = ("b1", "b9", "b10", "b11", "b12")
_OF_LANDSAT: Final = ("b6", "b7", "b8", "b9", "b10", "b11")
UNTABULATED: Final[Mapping[str, tuple[str, ...]]] = {
    "sentinel2": _OF_SENTINEL2[2:],
    **dict.fromkeys(("sentinel2a", "sentinel2b"), _OF_SENTINEL2),
    **dict.fromkeys(("landsat8", "landsat9"), _OF_LANDSAT),
}
"""Bands of the built-in satellites that their tables leave out: beyond 1000 nm, of the atmosphere,
or panchromatic."""


@cache
def load_satellite(name: str) -> Sensor:
    """The sensor of a name in `SATELLITES`, with its response curves at steps of 1 nm.

    A response is relative to its maximum, and 0 where it is below 0.0005 of that.
    """
    title, note = SATELLITES[name]
    with as_file(files("uavssr.sensors") / "curves" / f"{name}.csv") as path:
        return replace(_read_csv(path).sensor(), name=name, title=title, note=note)
