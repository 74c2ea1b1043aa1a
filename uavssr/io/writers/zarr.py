"""The writer of cubes as Zarr stores: a folder that gets its name when all of it was read back.

Must not know the form of chunks.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import zarr

from uavssr.errors import OutputError
from uavssr.io.writers.atomic import check_output, sync
from uavssr.io.writers.encoding import cube_bytes
from uavssr.io.writers.tile_writer import Array, Target, TileWriter
from uavssr.io.writers.zarr_store import (
    CUBE,
    Checksums,
    ZarrRegion,
    array_of,
    create_store,
    packed_checksums,
)
from uavssr.sensors import WavelengthGrid
from uavssr.tiling import Window


class ZarrWriter(TileWriter):
    """Writes one Zarr store; see `formats.CubeSink`.

    Other processes may write their windows too, through `region`; `accept` counts them in.

    Args:
        target: the raster to make.
        grid: its wavelengths.
        tags: provenance.
    """

    def __init__(self, target: Target, grid: WavelengthGrid, tags: Mapping[str, str]) -> None:
        size = cube_bytes(target.height, target.width, target.bands, dtype=target.dtype)
        super().__init__(target, needed_bytes=size)
        self.region = ZarrRegion(folder=self._part, target=target)
        self._grid, self._tags = grid, dict(tags)
        self._checksums: Checksums = {}
        self._samples: dict[tuple[int, int], int] = {}
        self._handles = ExitStack()

    def accept(self, window: Window, checksums: Checksums) -> None:
        """Count in a window that another process has written through `region`.

        Raises:
            ValueError: the window is not whole blocks, overlaps another, or has other checksums.
        """
        blocks = [(row, col) for row, col, _ in self.target.blocks(window)]
        if set(checksums) != set(blocks):
            raise ValueError(f"{window} is not what the checksums of {sorted(checksums)} are of")
        with self._changed:
            self._take(window, blocks)
            self._checksums.update(checksums)

    def _create(self) -> None:
        threads = min(4, os.cpu_count() or 1)
        self._pool = self._handles.enter_context(ThreadPoolExecutor(threads))
        create_store(self.region, self._grid, self._tags)

    def _close(self) -> None:
        self._handles.close()

    def _store(self, row: int, col: int, block: Array) -> None:
        sample = np.ascontiguousarray(block[self.region.bands(self._sample_chunk(row, col))])
        self._samples[row, col] = zlib.crc32(sample.data)
        work = partial(self.region.store_chunk, row=row, col=col, block=block)
        found = self._pool.map(work, range(self.region.chunks))
        self._checksums[row, col] = packed_checksums(found)

    def _complete(self) -> None:
        """Nothing is left to add."""

    def _wrong(self) -> str | None:
        group = zarr.open_group(self._part, mode="r", zarr_format=2, use_consolidated=True)
        return self._wrong_header(group) or self._wrong_bytes() or self._wrong_sample(group)

    def _wrong_header(self, group: zarr.Group) -> str | None:
        target, cube = self.target, array_of(group, CUBE)
        if cube.shape != (target.bands, target.height, target.width) or cube.dtype != self.dtype:
            return "size"
        for name, values in (("wavelength", self._grid.centres), ("fwhm", self._grid.fwhm)):
            if not np.array_equal(array_of(group, name)[...], values):
                return name
        return None if self._tags.items() <= dict(group.attrs).items() else "provenance"

    def _wrong_bytes(self) -> str | None:
        for (row, col), checksums in self._checksums.items():
            chunks = (self.region.chunk(k, row, col) for k in range(self.region.chunks))
            if packed_checksums(zlib.crc32(each.read_bytes()) for each in chunks) != checksums:
                return self._place(row, col)
        return None

    def _wrong_sample(self, group: zarr.Group) -> str | None:
        """What zarr does not decode to the numbers that came: one chunk of every block."""
        for (row, col), checksum in self._samples.items():
            window = self.target.block_window(row, col)
            bands = self.region.bands(self._sample_chunk(row, col))
            found = np.ascontiguousarray(array_of(group, CUBE)[bands, window.rows, window.cols])
            if zlib.crc32(found.data) != checksum:
                return self._place(row, col)
        return None

    def _sample_chunk(self, row: int, col: int) -> int:
        across = -(-self.target.width // self.block)
        return (row * across + col) % self.region.chunks

    def _publish(self) -> Path:
        target = self.target
        check_output(self.path, overwrite=target.overwrite, inputs=target.inputs)
        os.sync()  # one by one, thousands of small files would take minutes
        try:
            if self.path.exists():
                old = self._part.with_name(f"{self._part.name}.old")
                self.path.replace(old)
            self._part.replace(self.path)
            sync(self.path.parent)
        except OSError as err:
            raise OutputError(f"cannot be completed ({err.strerror})", path=self.path) from err
        return self.path
