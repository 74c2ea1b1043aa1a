"""Landsat 8 and 9 products of Collection 2, level 2: folders with a GeoTIFF for each band."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from uavssr.errors import InputRefused
from uavssr.io.bounded import read_bytes, why_unread
from uavssr.io.satellite.choice import chosen_sensor
from uavssr.io.satellite.files import band_of, one_file, open_single, reader_of
from uavssr.io.satellite.image import SatelliteBand, SatelliteImage
from uavssr.io.satellite.product_name import ProductName, check_level, read_product_name
from uavssr.io.satellite.quality import QualityMask
from uavssr.io.satellite.request import SatelliteRequest

FACTOR: Final = 0.0000275
OFFSET: Final = -0.2
"""Reflectance = number x `FACTOR` + `OFFSET` (USGS, Landsat Collection 2 Level 2)."""
COLLECTION: Final = "02"
"""The collection whose scale these are."""
PIXEL_M: Final = 30.0
"""Native pixel of the reflective bands in metres."""
_MAX_BYTES: Final = 2**20


def landsat_product(folder: Path) -> ProductName | None:
    """The product whose bands lie in a folder, by the names of its files; None: there is none."""
    for file in sorted(folder.glob("L[CO]0[89]_*")):
        if product := read_product_name(file.name):
            return product
    return None


def open_landsat(request: SatelliteRequest, product: ProductName) -> SatelliteImage:
    """The product in a folder.

    Raises:
        UsageError: options that its names answer.
        InputRefused: another level or collection, or files missing or damaged.
    """
    folder = request.path
    check_level(product.level, folder)
    if product.version != COLLECTION or product.acquired is None:
        raise InputRefused(
            f"is of collection {product.version}, whose scale is another one",
            path=folder,
            remedy="download the same scene of Collection 2, level 2",
        )
    sensor = chosen_sensor(request, product.sensor)
    evidence = f"DN x {FACTOR:g} {OFFSET:+g}, Collection 2 level 2"
    _check_stated_scale(folder)
    bands = tuple(_band(folder, role, evidence) for role in sensor.roles)
    checked, place, metadata = open_single(
        one_file(folder, ["*_QA_PIXEL.[Tt][Ii][Ff]"], "QA_PIXEL")
    )
    reader = reader_of(checked, place, metadata.index)
    return SatelliteImage(
        path=folder,
        sensor=sensor,
        bands=bands,
        mask=QualityMask(kind="QA_PIXEL", reader=reader, transform=place.transform),
        acquired=product.acquired,
        facts={"product": product.text, "baseline": f"collection {COLLECTION}", "scale": evidence},
    )


def _band(folder: Path, role: str, evidence: str) -> SatelliteBand:
    name = role.upper()
    opened = open_single(one_file(folder, [f"*_SR_{name}.[Tt][Ii][Ff]"], f"band SR_{name}"))
    return band_of(role, opened, native=PIXEL_M, factor=FACTOR, offset=OFFSET, evidence=evidence)


def _check_stated_scale(folder: Path) -> None:
    """Refuse a product whose metadata (`*_MTL.txt`), where there are any, state another scale."""
    for path in folder.glob("*_MTL.txt"):
        try:
            text = read_bytes(path, _MAX_BYTES).decode("utf-8")
        except (OSError, ValueError) as err:
            remedy = "download it again, or remove it"
            raise InputRefused(why_unread(err, path), path=path, remedy=remedy) from err
        group = re.search(
            r"GROUP = LEVEL2_SURFACE_REFLECTANCE_PARAMETERS(.*?)END_GROUP", text, re.DOTALL
        )
        stated = dict(
            re.findall(r"REFLECTANCE_(MULT|ADD)_BAND_[1-5] = (\S+)", group[1] if group else "")
        )
        if stated and (float(stated["MULT"]), float(stated["ADD"])) != (FACTOR, OFFSET):
            raise InputRefused(
                f"states the scale {stated['MULT']} and the offset {stated['ADD']}, not those of "
                f"Collection 2 ({FACTOR:g}, {OFFSET:g})",
                path=path,
                remedy="download the same scene of Collection 2, level 2",
            )
