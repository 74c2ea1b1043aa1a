"""Quality layers: one band of flags that say which pixels to trust."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntFlag
from typing import TYPE_CHECKING

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

    @classmethod
    def legend(cls) -> str:
        """All flags with their numbers."""
        names = (f"{flag.value} {str(flag.name).lower().replace('_', ' ')}" for flag in cls)
        return ", ".join(["0 no data", *names])


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
