"""Scale and offset of the numbers of a satellite GeoTIFF, by metadata or as given, never guessed.

Sentinel-2 adds 1000 to its numbers since processing baseline 04.00; programs keep that, or take it
away, and their files look alike. A wrong offset is a reflectance of 0.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from uavssr.errors import InputRefused
from uavssr.io.raster import BandMetadata, parse_scale
from uavssr.io.satellite.landsat import COLLECTION, FACTOR, OFFSET
from uavssr.io.satellite.product_name import ProductName
from uavssr.io.satellite.request import SatelliteRequest
from uavssr.io.satellite.sentinel2 import FIRST_WITH_OFFSET

_QUANTIFICATION = 10_000.0
"""The number of Sentinel-2 L2A that means a reflectance of 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberScale:
    """Reflectance = number x factor + offset."""

    factor: float
    """Reflectance per number."""
    offset: float
    """Reflectance of the number 0."""
    evidence: str
    """The reason."""


def resolve_scale(
    request: SatelliteRequest,
    bands: Sequence[BandMetadata],
    tags: Mapping[str, str],
    product: ProductName | None,
) -> NumberScale:
    """Scale and offset: as given, else by GDAL's tags, the product's metadata, or its name.

    Args:
        request: the options.
        bands: the stored bands that are used.
        tags: the file's tags, keys in lower case.
        product: what its name states.

    Raises:
        InputRefused: the scale or the offset is not known.
    """
    if request.scale is not None and request.offset is not None:
        return NumberScale(
            factor=parse_scale(request.scale), offset=request.offset, evidence="as given"
        )
    counts = all(band.dtype[0] in "iu" for band in bands)
    stated = _by_gdal(bands)
    if stated is None and counts:
        stated = _by_metadata(tags) or _by_name(product)
    if stated is None or request.scale is not None or request.offset is not None:
        raise _unknown(request, bands, counts=counts)
    return stated


def _by_gdal(bands: Sequence[BandMetadata]) -> NumberScale | None:
    """GDAL's tags, where they state both: an offset of 0 is also what GDAL gives without a tag."""
    stated = {(band.scale, band.offset) for band in bands}
    factor, offset = next(iter(stated))
    if len(stated) > 1 or offset == 0:
        return None
    return NumberScale(factor=factor, offset=offset, evidence="GDAL scale and offset tags")


def _by_metadata(tags: Mapping[str, str]) -> NumberScale | None:
    """Sentinel-2's own metadata, as programs copy them into tags."""
    try:
        full = float(tags.get("boa_quantification_value", _QUANTIFICATION))
        added = {float(text) for key, text in tags.items() if key.startswith("boa_add_offset")}
        baseline = float(tags.get("processing_baseline", "nan"))
    except ValueError:
        return None
    if len(added) == 1:
        offset, evidence = added.pop(), "tag BOA_ADD_OFFSET"
    elif baseline > 0:
        offset = -1000.0 if baseline >= FIRST_WITH_OFFSET else 0.0
        evidence = f"tag PROCESSING_BASELINE={baseline:05.2f}"
    else:
        return None
    return NumberScale(
        factor=1 / full,
        offset=offset / full,
        evidence=f"(DN {offset:+g}) / {full:g} by {evidence}",
    )


def _by_name(product: ProductName | None) -> NumberScale | None:
    """Landsat's scale, which is the same for a whole collection."""
    if product is None or not product.satellite.startswith("L") or product.version != COLLECTION:
        return None
    evidence = f"DN x {FACTOR:g} {OFFSET:+g}, Collection 2 level 2"
    return NumberScale(factor=FACTOR, offset=OFFSET, evidence=evidence)


def _unknown(
    request: SatelliteRequest, bands: Sequence[BandMetadata], *, counts: bool
) -> InputRefused:
    scale, offset = request.scale, request.offset
    sensor = request.sensor
    landsat = sensor is not None and sensor.name.startswith("landsat")
    if not counts:
        remedy = "--reference-scale 1 --reference-offset 0 for reflectance"
    elif landsat:
        given = f"--reference-scale {FACTOR:.7f} --reference-offset {OFFSET:g}"
        remedy = f"{given} for Collection 2, level 2"
    else:
        remedy = (
            "--reference-scale 0.0001 --reference-offset -0.1 for Sentinel-2 of processing "
            "baseline 04.00 or later (all since January 2022), --reference-offset 0 for earlier "
            "ones and where the program that made the file has subtracted the offset"
        )
    what = "offset" if scale is not None else "scale" if offset is not None else "scale and offset"
    return InputRefused(
        f"states no {what} of its {bands[0].dtype} numbers",
        path=request.path,
        remedy=f"give both: {remedy}",
    )
