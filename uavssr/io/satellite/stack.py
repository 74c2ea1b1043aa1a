"""Satellite images in one GeoTIFF: bands by their names, day and scale by metadata or as given."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Final

from uavssr.errors import InputRefused, UsageError
from uavssr.io.checks import CheckedFile, check_raster
from uavssr.io.msi import judge
from uavssr.io.raster import (
    BandMetadata,
    Place,
    opened_metadata,
    read_band_metadata,
    read_place,
    read_tags,
)
from uavssr.io.satellite.choice import check_same
from uavssr.io.satellite.dates import dated_tags, tagged_date
from uavssr.io.satellite.files import band_of, reader_of
from uavssr.io.satellite.image import SatelliteImage, check_upright, native_metres, pixel_metres
from uavssr.io.satellite.offset import resolve_scale
from uavssr.io.satellite.product_name import ProductName, check_level, read_product_name
from uavssr.io.satellite.quality import MaskKind, QualityMask
from uavssr.io.satellite.request import SatelliteRequest
from uavssr.sensors import SATELLITES, Sensor

_SKIP: Final = "skip"
_MASKS: Final = ("scl", "qa_pixel")
"""Names of bands that hold a mask of clouds."""
_RED_EDGE_NM: Final = (695.0, 760.0)


def open_stack(request: SatelliteRequest) -> SatelliteImage:
    """The satellite image in a GeoTIFF.

    Raises:
        UsageError: `--reference-bands` names what is no band of the satellite.
        InputRefused: unsafe or damaged, of another level or satellite, or bands, scale or date
            are neither stated nor given.
    """
    path = request.path
    checked, place, stored, tags = _read(path)
    product = _product(path, tags)
    sensor = _sensor(request, product)
    roles = _roles(request, sensor, [band for band in stored if not band.is_alpha])
    used = replace(sensor, bands=tuple(band for band in sensor.bands if band.role in roles))
    scale = resolve_scale(request, [roles[role] for role in used.roles], tags, product)
    sentinel2 = "b8a" in sensor.roles or bool(product and product.satellite.startswith("S2"))
    pixel = math.sqrt(math.prod(pixel_metres(place)))
    bands = (
        band_of(
            role,
            (checked, place, roles[role]),
            native=native_metres(role, sentinel2=sentinel2, pixel=pixel),
            factor=scale.factor,
            offset=scale.offset,
            evidence=scale.evidence,
        )
        for role in used.roles
    )
    version = product.version if product else ""
    return SatelliteImage(
        path=path,
        sensor=used,
        bands=tuple(bands),
        mask=_mask(checked, place, roles),
        acquired=_acquired(request, tags, product),
        facts={
            "product": product.text if product else path.name,
            "baseline": tags.get("processing_baseline") or version or "unknown",
            "scale": scale.evidence,
        },
        warnings=tuple(_warnings(path, sensor, roles)),
    )


def _read(
    path: Path,
) -> tuple[CheckedFile, Place, Sequence[BandMetadata], Mapping[str, str]]:
    """The file with its place, bands and tags; nothing of its pixels."""
    checked = check_raster(path)
    with opened_metadata(checked) as dataset:
        place = read_place(dataset, checked)
        bands = read_band_metadata(dataset, checked)
        tags = dated_tags(dataset) | read_tags(dataset, checked)
    check_upright(place)
    return checked, place, bands, tags


def _acquired(
    request: SatelliteRequest, tags: Mapping[str, str], product: ProductName | None
) -> date:
    """The day: as given, else by the tags, else by the name."""
    day = request.acquired or tagged_date(tags) or (product.acquired if product else None)
    if day is None:
        remedy = "give the day of the satellite image with --reference-date YYYY-MM-DD"
        fact = "neither its tags nor its name state a date"
        raise InputRefused(fact, path=request.path, remedy=remedy)
    return day


def _product(path: Path, tags: Mapping[str, str]) -> ProductName | None:
    """The product that the file's tags or name state, if it holds surface reflectance."""
    names = (tags.get("product_uri", ""), path.name)
    product = next((named for name in names if (named := read_product_name(name))), None)
    level = tags.get("processing_level") or tags.get("product_type") or ""
    check_level(level or (product.level if product else ""), path)
    return product


