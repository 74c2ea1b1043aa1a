"""The writer of quality layers: one band of flags, so that a map says which pixels to trust.

Must not decide what a flag is set for.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Mapping
from contextlib import ExitStack
from enum import IntFlag

import rasterio
from rasterio.io import DatasetWriter
from rasterio.windows import Window as RasterioWindow

from uavssr.io.writers.tile_writer import Array, Target, TileWriter

_SLACK_BYTES = 2**20


class Quality(IntFlag):
    """What is said of a pixel; 0 where there are no data."""

    DATA = 1
    """The pixel is valid."""
    SATURATED = 2
    """A band holds the largest number that the file can."""
    OUTLIER = 4
    """Unlike all training spectra: its spectrum is a guess, and its standard error too small."""
    PRIOR_DRIVEN = 8
    """The scene said next to nothing of some band's response: it is the data sheet's."""

    @classmethod
    def legend(cls) -> str:
        """All flags with their numbers."""
        return "0 no data, " + ", ".join(
            f"{flag.value} {str(flag.name).lower().replace('_', ' ')}" for flag in cls
        )


class QualityWriter(TileWriter):
    """Writes a GeoTIFF of one uint16 band; see `formats.CubeSink`.

    Args:
        target: the raster to make, of one band.
        tags: provenance.
    """

    def __init__(self, target: Target, tags: Mapping[str, str]) -> None:
        super().__init__(target, needed_bytes=2 * target.height * target.width + _SLACK_BYTES)
        self._tags, self._checksums = dict(tags), dict[tuple[int, int], int]()
        self._lock, self._handles = threading.Lock(), ExitStack()
        self._dataset: DatasetWriter | None = None

    def _create(self) -> None:
        target = self.target
        self._handles.enter_context(_env())
        self._dataset = self._handles.enter_context(
            rasterio.open(
                self._part,
                "w",
                driver="GTiff",
                height=target.height,
                width=target.width,
                count=1,
                dtype=target.dtype,
                nodata=0,
                crs=self._crs,
                transform=target.affine,
                tiled=True,
                blockxsize=target.block,
                blockysize=target.block,
                compress="DEFLATE",
                SPARSE_OK=True,
                BIGTIFF="IF_SAFER",
            )
        )
        self._dataset.set_band_description(1, "quality")
        self._dataset.update_tags(quality=Quality.legend(), **self._tags)

    def _store(self, row: int, col: int, block: Array) -> None:
        part = self.target.block_window(row, col)
        with self._lock, _env():
            if self._dataset is None:
                raise ValueError(f"{self.path}: not open for writing")
            window = RasterioWindow(part.col, part.row, part.width, part.height)
            self._dataset.write(block, window=window)
            self._checksums[row, col] = zlib.crc32(block.tobytes())

    def _complete(self) -> None:
        self._close()

    def _wrong(self) -> str | None:
        with _env(), rasterio.open(self._part, driver="GTiff") as dataset:
            for (row, col), checksum in self._checksums.items():
                part = self.target.block_window(row, col)
                window = RasterioWindow(part.col, part.row, part.width, part.height)
                if zlib.crc32(dataset.read(window=window).tobytes()) != checksum:
                    return self._place(row, col)
        return None

    def _close(self) -> None:
        self._dataset = None
        self._handles.close()


def _env() -> rasterio.Env:
    return rasterio.Env(GDAL_PAM_ENABLED="NO", GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR")
