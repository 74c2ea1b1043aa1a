"""The writer of GeoTIFF cubes, and of coefficients.

GDAL makes the file without pixels. Blocks are packed here and appended, so that every byte is
known when it is read back.
"""

from __future__ import annotations

import logging
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Final

import numpy as np
import rasterio
from rasterio.windows import Window as RasterioWindow

from uavssr.io.writers.block_codec import BlockCodec, creation_options, usable_cores
from uavssr.io.writers.block_file import BlockFile
from uavssr.io.writers.overviews import Overviews
from uavssr.io.writers.raw_bytes import Packed
from uavssr.io.writers.target import Target
from uavssr.io.writers.tile_writer import TileWriter
from uavssr.sensors import NumberArray

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

_AT_ONCE: Final = 16
"""Bands that go through one call: few enough for the processor's cache."""

_log = logging.getLogger(__name__)


class GeoTiffWriter(TileWriter):
    """Writes one GeoTIFF, tile by tile and from any thread."""

    copies = 1
    """Files of the output's size that are on the disk at a time."""

    def __init__(self, target: Target) -> None:
        super().__init__(target, needed_bytes=self.copies * target.max_bytes)
        self._options = creation_options(target)
        threads = self._options["NUM_THREADS"].upper()
        self._threads = usable_cores() if threads == "ALL_CPUS" else int(threads)
        self._codec = BlockCodec.of(self._options)
        self._levels = target.levels
        self._samples: dict[tuple[int, int], int] = {}
        self._handles = ExitStack()

    def _create(self) -> None:
        self._pool = self._handles.enter_context(ThreadPoolExecutor(self._threads))
        self._overviews = self._handles.enter_context(closing(Overviews(self.target)))
        options = {
            "SPARSE_OK": "TRUE",  # no block is written by GDAL
            "PHOTOMETRIC": "MINISBLACK",  # three bands would be taken for red, green and blue
            **self._options,
        }
        with gdal_env(), self._new_dataset("GTiff", **options) as dataset:
            self.target.describe(dataset)
        file = BlockFile(self._part, overviews=self._levels[1:])
        self._file = self._handles.enter_context(closing(file))

    def _close(self) -> None:
        self._handles.close()

    def _store(self, row: int, col: int, block: NumberArray) -> None:
        sample = np.ascontiguousarray(block[self._sample_band(row, col)])
        self._samples[row, col] = zlib.crc32(sample.data)
        self._put(0, row, col, block)

    def _put(self, level: int, row: int, col: int, block: NumberArray) -> None:
        """Append a block of the scene or of an overview, and hand it on to the next overview.

        This thread packs, without a lock; others help if fewer than `NUM_THREADS` are packing.
        """
        parts = self._parts(block)
        encoded = [self._pool.submit(self._encode, level, part) for part in parts[1:]]
        packed, smaller = self._encode(level, parts[0])
        for future in encoded:
            further, less = future.result()
            packed += further
            smaller += less
        if self._file.planes == 1:
            packed = self._codec.encode(block[None])
        self._file.append((level, row, col), packed)
        if smaller:
            self._overviews.put(level, (row, col), smaller)

    def _parts(self, block: NumberArray) -> list[NumberArray]:
        """Bands of a block for each thread that packs it."""
        count = max(1, self._threads // max(1, self._writing))
        step = -(-self.bands // count)
        step += -step % _AT_ONCE
        return [block[k : k + step] for k in range(0, self.bands, step)]

    def _encode(self, level: int, bands: NumberArray) -> tuple[list[Packed], list[NumberArray]]:
        """Blocks of some bands as they are stored, and as the next overview takes them."""
        packed, smaller = list[Packed](), list[NumberArray]()
        for k in range(0, len(bands), _AT_ONCE):
            some = bands[k : k + _AT_ONCE]
            if self._file.planes > 1:
                packed += self._codec.encode(some[:, None])
            smaller += self._overviews.reduce(level, some)
        return packed, smaller

    def _complete(self) -> None:
        for level in range(1, len(self._levels)):
            for row, col, block in self._overviews.blocks(level):
                self._put(level, row, col, block)
        self._file.write_tables()

    def _wrong(self) -> str | None:
        with gdal_env(), rasterio.open(self._part, driver="GTiff") as dataset:
            return (
                self._wrong_header(dataset)
                or self.target.missing_from(dataset)
                or self._wrong_bytes()
                or self._wrong_sample(dataset)
            )

    def _wrong_header(self, dataset: DatasetReader) -> str | None:
        target = self.target
        if (dataset.count, dataset.height, dataset.width) != target.shape:
            return "size"
        if dataset.transform != target.affine:
            return "geotransform"
        if dataset.crs != self._crs:
            _log.warning("%s: GeoTIFF holds the CRS only in another form", self.path)
        return None

    def _wrong_bytes(self) -> str | None:
        for level, row, col in self._file.wrong(self._pool):
            return f"overview {level}, {self._place(row, col)}" if level else self._place(row, col)
        return None

    def _wrong_sample(self, dataset: DatasetReader) -> str | None:
        """What GDAL does not decode to the numbers that came: one band of every block."""
        for (row, col), checksum in self._samples.items():
            part = self.target.block_window(row, col)
            window = RasterioWindow(part.col, part.row, part.width, part.height)
            band = dataset.read(self._sample_band(row, col) + 1, window=window)
            if zlib.crc32(band.data) != checksum:
                return self._place(row, col)
        return None

    def _sample_band(self, row: int, col: int) -> int:
        return (row + col) % self.bands


def gdal_env() -> rasterio.Env:
    """GDAL's settings: no sidecars are read or written."""
    return rasterio.Env(GDAL_PAM_ENABLED="NO", GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR")
