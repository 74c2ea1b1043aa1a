"""Quality layers: one band of flags that say which pixels to trust."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntFlag
from typing import TYPE_CHECKING

from uavssr.io.writers.qgis_style import Category
from uavssr.io.writers.target import Target

if TYPE_CHECKING:
    from rasterio.io import DatasetReader, DatasetWriter


class Quality(IntFlag):
    """Flags of a pixel; 0 where there are no data."""

    DATA = 1
    """The pixel is valid."""
    SATURATED = 2
    """A band holds the largest number that the file can."""
    OUTLIER = 4
    """Unlike all training spectra: its spectrum is a guess, and its standard error too small."""
    PRIOR_DRIVEN = 8
    """Some band's response is known hardly better than from the data sheet."""

    @property
    def words(self) -> str:
        """The name of one flag in words."""
        return str(self.name).lower().replace("_", " ")

    @classmethod
    def legend(cls) -> str:
        """All flags with their numbers."""
        names = (f"{flag.value} {flag.words}" for flag in cls)
        return ", ".join(["0 no data", *names])

    @classmethod
    def categories(cls) -> list[Category]:
        """All values of a pixel with data, with names and colours."""
        categories = []
        for flags, colour in enumerate(_COLOURS):
            value = flags << 1 | cls.DATA
            names = (flag.words for flag in cls if flag & value and flag != cls.DATA)
            label = ", ".join(names)
            categories.append(Category(value, label or "no flag", colour))
        return categories


_COLOURS = (
    *("#d4e6d4", "#e69f00", "#cc3311", "#7f1d1d"),
    *("#c6dbef", "#b8860b", "#aa3377", "#4b1d5f"),
)
"""Colours of no flag, saturated, outlier, both; and of the same where some band is prior-driven."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityTarget(Target):
    """A GeoTIFF of one uint16 band of flags; there are no overviews, as flags have no mean."""

    bands = 1
    nodata = 0.0

    creation_options: Mapping[str, str] = field(
        default_factory=lambda: {"COMPRESS": "DEFLATE", "PREDICTOR": "1"}
    )
    """GDAL options of the file."""

    def describe(self, dataset: DatasetWriter) -> None:
        """Name the band and list the flags."""
        dataset.update_tags(quality=Quality.legend(), **self.tags)
        dataset.set_band_description(1, "quality")

    def missing_from(self, dataset: DatasetReader) -> str | None:
        """The first part that an open dataset lacks of what `describe` wrote, or None."""
        return None if dataset.descriptions == ("quality",) else "band name"
