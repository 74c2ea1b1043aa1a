"""Sentinel-2 L2A products as ESA delivers them: .SAFE folders of JP2 files with XML metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from uavssr.errors import InputRefused
from uavssr.io.bounded import parse_xml, read_bytes, why_unread
from uavssr.io.satellite.choice import chosen_sensor
from uavssr.io.satellite.dates import tagged_date
from uavssr.io.satellite.files import band_of, one_file, open_single, reader_of
from uavssr.io.satellite.image import SatelliteBand, SatelliteImage, native_metres
from uavssr.io.satellite.product_name import check_level
from uavssr.io.satellite.quality import QualityMask
from uavssr.io.satellite.request import SatelliteRequest

METADATA: Final = "MTD_MSIL2A.xml"
"""Metadata of an L2A product, at the top of its folder."""
FIRST_WITH_OFFSET: Final = 4.0
"""Processing baseline, of January 2022, since which numbers have an offset of 1000."""
_MAX_BYTES: Final = 2**23
_BAND_IDS: Final = {
    **dict(zip(("b1", "b2", "b3", "b4", "b5", "b6", "b7", "b8"), range(8), strict=True)),
    "b8a": 8,
    "b9": 9,
    "b10": 10,
    "b11": 11,
    "b12": 12,
}
"""Numbers by which the metadata name the bands of offsets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductMetadata:
    """What the metadata of an L2A product state."""

    tags: Mapping[str, str]
    """Texts of the elements that occur once, by name in lower case."""
    offsets: Mapping[int, float]
    """Numbers to be added before the division, by the band's number."""
    quantification: float
    """The number that means a reflectance of 1."""


def open_safe(request: SatelliteRequest) -> SatelliteImage:
    """The L2A product in a folder.

    Raises:
        UsageError: options that its metadata answer.
        InputRefused: another level, files missing or damaged, or metadata that leave scale or
            date open.
    """
    folder = request.path
    metadata = _read_metadata(folder / METADATA)
    tags = metadata.tags
    check_level(tags.get("processing_level", "Level-2A"), folder)
    sensor = chosen_sensor(request, tags.get("spacecraft_name", ""))
    acquired = tagged_date(tags) or request.acquired
    if acquired is None:
        raise InputRefused("its metadata state no date", path=folder, remedy="download it again")
    bands = tuple(_band(folder, role, metadata) for role in sensor.roles)
    baseline = tags.get("processing_baseline", "unknown")
    return SatelliteImage(
        path=folder,
        sensor=sensor,
        bands=bands,
        mask=_scene_classes(folder),
        acquired=acquired,
        facts={
            "product": tags.get("product_uri", folder.name),
            "baseline": baseline,
            "scale": bands[0].scale.evidence,
        },
    )


def _band(folder: Path, role: str, metadata: ProductMetadata) -> SatelliteBand:
    name = role.upper() if role[-1].isalpha() else f"B{int(role[1:]):02d}"
    finest = native_metres(role, sentinel2=True, pixel=0.0)
    patterns = [
        f"GRANULE/*/IMG_DATA/R{side}m/*_{name}_{side}m.jp2"
        for side in (10, 20, 60)
        if side >= finest
    ]
    opened = open_single(one_file(folder, patterns, f"band {name}"))
    offset = metadata.offsets.get(_BAND_IDS[role], 0.0)
    return band_of(
        role,
        opened,
        native=finest,
        factor=1 / metadata.quantification,
        offset=offset / metadata.quantification,
        evidence=f"(DN {offset:+g}) / {metadata.quantification:g} by {METADATA}",
    )


def _scene_classes(folder: Path) -> QualityMask:
    path = one_file(folder, ["GRANULE/*/IMG_DATA/R20m/*_SCL_20m.jp2"], "scene classes")
    checked, place, metadata = open_single(path)
    reader = reader_of(checked, place, metadata.index)
    return QualityMask(kind="SCL", reader=reader, transform=place.transform)


def _read_metadata(path: Path) -> ProductMetadata:
    """The metadata file: texts, offsets and quantification.

    Raises:
        InputRefused: unreadable, or without the scale.
    """
    try:
        root = parse_xml(read_bytes(path, _MAX_BYTES))
    except (OSError, ValueError) as err:
        remedy = "download the product again"
        raise InputRefused(why_unread(err, path), path=path, remedy=remedy) from err
    elements = [(element.tag.split("}")[-1].lower(), element) for element in root.iter()]
    tags = {name: (element.text or "").strip() for name, element in reversed(elements)}
    try:
        added = [e for name, e in elements if name == "boa_add_offset"]
        offsets = {int(e.attrib["band_id"]): float(e.text or "") for e in added}
        quantification = float(tags["boa_quantification_value"])
        baseline = float(tags["processing_baseline"])
    except (KeyError, ValueError) as err:
        fact = f"states no scale ({type(err).__name__}: {err})"
        raise InputRefused(fact, path=path, remedy="download the product again") from err
    if quantification <= 0 or (baseline >= FIRST_WITH_OFFSET and not offsets):
        fact = f"states no offsets (BOA_ADD_OFFSET), though its baseline is {baseline:05.2f}"
        raise InputRefused(fact, path=path, remedy="download the product again")
    return ProductMetadata(tags=tags, offsets=offsets, quantification=quantification)
