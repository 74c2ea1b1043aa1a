"""The part that writers of small GeoTIFFs share: GDAL itself stores their blocks, one at a time."""

from __future__ import annotations

import os
import threading
import zlib
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

import rasterio
from rasterio.windows import Window as RasterioWindow

from uavssr.io.writers.target import Target
from uavssr.io.writers.tile_writer import TileWriter
from uavssr.sensors import NumberArray

if TYPE_CHECKING:
    from rasterio.io import DatasetReader, DatasetWriter


class GdalWriter(TileWriter):
    """Writes a GeoTIFF through GDAL.

    Args:
        target: the raster to make.
        needed_bytes: the most disk space that making it takes.
        profile: what rasterio is told of nodata and compression.
    """

    def __init__(
        self, target: Target, *, needed_bytes: int, profile: Mapping[str, float | str]
    ) -> None:
        super().__init__(target, needed_bytes=needed_bytes)
        self._profile, self._checksums = profile, dict[tuple[int, int], int]()
        self._lock, self._handles = threading.Lock(), ExitStack()
        self._dataset: DatasetWriter | None = None

    @abstractmethod
    def _describe(self, dataset: DatasetWriter) -> None:
        """Write the bands' names and whatever else goes with them."""

    @abstractmethod
    def _wrong_header(self, dataset: DatasetReader) -> str | None:
        """The part of what `_describe` wrote that is missing, or None."""

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
                count=target.bands,
                dtype=target.dtype,
                crs=self._crs,
                transform=target.affine,
                tiled=True,
                blockxsize=target.block,
                blockysize=target.block,
                bigtiff="if_safer",
                **self._profile,
            )
        )
        self._dataset.update_tags(**target.tags)
        self._describe(self._dataset)

    def _store(self, row: int, col: int, block: NumberArray) -> None:
        with self._lock, _env():
            if self._dataset is None:
                raise ValueError(f"{self.path}: not open for writing")
            self._dataset.write(block, window=self._window(row, col))
            self._checksums[row, col] = zlib.crc32(block.tobytes())

    def _complete(self) -> None:
        self._close()

    def _wrong(self) -> str | None:
        with _env(), rasterio.open(self._part, driver="GTiff") as dataset:
            if (dataset.count, dataset.height, dataset.width) != self.target.shape:
                return "size"
            if dataset.transform != self.target.affine:
                return "geotransform"
            return self._wrong_header(dataset) or self._wrong_block(dataset)

    def _wrong_block(self, dataset: DatasetReader) -> str | None:
        for (row, col), checksum in self._checksums.items():
            if zlib.crc32(dataset.read(window=self._window(row, col)).data) != checksum:
                return self._place(row, col)
        return None

    def _window(self, row: int, col: int) -> RasterioWindow:
        part = self.target.block_window(row, col)
        return RasterioWindow(part.col, part.row, part.width, part.height)

    def _close(self) -> None:
        self._dataset = None
        self._handles.close()


def _env() -> rasterio.Env:
    """GDAL's settings: no sidecars are read or written."""
    threads = str(min(4, os.cpu_count() or 1))
    return rasterio.Env(
        GDAL_PAM_ENABLED="NO", GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_NUM_THREADS=threads
    )
