"""Single bands of satellite products: files checked, opened and ready to be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from uavssr.errors import InputRefused
from uavssr.io.bounded import is_folder
from uavssr.io.checks import CheckedFile, check_jp2, check_raster
from uavssr.io.raster import (
    BandMetadata,
    BandReader,
    FileBands,
    Place,
    Scale,
    ValidityRule,
    opened_metadata,
    read_band_metadata,
    read_place,
)
from uavssr.io.satellite.image import SatelliteBand, check_upright


def open_single(path: Path) -> tuple[CheckedFile, Place, BandMetadata]:
    """The first band of a GeoTIFF or JP2 file, with its place.

    Raises:
        InputRefused: unsafe, damaged, without place, or rotated.
    """
    checked = check_jp2(path) if path.suffix.lower() == ".jp2" else check_raster(path)
    with opened_metadata(checked) as dataset:
        place = read_place(dataset, checked)
        metadata = read_band_metadata(dataset, checked)[0]
    check_upright(place)
    return checked, place, metadata


def band_of(
    role: str,
    opened: tuple[CheckedFile, Place, BandMetadata],
    *,
    native: float,
    factor: float,
    offset: float,
    evidence: str,
) -> SatelliteBand:
    """The band of a file, with reflectance = number x factor + offset."""
    checked, place, metadata = opened
    # integers of Sentinel-2 and Landsat are 0 where there is no data
    fill = 0.0 if metadata.dtype[0] in "iu" and metadata.nodata is None else metadata.nodata
    return SatelliteBand(
        role=role,
        native=native,
        place=place,
        reader=reader_of(checked, place, metadata.index),
        rule=ValidityRule(nodata=(fill,), has_mask=False),
        scale=Scale(factors=(factor,), offsets=(offset,), evidence=evidence),
    )


def reader_of(checked: CheckedFile, place: Place, index: int) -> BandReader:
    """A reader of one band of a file."""
    bands = FileBands(checked=checked, indexes=(index,), positions=(0,), alphas=(), mask=None)
    return BandReader(files=(bands,), height=place.height, width=place.width)


def one_file(folder: Path, patterns: Sequence[str], what: str) -> Path:
    """The only file that a pattern (in a product's folder) names; the first pattern with one.

    Raises:
        InputRefused: none, or several.
    """
    for pattern in patterns:
        files = sorted(folder.glob(pattern)) if is_folder(folder) else []
        if len(files) > 1:
            raise InputRefused(
                f"holds {len(files)} files of {what}: {', '.join(f.name for f in files[:3])}",
                path=folder,
                remedy="leave one product in the folder",
            )
        if files:
            return files[0]
    raise InputRefused(
        f"lacks {what} ({patterns[0]})",
        path=folder,
        remedy="download the product again, with all of its bands",
    )
