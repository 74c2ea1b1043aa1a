"""The writer of cubes as Zarr stores: a folder that gets its name when all of it was read back."""

from __future__ import annotations

import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import zarr

from uavssr.io.writers.encoding import cube_bytes
from uavssr.io.writers.target import CubeTarget
from uavssr.io.writers.tile_writer import Array, TileWriter
from uavssr.io.writers.zarr_store import CUBE, Checksums, ZarrRegion, array_of, create_store
from uavssr.tiling import Window


class ZarrWriter(TileWriter):
    """Writes one Zarr store.

    Other processes may write windows through `region`; `accept` takes note of them.

    Args:
        target: the cube.
    """

    target: CubeTarget

    def __init__(self, target: CubeTarget) -> None:
        size = cube_bytes(target.height, target.width, target.bands, dtype=target.dtype)
        super().__init__(target, needed_bytes=size)
        self.region = ZarrRegion(folder=self._part, target=target)
        self._checksums: Checksums = {}
        self._samples: dict[tuple[int, int], int] = {}
        self._handles = ExitStack()

    def accept(self, window: Window, checksums: Checksums) -> None:
        """Take note of a window that another process has written through `region`.

        Raises:
            ValueError: the window is not whole blocks, overlaps another, or has other checksums.
        """
        blocks = [(row, col) for row, col, _ in self.target.blocks(window)]
        if set(checksums) != set(blocks):
            raise ValueError(f"{window} does not go with the checksums of {sorted(checksums)}")
        with self._changed:
            self._take(window, blocks)
            self._checksums.update(checksums)

    def _create(self) -> None:
        threads = min(4, os.cpu_count() or 1)
        self._pool = self._handles.enter_context(ThreadPoolExecutor(threads))
        create_store(self.region)

    def _close(self) -> None:
        self._handles.close()

    def _store(self, row: int, col: int, block: Array) -> None:
        sample = np.ascontiguousarray(block[self._sample_bands(row, col)])
        self._samples[row, col] = zlib.crc32(sample.data)
        run = self._pool.map
        self._checksums[row, col] = self.region.write_block(row, col, block, run=run)

    def _complete(self) -> None:
        """Nothing is left to add."""

    def _wrong(self) -> str | None:
        group = zarr.open_group(self._part, mode="r", zarr_format=2, use_consolidated=True)
        return self._wrong_header(group) or self._wrong_bytes() or self._wrong_sample(group)

    def _wrong_header(self, group: zarr.Group) -> str | None:
        target, cube, grid = self.target, array_of(group, CUBE), self.target.written_grid
        if cube.shape != target.shape or cube.dtype != self.dtype:
            return "size"
        for name, values in (("wavelength", grid.centres), ("fwhm", grid.fwhm)):
            if not np.array_equal(array_of(group, name)[...], values):
                return name
        return None if target.tags.items() <= dict(group.attrs).items() else "provenance"

    def _wrong_bytes(self) -> str | None:
        for (row, col), checksums in self._checksums.items():
            for key, checksum in checksums.items():
                if zlib.crc32((self._part / key).read_bytes()) != checksum:
                    return self._place(row, col)
        return None

    def _wrong_sample(self, group: zarr.Group) -> str | None:
        """A block of which zarr decodes other numbers than were given, in one chunk of each."""
        for (row, col), checksum in self._samples.items():
            window, bands = self.target.block_window(row, col), self._sample_bands(row, col)
            sample = np.ascontiguousarray(array_of(group, CUBE)[bands, window.rows, window.cols])
            if zlib.crc32(sample.data) != checksum:
                return self._place(row, col)
        return None

    def _sample_bands(self, row: int, col: int) -> slice:
        return self.region.bands(self.target.number_of(row, col) % self.region.chunks)
