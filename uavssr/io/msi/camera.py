"""The camera of a raster: as given, by a tag with its model, or by wavelength tags.

Colours and the number of bands are no evidence, because many cameras share them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from uavssr.errors import InputRefused, UsageError
from uavssr.io.msi.band_roles import BAND_ORDERS, assign_roles, proposed_roles
from uavssr.io.msi.request import Request
from uavssr.io.msi.role_words import MAX_NM
from uavssr.io.raster import BandMetadata, OptionNeeded
from uavssr.sensors import SENSOR_TAG, SENSORS, Sensor, load_sensor, parse_sensor_json

MATCH_NM: Final = 3.0
"""Largest distance in nm between a tag and the nominal centre or width of a band that it names."""

_TAGS: Final = ("sensor", "camera", "camera_model", "model", "tifftag_model", "exif_model")
_VENDORS: Final = r"^(dji|micasense|parrot|copernicus|esa)"
_MODELS: Final = {
    **dict.fromkeys(("fc6360", "p4multispectral", "phantom4multispectral"), "p4m"),
    **dict.fromkeys(("mavic3m", "mavic3multispectral"), "m3m"),
    **dict.fromkeys(("sentinel2a", "sentinel2amsi", "s2a"), "sentinel2"),
    **dict.fromkeys(("rededgemxdual", "rededgemxdual10bands"), "rededge-mx-dual"),
    **{re.sub(r"[^a-z0-9]", "", name): name for name in SENSORS},
}
"""Names of our cameras by model names; a bare "RedEdge" means several cameras and is left out."""

_MAX_BANDS: Final = 16
"""Bands; an image with more of them that nothing describes is taken for a hyperspectral cube."""


class CameraMatch(NamedTuple):
    """The camera of an input, and the evidence for it."""

    sensor: Sensor
    """The camera."""
    evidence: str
    """The reason, for the input summary."""
    warnings: tuple[str, ...] = ()
    """Evidence against it, a sentence each."""


def resolve_camera(
    bands: Sequence[BandMetadata], tags: Mapping[Path, Mapping[str, str]], request: Request
) -> CameraMatch:
    """The camera: as given, else by a tag with its model, else by wavelength tags.

    Args:
        bands: all bands of the files.
        tags: tags of each file.
        request: the options of the input.

    Raises:
        UsageError: no such sensor.
        OptionNeeded: the camera is unknown, and the message lists those that fit; or files of
            different cameras.
        InputRefused: more bands than a camera has.
    """
    named = {path: found for path in tags if (found := _by_tag(tags[path], path, request))}
    first, (tagged, evidence) = next(iter(named.items()), (Path(), (None, "")))
    name = "" if tagged is None else tagged.name
    if request.sensor is not None:
        given = request.sensor
        sensor = given if isinstance(given, Sensor) else load_sensor(given)
        warning = f"taken as {sensor.name} as asked, though the {evidence} names {name}"
        disagrees = name not in ("", sensor.name) and sensor.name in SENSORS
        return CameraMatch(sensor, "as given", (warning,) if disagrees else ())
    for path, (other, tag) in named.items():
        if other != tagged:
            raise OptionNeeded(
                f"its {tag} names {other.name}, but the {evidence} of {first} names {name}",
                path=path,
                remedy="give files of one camera, or name it with --sensor",
                options={"sensor": "NAME"},
            )
    if tagged is not None:
        return CameraMatch(tagged, evidence)
    matched = _by_wavelength(bands)
    if matched is not None:
        return CameraMatch(matched, "wavelength tags of every band")
    raise _unknown(bands, request)


def _by_tag(tags: Mapping[str, str], path: Path, request: Request) -> tuple[Sensor, str] | None:
    """The camera that a tag names or describes, and that tag."""
    if SENSOR_TAG in tags and request.sensor is None:
        return _described_camera(tags[SENSOR_TAG], path)
    for key in _TAGS:
        model = re.sub(r"[^a-z0-9]", "", tags.get(key, "").lower())
        for name in (model, re.sub(_VENDORS, "", model)):
            if name in _MODELS:
                return SENSORS[_MODELS[name]], f"tag {key}={tags[key]!r}"
    return None


def _described_camera(text: str, path: Path) -> tuple[Sensor, str]:
    """The camera that the tag of an image of ours describes."""
    try:
        sensor = parse_sensor_json(text)
    except InputRefused as err:
        raise OptionNeeded(
            f"its tag {SENSOR_TAG} is {err.fact}",
            path=path,
            remedy="name the camera with --sensor",
            options={"sensor": "NAME"},
        ) from err
    return sensor, f"tag {SENSOR_TAG}, {sensor.name}"


def _by_wavelength(bands: Sequence[BandMetadata]) -> Sensor | None:
    """The only camera whose bands are all tagged, unless another one is nearly as close."""
    if any(band.wavelength is None and not band.is_alpha for band in bands):
        return None
    tagged = [(b.wavelength, b.fwhm) for b in bands if b.wavelength and b.wavelength <= MAX_NM]
    close = [s for s in SENSORS.values() if _fits(tagged, s, MATCH_NM)]
    nearly = [s for s in SENSORS.values() if _fits(tagged, s, 2 * MATCH_NM)]
    return close[0] if len(close) == 1 and nearly == close else None


def _fits(tagged: Sequence[tuple[float, float | None]], sensor: Sensor, tolerance: float) -> bool:
    """Whether tags (centre, FWHM) in nm are those of all bands of a sensor."""
    by_nm = sorted(tagged, key=lambda pair: pair[0])
    nominal = sorted((band.centre, band.fwhm) for band in sensor.bands)
    return len(tagged) == len(sensor) and all(
        abs(nm - centre) <= tolerance and (fwhm is None or abs(fwhm - width) <= tolerance)
        for (nm, fwhm), (centre, width) in zip(by_nm, nominal, strict=True)
    )


def _unknown(bands: Sequence[BandMetadata], request: Request) -> InputRefused:
    path = request.paths[0]
    fitting = [sensor for sensor in SENSORS.values() if _assignable(bands, sensor, request)]
    if fitting:
        fact = f"no tag names the camera; its bands fit {', '.join(s.name for s in fitting)}"
        options: dict[str, object] = {"sensor": fitting[0] if len(fitting) == 1 else "NAME"}
        return OptionNeeded(fact, path=path, remedy="name it with --sensor", options=options)
    if len(bands) > _MAX_BANDS:
        fact = f"has {len(bands)} bands: a hyperspectral cube, or its coefficients, not an image"
        remedy = (
            "give the camera's image, or the camera with --sensor FILE; cubes are for "
            "uavssr evaluate and simulate, coefficients for uavssr expand"
        )
        return InputRefused(fact, path=path, remedy=remedy)
    names = ", ".join(band.description or band.colour for band in bands)
    plural = "" if len(bands) == 1 else "s"
    fact = f"no tag names the camera, and its {len(bands)} band{plural} ({names}) fit none by name"
    remedy, options = _by_count(bands, request) or _by_name(request)
    return OptionNeeded(fact, path=path, remedy=remedy, options=options)


def _assignable(bands: Sequence[BandMetadata], sensor: Sensor, request: Request) -> bool:
    try:
        assign_roles(bands, sensor, request)
    except (InputRefused, UsageError):
        return False
    return True


def _by_count(
    bands: Sequence[BandMetadata], request: Request
) -> tuple[str, dict[str, object]] | None:
    """Remedy and options for cameras with as many bands; None if the user named the bands.

    The number of bands is no evidence, so the user has to name the camera and the order.
    """
    proposals = ((sensor, proposed_roles(bands, sensor)) for sensor in SENSORS.values())
    alike = [(sensor, roles) for sensor, roles in proposals if roles is not None]
    if not alike or request.bands or request.bidx:
        return None
    (sensor, roles), *others = alike
    names = ", ".join(camera.name for camera, _ in alike)
    remedy = (
        f"name the camera with --sensor (with {len(sensor)} bands: {names}) and the bands, in file "
        f"order, with --bands ({BAND_ORDERS})"
    )
    return remedy, {"sensor": "NAME" if others else sensor, "bands": roles}


def _by_name(request: Request) -> tuple[str, dict[str, object]]:
    known = ", ".join(f"{s.name} ({len(s)})" for s in SENSORS.values())
    bands = request.bands or (None if request.bidx else ("ROLE", "ROLE", "..."))
    remedy = f"name it or its file with --sensor; known cameras and their bands: {known}"
    return remedy, {"sensor": "NAME", "bands": bands}