def _sensor(request: SatelliteRequest, product: ProductName | None) -> Sensor:
    if request.sensor is None:
        remedy = "name the satellite with --reference-sensor"
        raise UsageError(
            "is a satellite image of no stated satellite", path=request.path, remedy=remedy
        )
    builtin = product is not None and product.sensor
    if builtin and request.sensor.name in SATELLITES:
        check_same(request, builtin)
    return request.sensor


def _roles(
    request: SatelliteRequest, sensor: Sensor, stored: Sequence[BandMetadata]
) -> dict[str, BandMetadata]:
    """The stored band of each role that the file holds, masks under their names."""
    names = _given_names(request, sensor, len(stored)) if request.bands else None
    roles: dict[str, BandMetadata] = {}
    for position, band in enumerate(stored):
        role = _judged(band, sensor, request) if names is None else names[position]
        if role in roles:
            raise _unnamed(
                f"bands {roles[role].index} and {band.index} are both {role}", request, sensor
            )
        if role not in ("", _SKIP):
            roles[role] = band
    if not set(roles) & set(sensor.roles):
        texts = ", ".join(band.description or "unnamed" for band in stored[:16])
        raise _unnamed(f"names none of its {len(stored)} bands ({texts})", request, sensor)
    return roles


def _judged(band: BandMetadata, sensor: Sensor, request: SatelliteRequest) -> str:
    """The role of a band by its description or wavelength; empty if it is none of the sensor's."""
    words = band.description.lower()
    mask = next((name for name in _MASKS if name in words.replace(" ", "_")), "")
    verdict = judge(band, sensor)
    if verdict.conflict:
        raise _unnamed(f"band {band.index}: {verdict.conflict}", request, sensor)
    return mask or ("" if verdict.index is None else sensor.roles[verdict.index])


def _given_names(request: SatelliteRequest, sensor: Sensor, count: int) -> list[str]:
    names = [name.strip().lower() for name in request.bands or ()]
    known = (*sensor.roles, *_MASKS, _SKIP)
    wrong = [name for name in names if name not in known]
    if wrong:
        fact = f"--reference-bands: {wrong[0]!r} is no band of {sensor.name}"
        raise UsageError(
            fact,
            remedy=f"its bands are {', '.join(sensor.roles)}; others: "
            f"{', '.join((*_MASKS, _SKIP))}",
        )
    if len(names) != count:
        raise _unnamed(f"holds {count} bands, but {len(names)} are named", request, sensor)
    return names


def _unnamed(fact: str, request: SatelliteRequest, sensor: Sensor) -> InputRefused:
    remedy = (
        "name every band in file order with --reference-bands, such as "
        f"{','.join(sensor.roles)},{_SKIP},scl ({_SKIP}: other bands; scl, qa_pixel: masks)"
    )
    return InputRefused(fact, path=request.path, remedy=remedy)


def _mask(
    checked: CheckedFile, place: Place, roles: Mapping[str, BandMetadata]
) -> QualityMask | None:
    for name in _MASKS:
        if name in roles:
            kind: MaskKind = "SCL" if name == "scl" else "QA_PIXEL"
            reader = reader_of(checked, place, roles[name].index)
            return QualityMask(kind=kind, reader=reader, transform=place.transform)
    return None


def _warnings(path: Path, sensor: Sensor, roles: Mapping[str, BandMetadata]) -> list[str]:
    missing = [band for band in sensor.bands if band.role not in roles]
    warnings = []
    if missing:
        low, high = _RED_EDGE_NM
        edge = any(low < band.centre < high for band in missing)
        names = ", ".join(band.role for band in missing)
        tail = ": without the red edge it tells little of a camera" if edge else ""
        warnings.append(f"{path.name} lacks {names} of {sensor.name}{tail}")
    if not set(_MASKS) & set(roles):
        warnings.append(
            f"{path.name} has no cloud mask (SCL, QA_PIXEL): check that the field is "
            "free of clouds and their shadows"
        )
    return warnings
