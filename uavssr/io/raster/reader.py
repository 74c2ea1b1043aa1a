"""Stored numbers of the chosen bands, window by window, from any thread or process.

Must not judge or scale them.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.windows
from rasterio.io import DatasetReader

from uavssr.errors import InputRefused
from uavssr.io.checks import GDAL_ERRORS, CheckedFile
from uavssr.sensors import BoolArray
from uavssr.tiling import Window

Numbers = npt.NDArray[np.generic]


class _Handles:
    """Open datasets of this thread and process; copies and children open their own."""

    def __init__(self) -> None:
        self._local = threading.local()

    def __reduce__(self) -> tuple[type[_Handles], tuple[()]]:
        return _Handles, ()

    def get(self, checked: CheckedFile) -> DatasetReader:
        """This thread's handle, opened at first need."""
        opened: dict[str, DatasetReader] = self._local.__dict__
        # A forked child shares the file position of its parent's handles, so it opens its own.
        key = f"{os.getpid()}:{checked.absolute}"
        if key not in opened:
            opened[key] = checked.open()
        return opened[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileBands:
    """What is read from one file."""

    checked: CheckedFile
    """The file."""
    indexes: tuple[int, ...]
    """Its bands that are read, numbered from one."""
    positions: tuple[int, ...]
    """Where each of them goes on the band axis."""
    alpha: int | None
    """Its alpha band."""
    mask: int | None
    """A band whose mask band is to be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandReader:
    """Reads windows of the chosen bands of one or several files on the same grid."""

    files: tuple[FileBands, ...]
    """The files and which of their bands go where."""
    height: int
    """Rows of the scene."""
    width: int
    """Columns of the scene."""
    _handles: _Handles = field(default_factory=_Handles, repr=False, compare=False)

    @property
    def count(self) -> int:
        """Number of bands."""
        return sum(len(file.indexes) for file in self.files)

    def read(self, window: Window) -> tuple[Numbers, BoolArray]:
        """The stored numbers (band, y, x) and where alpha and masks let them be valid (y, x).

        Raises:
            ValueError: the window reaches outside the scene.
            InputRefused: a block cannot be decoded, or a file changed.
        """
        self._check(window)
        parts: list[tuple[int, Numbers]] = []
        valid = np.ones((window.height, window.width), bool)
        for file in self.files:
            numbers, part = self._read_file(file, window)
            parts += zip(file.positions, numbers, strict=True)
            valid &= part
        return np.stack([band for _, band in sorted(parts, key=lambda part: part[0])]), valid

    def _check(self, window: Window) -> None:
        bottom, right = window.row + window.height, window.col + window.width
        if min(window.row, window.col) < 0 or bottom > self.height or right > self.width:
            raise ValueError(f"{window} reaches outside a scene of {self.height} x {self.width}")

    def _read_file(self, file: FileBands, window: Window) -> tuple[Numbers, BoolArray]:
        dataset = self._handles.get(file.checked)
        file.checked.check_unchanged()
        part = rasterio.windows.Window(window.col, window.row, window.width, window.height)
        valid = np.ones((window.height, window.width), bool)
        try:
            numbers: Numbers = dataset.read(list(file.indexes), window=part)
            if file.alpha is not None:
                valid &= dataset.read(file.alpha, window=part) > 0
            if file.mask is not None:
                valid &= dataset.read_masks(file.mask, window=part) > 0
        except (*GDAL_ERRORS, MemoryError) as err:
            cause = err.__cause__ or err
            raise InputRefused(
                f"cannot read columns {window.col}-{window.col + window.width - 1}, rows "
                f"{window.row}-{window.row + window.height - 1}: {cause}",
                path=file.checked.path,
                remedy="the file is damaged: copy or export it again",
            ) from err
        return numbers, valid
