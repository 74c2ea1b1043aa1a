"""Which camera took a raster: the caller's word, a model tag, or wavelengths of just one camera.

Must not read pixels, and must not decide from colours or band counts, which many cameras share.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from uavssr.errors import InputRefused, UsageError
from uavssr.io.msi.band_roles import assign_roles, proposed_bands
from uavssr.io.raster import BandMetadata, Request
from uavssr.sensors import SENSORS, Sensor, load_sensor

MATCH_NM: Final = 3.0
"""A tag within this of a nominal centre or width names that band."""

_KEYS: Final = ("sensor", "camera", "camera_model", "model", "tifftag_model", "exif_model")
_VENDORS: Final = r"^(dji|micasense|parrot|copernicus|esa)"
_MODELS: Final = {
    **dict.fromkeys(("fc6360", "p4multispectral", "phantom4multispectral"), "p4m"),
    **dict.fromkeys(("mavic3m", "mavic3multispectral"), "m3m"),
    **dict.fromkeys(("sentinel2a", "sentinel2amsi", "s2a"), "sentinel2"),
    **dict.fromkeys(("rededgemxdual", "rededgemxdual10bands"), "rededge-mx-dual"),
}
"""Model names other than our own; a bare "RedEdge" is several cameras and stays out."""

_CUBE_FROM: Final = 16
"""Bands: no camera for vegetation that tags do not name has more."""


@dataclass(frozen=True, slots=True)
class FoundSensor:
    """The camera and why it is taken to be that one."""

    sensor: Sensor
    evidence: str
    warnings: tuple[str, ...] = ()


def resolve_sensor(
    given: str | Path | Sensor | None,
    facts: Sequence[BandMetadata],
    tags: Mapping[str, str],
    request: Request,
) -> FoundSensor:
    """The camera, by the caller's word, else a model tag, else wavelength tags.

    Raises:
        UsageError: no such sensor.
        InputRefused: nothing tells the camera; the message lists those that fit.
    """
    tagged = _by_tag(tags)
    if given is not None:
        sensor = given if isinstance(given, Sensor) else load_sensor(given)
        return FoundSensor(sensor, "as given", _disagreement(sensor, tagged))
    if tagged is not None:
        name, text = tagged
        return FoundSensor(SENSORS[name], text)
    matched = _by_wavelength(facts)
    if matched is not None:
        return FoundSensor(matched, "wavelength tags of every band")
    raise _unknown(facts, request)


def _disagreement(sensor: Sensor, tagged: tuple[str, str] | None) -> tuple[str, ...]:
    if tagged is None or tagged[0] == sensor.name or sensor.name not in SENSORS:
        return ()
    return (f"taken as {sensor.name} as asked, though the {tagged[1]} names {tagged[0]}",)


def _by_tag(tags: Mapping[str, str]) -> tuple[str, str] | None:
    for key in _KEYS:
        compact = re.sub(r"[^a-z0-9]", "", tags.get(key, "").lower())
        for name in (compact, re.sub(_VENDORS, "", compact)):
            known = _MODELS.get(name) or _known_names().get(name)
            if known:
                return known, f"tag {key}={tags[key]!r}"
    return None


def _known_names() -> dict[str, str]:
    return {re.sub(r"[^a-z0-9]", "", name): name for name in SENSORS}


def _by_wavelength(facts: Sequence[BandMetadata]) -> Sensor | None:
    """The one camera whose bands are all tagged; a second one nearly as close leaves it open."""
    tagged = [(f.wavelength, f.fwhm) for f in facts if f.wavelength and f.wavelength <= 1100]
    if any(f.wavelength is None and f.colour != "alpha" for f in facts):
        return None
    close = [s for s in SENSORS.values() if _fits(tagged, s, MATCH_NM)]
    nearly = [s for s in SENSORS.values() if _fits(tagged, s, 2 * MATCH_NM)]
    return close[0] if len(close) == 1 and nearly == close else None


def _fits(tagged: Sequence[tuple[float, float | None]], sensor: Sensor, tolerance: float) -> bool:
    if len(tagged) != len(sensor):
        return False
    by_nm = sorted(tagged, key=lambda pair: pair[0])
    pairs = zip(by_nm, sorted((b.centre, b.fwhm) for b in sensor.bands), strict=True)
    return all(
        abs(nm - centre) <= tolerance and (fwhm is None or abs(fwhm - width) <= tolerance)
        for (nm, fwhm), (centre, width) in pairs
    )


def _unknown(facts: Sequence[BandMetadata], request: Request) -> InputRefused:
    fitting = [sensor for sensor in SENSORS.values() if _assignable(facts, sensor, request)]
    if fitting:
        fact = f"no tag names the camera; its bands fit {', '.join(s.name for s in fitting)}"
        command = request.command(sensor=fitting[0].name if len(fitting) == 1 else "NAME")
        return InputRefused(fact, path=request.paths[0], remedy=f"name it, as in: {command}")
    if len(facts) > _CUBE_FROM:
        return InputRefused(
            f"holds {len(facts)} bands: a hyperspectral cube, or its coefficients, and no image",
            path=request.paths[0],
            remedy="give the camera's image, or the camera with --sensor FILE; cubes are for "
            "uavssr evaluate and simulate, coefficients for uavssr expand",
        )
    said = ", ".join(fact.description or fact.colour for fact in facts)
    fact = f"no tag names the camera, and {len(facts)} bands ({said}) do not fit by name"
    remedy = _by_data_sheet(facts, request)
    if remedy is None:
        known = ", ".join(f"{s.name} ({len(s)})" for s in SENSORS.values())
        roles = None if request.bidx else ("ROLE", "ROLE", "...")
        command = request.command(sensor="NAME", bands=request.bands or roles)
        remedy = f"known cameras and their bands: {known}; name it or its file, as in: {command}"
    return InputRefused(fact, path=request.paths[0], remedy=remedy)


def _by_data_sheet(facts: Sequence[BandMetadata], request: Request) -> str | None:
    """A command for the first camera with as many bands, None where the caller's own bands stand.

    The number of bands is no evidence, so it is for the user to say that camera and order hold.
    """
    if request.bands or request.bidx:
        return None
    alike = [(s, proposed_bands(facts, s, request)) for s in SENSORS.values()]
    found = [(sensor, names) for sensor, names in alike if names is not None]
    if not found:
        return None
    sensor, names = found[0]
    others = ", ".join(other.name for other, _ in found[1:]) or "none"
    return (
        f"camera and order must be your own knowledge (others with {len(sensor)} bands: {others}); "
        f"for a {sensor.name} in the order of its data sheet: "
        f"{request.command(sensor=sensor.name, bands=names)}"
    )


def _assignable(facts: Sequence[BandMetadata], sensor: Sensor, request: Request) -> bool:
    try:
        assign_roles(facts, sensor, request)
    except (InputRefused, UsageError):
        return False
    return True
