"""The writer of quality layers: one band of flags that say which pixels to trust."""

from __future__ import annotations

from enum import IntFlag
from typing import TYPE_CHECKING, Final

from uavssr.io.writers.gdal_writer import GdalWriter
from uavssr.io.writers.target import Target

if TYPE_CHECKING:
    from rasterio.io import DatasetReader, DatasetWriter

_HEADER_BYTES: Final = 2**20
"""The most bytes that the file takes beside its pixels."""


class Quality(IntFlag):
    """Flags of a pixel; 0 where there are no data."""

    DATA = 1
    """The pixel is valid."""
    SATURATED = 2
    """A band holds the largest number that the file can."""
    OUTLIER = 4
    """Unlike all training spectra: its spectrum is a guess, and its standard error too small."""
    PRIOR_DRIVEN = 8
    """The scene hardly constrains some band's response, which is therefore the data sheet's."""

    @classmethod
    def legend(cls) -> str:
        """All flags with their numbers."""
        return "0 no data, " + ", ".join(
            f"{flag.value} {str(flag.name).lower().replace('_', ' ')}" for flag in cls
        )


class QualityWriter(GdalWriter):
    """Writes a GeoTIFF of one uint16 band.

    Args:
        target: the raster to make.
    """

    def __init__(self, target: Target) -> None:
        super().__init__(
            target,
            needed_bytes=2 * target.height * target.width + _HEADER_BYTES,
            profile={"nodata": 0, "compress": "deflate", "sparse_ok": "true"},
        )

    def _describe(self, dataset: DatasetWriter) -> None:
        dataset.set_band_description(1, "quality")
        dataset.update_tags(quality=Quality.legend())

    def _wrong_header(self, dataset: DatasetReader) -> str | None:
        return None if dataset.descriptions == ("quality",) else "band name"
