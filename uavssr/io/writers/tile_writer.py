"""The part that all writers share: checks of windows, storage errors, and the name given last."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import rasterio

from uavssr.io.checks import GDAL_ERRORS
from uavssr.io.writers.atomic import check_output, publish, write_failed
from uavssr.io.writers.encoding import quantise
from uavssr.io.writers.part_folder import part_folder
from uavssr.io.writers.target import Target
from uavssr.sensors import BoolArray, Float32Array, NumberArray
from uavssr.tiling import Window

if TYPE_CHECKING:
    from rasterio.io import DatasetWriter

LIBRARY_ERRORS: Final = (*GDAL_ERRORS, OSError)
"""Errors that GDAL and the system raise when they cannot store something."""


class TileWriter(ABC):
    """Takes the tiles of one scene in any order and from any thread, and makes one file of them.

    ```
    with open_writer(target) as writer:
        writer.write(window, array, valid)
        writer.finish()
    ```
    Nothing appears at `path` before `finish` returns; leaving the block without it removes all.
    Windows must be whole blocks of the file and may not overlap, but the same window may be
    written again. Windows that are never written are nodata.

    Args:
        target: the raster.
        needed_bytes: the most disk space that making it takes, beside an older output.

    Raises:
        OutputError: the output would destroy something, or there is not enough free space.
    """

    target: Target

    def __init__(self, target: Target, *, needed_bytes: int) -> None:
        self.target, self.needed_bytes = target, needed_bytes
        self.path, self.bands = target.path, target.bands
        self.dtype, self.block, self.takes = target.dtype, target.block, target.takes
        check_output(
            target.path, overwrite=target.overwrite, inputs=target.inputs, needed_bytes=needed_bytes
        )
        self._crs = target.crs()
        self._part = target.path  # until it is entered
        self._folder = ExitStack()
        self._taken: dict[tuple[int, int], Window] = {}
        self._broken: set[tuple[int, int]] = set()
        self._changed = threading.Condition()
        self._open, self._writing = False, 0

    def __enter__(self) -> Self:
        try:
            with self._storage_errors():
                self._part = self._folder.enter_context(part_folder(self.path))
                self._create()
            self._open = True
        except BaseException:  # nobody calls __exit__ when this fails, or is interrupted
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        # The part file is removed, so errors of closing it do not matter.
        with suppress(*LIBRARY_ERRORS):
            self._close()
        self._folder.close()

    def write(self, window: Window, array: Float32Array, valid: BoolArray) -> None:
        """Store `array` (band, y, x) where `valid` (y, x), and nodata elsewhere.

        Raises:
            IncompleteRun: a valid pixel is not finite; the window is named and not written.
            OutputError: the system refused, a full disk most often.
        """
        where = f"{self.path}: window at row {window.row}, column {window.col}"
        where += f" ({window.height} x {window.width})"
        self.write_quantised(window, quantise(array, valid, dtype=self.dtype, where=where))

    def write_quantised(self, window: Window, array: NumberArray) -> None:
        """Store what `quantise` made of a window, (band, y, x) in the file's own dtype.

        Writing the same window again replaces it.

        Raises:
            ValueError: the window is not whole blocks, overlaps another, or the array differs.
            OutputError: the system refused, a full disk most often.
        """
        expected = (self.bands, window.height, window.width)
        if array.shape != expected or array.dtype != self.dtype:
            raise ValueError(
                f"{window} needs {expected} {self.dtype}, got {array.shape} {array.dtype}"
            )
        blocks = self.target.blocks(window)
        with self._changed:
            self._take(window, [(row, col) for row, col, _ in blocks])
            self._writing += 1
        try:
            with self._storage_errors():
                for row, col, part in blocks:
                    rows, cols = part.within(window)
                    self._broken.add((row, col))  # until it is stored
                    self._store(row, col, array[:, rows, cols])
                    self._broken.discard((row, col))
        finally:
            with self._changed:
                self._writing -= 1
                self._changed.notify_all()

    def finish(self) -> Path:
        """Complete the file, read all of it back, and give it its final name, which is returned.

        Raises:
            OutputError: the file does not hold what was written; the final name is untouched.
        """
        if not self._stop():
            raise ValueError(f"{self.path}: not open for writing")
        with self._storage_errors():
            self._complete()
            wrong = next((self._place(*block) for block in self._broken), None) or self._wrong()
            self._close()
        if wrong is not None:
            fact = f"{wrong} not as written when read back"
            raise write_failed(self.path, fact, needed_bytes=self.needed_bytes)
        return self._publish()

    def _new_dataset(self, driver: str, **options: str) -> DatasetWriter:
        """The part file as GDAL makes it, without pixels."""
        return rasterio.open(
            self._part,
            "w",
            driver=driver,
            height=self.target.height,
            width=self.target.width,
            count=self.bands,
            dtype=self.dtype,
            nodata=self.target.nodata,
            crs=self._crs,
            transform=self.target.affine,
            **options,
        )

    def _place(self, row: int, col: int) -> str:
        """A block, as a message names it."""
        return f"block at row {row * self.block}, column {col * self.block}"

    def _publish(self) -> Path:
        return publish(self._part, self.path, overwrite=self.target.overwrite)

    def _stop(self) -> bool:
        """Refuse further windows and wait for those being written; returns whether it was open."""
        with self._changed:
            was, self._open = self._open, False
            self._changed.wait_for(lambda: not self._writing)
        return was

    def _take(self, window: Window, blocks: Sequence[tuple[int, int]]) -> None:
        if not self._open:
            raise ValueError(f"{self.path}: not open for writing")
        for block in blocks:
            other = self._taken.get(block, window)
            if other != window:
                raise ValueError(f"{window} overlaps {other}, written before")
        self._taken.update(dict.fromkeys(blocks, window))

    @abstractmethod
    def _create(self) -> None:
        """Make the part file, without pixels."""

    @abstractmethod
    def _store(self, row: int, col: int, block: NumberArray) -> None:
        """Store one block (band, y, x); called from any thread, for one block by one at a time."""

    @abstractmethod
    def _complete(self) -> None:
        """Add what can only come last."""

    @abstractmethod
    def _wrong(self) -> str | None:
        """Read the part file back; returns what is not as it was written, or None."""

    @abstractmethod
    def _close(self) -> None:
        """Close all handles; a second call does nothing."""

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except LIBRARY_ERRORS as err:
            said = err.__cause__ or err  # GDAL's own words rather than rasterio's
            reason = said.strerror if isinstance(said, OSError) and said.strerror else said
            raise write_failed(self.path, reason, needed_bytes=self.needed_bytes) from err
