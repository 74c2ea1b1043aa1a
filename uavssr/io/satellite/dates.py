"""Days on which images were acquired, as tags state them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Final

from rasterio.io import DatasetReader

from uavssr.errors import UsageError
from uavssr.io.checks import check_raster
from uavssr.io.raster import opened_metadata

_KEYS: Final = (
    *("acquisitiondatetime", "acquisition_date", "acquisition_time", "acquisition time"),
    *("exif_datetimeoriginal", "date_acquired", "datatake_1_datatake_sensing_start"),
    "product_start_time",
)
"""Tags that state when an image was acquired; TIFF's DateTime is when the file was written."""
_DOMAINS: Final = (None, "IMAGERY", "ENVI", "EXIF")
_DAY: Final = re.compile(r"\s*(\d{4})[-:/]?(\d{2})[-:/]?(\d{2})(?!\d)")


def acquisition_date(path: Path) -> date | None:
    """The day of an image by the tags of its file; None if none states it.

    Raises:
        InputRefused: the file cannot be read.
    """
    with opened_metadata(check_raster(path)) as dataset:
        return tagged_date(dated_tags(dataset))


def dated_tags(dataset: DatasetReader) -> dict[str, str]:
    """The tags of an open dataset in the domains that may hold a date, keys in lower case."""
    return {
        key.lower(): value
        for domain in reversed(_DOMAINS)
        for key, value in dataset.tags(ns=domain).items()
    }


def tagged_date(tags: Mapping[str, str]) -> date | None:
    """The first day that tags (keys in lower case) state; None if none does."""
    days = (_day(tags.get(key, "")) for key in _KEYS)
    return next((day for day in days if day is not None), None)


def parse_date(text: str, option: str) -> date:
    """A day as the user gives it, YYYY-MM-DD.

    Raises:
        UsageError: it is none.
    """
    day = _day(text) if len(text) <= 10 else None
    if day is None:
        fact = f"{option} {text[:40]!r} is no date"
        raise UsageError(fact, remedy=f"give it as in {option} 2024-06-30")
    return day


def _day(text: str) -> date | None:
    match = _DAY.match(text)
    try:
        return date(*map(int, match.groups())) if match else None
    except ValueError:
        return None
