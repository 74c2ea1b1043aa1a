"""What all sinks share: which tiles came, what may go wrong, and that the name comes last.

Must not know a format.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.transform import Affine

from uavssr.errors import OutputError
from uavssr.io.checks import GDAL_ERRORS
from uavssr.io.raster import Transform
from uavssr.io.writers.atomic import check_output, discard, part_path, publish, write_failed
from uavssr.io.writers.encoding import NODATA, CubeDtype, quantise
from uavssr.tiling import Window

Array = npt.NDArray[np.generic]
LIBRARY_ERRORS: Final = (*GDAL_ERRORS, OSError)
"""What GDAL and the system raise when they cannot store something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The raster that a sink makes, whatever its format."""

    path: Path
    """The final name."""
    height: int
    """Rows."""
    width: int
    """Columns."""
    bands: int
    """Wavelengths, or coefficients."""
    crs_wkt: str
    """Coordinate reference system."""
    transform: Transform
    """(a, b, c, d, e, f) with x = a col + b row + c, y = d col + e row + f."""
    dtype: CubeDtype
    """Of the stored numbers."""
    block: int
    """Side of a block in pixels."""
    overwrite: bool
    """Whether an output at `path` may be replaced."""
    inputs: tuple[Path, ...]
    """Files that must never be replaced."""

    def __post_init__(self) -> None:
        if self.block < 16 or self.block % 16:
            raise ValueError(f"block must be a positive multiple of 16, got {self.block}")

    @property
    def nodata(self) -> float:
        """Marks invalid pixels."""
        return float(NODATA) if self.dtype == "uint16" else float("nan")

    @property
    def affine(self) -> Affine:
        """The transform as rasterio has it."""
        return Affine(*self.transform)

    def crs(self) -> CRS:
        """The CRS as rasterio has it.

        Raises:
            OutputError: GDAL does not understand it.
        """
        try:
            return CRS.from_wkt(self.crs_wkt)
        except CRSError as err:
            raise OutputError(
                f"GDAL cannot read the CRS {self.crs_wkt[:60]!r}",
                path=self.path,
                remedy="give it as EPSG:code",
            ) from err

    def blocks(self, window: Window) -> list[tuple[int, int, Window]]:
        """Row, column and pixels of the blocks that make up a window.

        Raises:
            ValueError: the window leaves the scene, or cuts a block.
        """
        bottom, right = window.row + window.height, window.col + window.width
        if window.row < 0 or window.col < 0 or bottom > self.height or right > self.width:
            raise ValueError(f"{window} leaves the scene of {self.height} x {self.width}")
        aligned = window.row % self.block == 0 and window.col % self.block == 0
        aligned &= bottom % self.block == 0 or bottom == self.height
        aligned &= right % self.block == 0 or right == self.width
        if not aligned:
            raise ValueError(f"{window} is not made of whole blocks of {self.block}")
        rows = range(window.row // self.block, -(-bottom // self.block))
        cols = range(window.col // self.block, -(-right // self.block))
        return [(row, col, self.block_window(row, col)) for row in rows for col in cols]

    def block_window(self, row: int, col: int) -> Window:
        """The pixels of a block."""
        top, left, side = row * self.block, col * self.block, self.block
        return Window(top, left, min(side, self.height - top), min(side, self.width - left))


class TileWriter(ABC):
    """The part of a `formats.CubeSink` that does not depend on the format.

    Args:
        target: the raster to make.
        needed_bytes: the most that the disk must hold while it is made.
    """

    takes: Literal["cube", "coefficients"] = "cube"

    def __init__(self, target: Target, *, needed_bytes: int) -> None:
        self.target, self.needed_bytes = target, needed_bytes
        self.path, self.bands = target.path, target.bands
        self.dtype, self.block = target.dtype, target.block
        check_output(
            target.path,
            overwrite=target.overwrite,
            inputs=target.inputs,
            needed_bytes=needed_bytes,
        )
        self._crs = target.crs()
        self._part = part_path(target.path)
        self._taken: dict[tuple[int, int], Window] = {}
        self._broken: set[tuple[int, int]] = set()
        self._changed = threading.Condition()
        self._open, self._writing = False, 0

    def __enter__(self) -> Self:
        discard(self._part)
        try:
            with self._storage_errors():
                self._create()
            self._open = True
        except BaseException:  # nobody calls __exit__ when this fails, or is interrupted
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()
        # The part is thrown away, so it does not matter what closing it says.
        with suppress(*LIBRARY_ERRORS):
            self._close()
        discard(self._part)

    def write(
        self, window: Window, array: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_]
    ) -> None:
        """Store `array` (bands, h, w) where `valid` (h, w), and nodata elsewhere.

        Raises:
            IncompleteRun: a valid pixel is not finite; the window is named and not written.
            OutputError: the system refused, a full disk most often.
        """
        where = f"{self.path}: window at row {window.row}, column {window.col}"
        where += f" ({window.height} x {window.width})"
        self.write_quantised(window, quantise(array, valid, dtype=self.dtype, where=where))

    def write_quantised(self, window: Window, array: Array) -> None:
        """Store what `quantise` made of a window, (bands, h, w) in the file's own dtype.

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
        """Complete the file, read all of it back, and give it its final name.

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
            raise write_failed(
                self.path,
                f"{wrong} not as written when read back",
                needed_bytes=self.needed_bytes,
            )
        return self._publish()

    def _place(self, row: int, col: int) -> str:
        """A block, as a message names it."""
        return f"block at row {row * self.block}, column {col * self.block}"

    def _publish(self) -> Path:
        return publish(self._part, self.path, overwrite=self.target.overwrite)

    def _stop(self) -> bool:
        """Let no more in and wait for those who write; whether there was something to stop."""
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
        """Make the part, without pixels."""

    @abstractmethod
    def _store(self, row: int, col: int, block: Array) -> None:
        """Store one block (bands, h, w); called from any thread, never for one block at once."""

    @abstractmethod
    def _complete(self) -> None:
        """Add what can only come last."""

    @abstractmethod
    def _wrong(self) -> str | None:
        """What of the part is not as it was written, or None."""

    @abstractmethod
    def _close(self) -> None:
        """Let go of all handles; again is harmless."""

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except LIBRARY_ERRORS as err:
            said = err.__cause__ or err  # GDAL's own words rather than rasterio's
            reason = said.strerror if isinstance(said, OSError) and said.strerror else said
            raise write_failed(self.path, reason, needed_bytes=self.needed_bytes) from err
