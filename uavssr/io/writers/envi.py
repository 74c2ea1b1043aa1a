"""The writer of ENVI cubes: a header by GDAL, and the numbers band after band in a raw file."""

from __future__ import annotations

import math
import os
import re
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
import rasterio

from uavssr.errors import OutputError
from uavssr.io.checks import OUR_DESCRIPTION, described_files
from uavssr.io.writers.atomic import check_output, publish
from uavssr.io.writers.encoding import SCALE
from uavssr.io.writers.metadata import CubeMetadata
from uavssr.io.writers.ownership import may_replace
from uavssr.io.writers.raw_bytes import put, take
from uavssr.io.writers.target import CubeTarget
from uavssr.io.writers.tile_writer import TileWriter
from uavssr.sensors import NumberArray

_HEADER_BYTES: Final = 2**20
"""The most bytes that a header takes."""
_READ_BYTES: Final = 2**23
"""Bytes that are read back at a time, but at least a line."""
_TOLERANCE: Final = 1e-6
"""Pixels by which a corner may move: a header holds 15 digits."""


class EnviWriter(TileWriter):
    """Writes a raw file and its header `<name>.<ext>.hdr`, which GDAL takes before `<stem>.hdr`.

    The header gets its name just before the raw file does, as neither is of use alone.
    """

    target: CubeTarget

    def __init__(self, target: CubeTarget) -> None:
        self._bytes = np.dtype(target.dtype).itemsize
        size = math.prod(target.shape) * self._bytes
        super().__init__(target, needed_bytes=size + _HEADER_BYTES)
        self._header = Path(f"{target.path}.hdr")
        self._check_header()
        self._metadata = CubeMetadata(grid=target.written_grid, dtype=self.dtype, tags=target.tags)
        self._checksums: dict[tuple[int, int], int] = {}
        self._handle = -1

    @property
    def _part_header(self) -> Path:
        return Path(f"{self._part}.hdr")

    def _check_header(self) -> None:
        """Refuse a header that may not be replaced, or that describes another file."""
        for path in described_files(self._header):
            if path != self.path:
                raise OutputError(
                    f"its header would replace that of {path.name}",
                    path=self.path,
                    remedy="choose another name with -o/--out",
                )
        check_output(self._header, overwrite=self.target.overwrite, inputs=self.target.inputs)

    def _create(self) -> None:
        with _env(), self._new_dataset("ENVI", INTERLEAVE="BSQ", SUFFIX="ADD") as dataset:
            self._metadata.apply(dataset)
            dataset.update_tags(ns="ENVI", **self._fields())
        # A description in place of the part file's name:
        text = self._part_header.read_text("utf-8")
        description = f"description = {{\n{OUR_DESCRIPTION}}}"
        text = re.sub(r"description = \{[^}]*\}", description, text, count=1)
        self._part_header.write_text(text, "utf-8")
        if self._moved():
            raise OutputError(
                f"an ENVI header cannot hold the geotransform {tuple(self.target.transform)}",
                path=self.path,
                remedy="use --format gtiff",
            )
        self._handle = os.open(self._part, os.O_RDWR | os.O_CLOEXEC)

    def _fields(self) -> dict[str, str]:
        """The header's scale and provenance."""
        plain = {
            key: " ".join(re.sub(r"[{}\s]+", " ", text).replace("=", ":").split())
            for key, text in self.target.tags.items()
        }
        scale = 1 / SCALE if self.dtype == "uint16" else 1
        return {"reflectance_scale_factor": f"{scale:g}", **plain}

    def _moved(self) -> bool:
        """Whether a corner lies elsewhere by the header."""
        with _env(), rasterio.open(self._part, driver="ENVI") as dataset:
            back = ~dataset.transform * self.target.affine
        corners = [(x, y) for x in (0, self.target.width) for y in (0, self.target.height)]
        return any(np.hypot(*(np.array(back * at) - at)) > _TOLERANCE for at in corners)

    def _close(self) -> None:
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def _store(self, row: int, col: int, block: NumberArray) -> None:
        data = np.ascontiguousarray(block).reshape(-1).view(np.uint8).data
        self._checksums[row, col] = zlib.crc32(data)  # before, so that a failed write is noticed
        length, start, write = block.shape[2] * self._bytes, 0, os.pwrite
        for place in self._places(row, col):  # a cube has 70,000 lines in a block
            line = data[start : start + length]
            if write(self._handle, line, place) != length:
                put(self._handle, line, place)  # which goes on, or says why not
            start += length

    def _places(self, row: int, col: int) -> list[int]:
        """The byte at which each line of a block begins, band by band."""
        window, target = self.target.block_window(row, col), self.target
        lines = np.arange(window.row, window.row + window.height)
        first = np.arange(target.bands)[:, None] * target.height + lines
        starts: list[int] = ((first * target.width + window.col) * self._bytes).ravel().tolist()
        return starts

    def _complete(self) -> None:
        """Nodata where nothing came: a hole in a file reads as zeros."""
        for row, col, window in self.target.all_blocks():
            if (row, col) not in self._taken:
                shape = self.bands, window.height, window.width
                self._store(row, col, np.full(shape, self.target.nodata, self.dtype))

    def _wrong(self) -> str | None:
        with _env(), rasterio.open(self._part, driver="ENVI") as dataset:
            if (dataset.count, dataset.height, dataset.width) != self.target.shape:
                return "size"
            wanted = self._metadata.envi() | self._fields()
            if not wanted.items() <= dataset.tags(ns="ENVI").items():
                return "ENVI header"
        for row in sorted({row for row, _ in self._checksums}):
            for col, checksum in enumerate(self._row_checksums(row)):
                if self._checksums.get((row, col), checksum) != checksum:
                    return self._place(row, col)
        return None

    def _row_checksums(self, row: int) -> list[int]:
        """The checksum of each block of a row, read in whole lines: in far fewer pieces."""
        target, line_bytes = self.target, self.target.width * self._bytes
        first, side = row * self.block, self.block * self._bytes
        last, step = min(first + self.block, target.height), max(1, _READ_BYTES // line_bytes)
        checksums = [0] * -(-target.width // self.block)
        for band in range(target.bands):
            for top in range(first, last, step):
                count, start = min(step, last - top), (band * target.height + top) * line_bytes
                lines = np.frombuffer(take(self._handle, count * line_bytes, start), np.uint8)
                lines = lines.reshape(count, line_bytes)
                for col, checksum in enumerate(checksums):
                    part = np.ascontiguousarray(lines[:, col * side : (col + 1) * side])
                    checksums[col] = zlib.crc32(part.data, checksum)
        return checksums

    def _publish(self) -> Path:
        overwrite, inputs = self.target.overwrite, self.target.inputs
        check_output(self.path, overwrite=overwrite, inputs=inputs)
        self._check_header()
        if may_replace(overwrite, self.path):
            self.path.unlink(missing_ok=True)  # rather nothing than numbers under a new header
        header = self._part_header.stat()
        publish(self._part_header, self._header, overwrite=overwrite)
        try:
            return super()._publish()
        except OutputError:  # a file of that name has appeared: it must not be read by our header
            with suppress(OSError):
                if os.path.samestat(header, self._header.lstat()):
                    self._header.unlink()
            raise


def _env() -> rasterio.Env:
    """No sidecars; but GDAL must see the folder to find the header."""
    return rasterio.Env(GDAL_PAM_ENABLED="NO", GDAL_DISABLE_READDIR_ON_OPEN="TRUE")
