"""Reading of stored numbers, window by window, from any thread or process."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field

import numpy as np
import rasterio.windows
from rasterio.io import DatasetReader

from uavssr.errors import InputRefused
from uavssr.io.checks import GDAL_ERRORS, CheckedFile
from uavssr.sensors import BoolArray, NumberArray
from uavssr.tiling import Window


class _Handles:
    """Open datasets of one thread and process; copies and child processes open their own."""

    def __init__(self) -> None:
        self._local = threading.local()

    def __reduce__(self) -> tuple[type[_Handles], tuple[()]]:
        return _Handles, ()

    def get(self, checked: CheckedFile) -> DatasetReader:
        """The dataset of this thread, opened at the first call."""
        datasets: dict[str, DatasetReader] = self._local.__dict__
        # A forked child shares the file position of its parent's handles, so it opens its own.
        key = f"{os.getpid()}:{checked.absolute}"
        if key not in datasets:
            datasets[key] = checked.open()
        return datasets[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileBands:
    """The bands that are read from one file."""

    checked: CheckedFile
    """The file."""
    indexes: tuple[int, ...]
    """Numbers of the bands in the file, from one."""
    positions: tuple[int, ...]
    """Indices of the same bands on the band axis of what is read."""
    alphas: tuple[int, ...]
    """Numbers of the alpha bands; a pixel is valid where none is 0."""
    mask: int | None
    """Number of a band whose mask band is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandReader:
    """Reads windows of bands of one or several files on the same grid."""

    files: tuple[FileBands, ...]
    """The bands to read of each file."""
    height: int
    """Rows of the scene."""
    width: int
    """Columns of the scene."""
    _handles: _Handles = field(default_factory=_Handles, repr=False, compare=False)

    def read(self, window: Window) -> tuple[NumberArray, BoolArray]:
        """The stored numbers (band, y, x), and the pixels (y, x) valid by alpha and mask bands.

        Raises:
            ValueError: the window reaches outside the scene.
            InputRefused: a block cannot be decoded, or a file changed.
        """
        if window.intersection(Window(0, 0, self.height, self.width)) != window:
            raise ValueError(f"{window} reaches outside a scene of {self.height} x {self.width}")
        bands: dict[int, NumberArray] = {}
        valid = np.ones((window.height, window.width), bool)
        for file in self.files:
            numbers, file_valid = self._read_file(file, window)
            bands.update(zip(file.positions, numbers, strict=True))
            valid &= file_valid
        return np.stack([bands[position] for position in sorted(bands)]), valid

    def _read_file(self, file: FileBands, window: Window) -> tuple[NumberArray, BoolArray]:
        dataset = self._handles.get(file.checked)
        file.checked.check_unchanged()
        pixels = rasterio.windows.Window(window.col, window.row, window.width, window.height)
        try:
            stored: NumberArray = dataset.read([*file.indexes, *file.alphas], window=pixels)
            numbers, alphas = np.split(stored, [len(file.indexes)])
            valid: BoolArray = np.asarray(np.greater(alphas, 0).all(0))
            if file.mask is not None:
                valid &= dataset.read_masks(file.mask, window=pixels) > 0
        except (*GDAL_ERRORS, MemoryError) as err:
            cause = err.__cause__ or err
            raise InputRefused(
                f"cannot read columns {window.col}-{window.col + window.width - 1}, rows "
                f"{window.row}-{window.row + window.height - 1}: {cause}",
                path=file.checked.path,
                remedy="the file is damaged: copy or export it again",
            ) from err
        return numbers, valid
