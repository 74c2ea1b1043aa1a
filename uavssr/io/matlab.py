"""Cubes in MATLAB files of version 7.3, which are HDF5 files, read window by window."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from uavssr.errors import InputRefused
from uavssr.io.bounded import open_regular, why_unread
from uavssr.sensors import Float32Array, FloatArray
from uavssr.tiling import Window

if TYPE_CHECKING:
    import h5py

_MAX_CUBE: Final = 2**32
"""Bytes of a cube in memory."""
_MAX_LISTED_BANDS: Final = 4096
_OLD_START: Final = b"MATLAB 5.0"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MatCube:
    """A cube of which nothing is in memory."""

    path: Path
    shape: tuple[int, int, int]
    """Bands, rows and columns."""
    nm: FloatArray
    """(C,) wavelengths in nm."""

    def read(self, window: Window | None = None) -> Float32Array:
        """The numbers (C, y, x) of a window, by default of the whole cube.

        Raises:
            InputRefused: the file is damaged, or has changed.
        """
        _, height, width = self.shape
        part = window or Window(0, 0, height, width)
        with _opened(self.path) as file:
            # MATLAB's first axis changes fastest, which is HDF5's last: (C, x, y)
            stored = file["cube"][:, part.cols, part.rows]
        return np.ascontiguousarray(stored.transpose(0, 2, 1), np.float32)


def open_mat_cube(path: Path) -> MatCube:
    """A cube `cube` (y, x, band in MATLAB) with wavelengths `bands` in a .mat file of version 7.3.

    Raises:
        InputRefused: no such file, another version of MATLAB's, or no such cube in it.
    """
    with _opened(path) as file:
        cube, bands = (_dataset(file, name) for name in ("cube", "bands"))
        if cube.ndim != 3 or min(cube.shape) < 1 or 4 * cube.size > _MAX_CUBE:
            raise ValueError(f"cube has the shape {cube.shape[::-1]}")
        if bands.size != cube.shape[0] or bands.size > _MAX_LISTED_BANDS:
            raise ValueError(f"cube has {cube.shape[0]} bands, and bands lists {bands.size}")
        nm = np.asarray(bands[()], float).ravel()
        if not np.all(np.diff(nm) > 0):
            raise ValueError("bands do not increase")
        count, width, height = cube.shape
    return MatCube(path=path, shape=(count, height, width), nm=nm)


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """The open file; what goes wrong in the body too is refused."""
    import h5py

    remedy = "download it again"
    try:
        with open_regular(path) as file:
            if file.read(len(_OLD_START)) == _OLD_START and not h5py.is_hdf5(path):
                remedy = "load it in MATLAB and write it with save(..., '-v7.3')"
                raise ValueError("a version before 7.3")
        with h5py.File(path, "r") as opened:
            yield opened
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as err:
        why = why_unread(err, path) if isinstance(err, OSError | ValueError) else str(err)
        raise InputRefused(
            f"no MATLAB 7.3 file with cube and bands ({' '.join(why.split())[:200]})",
            path=path,
            remedy=remedy,
        ) from err


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """An array of numbers that lies in the file itself."""
    import h5py

    if file.get(name, getclass=True, getlink=True) is not h5py.HardLink:
        raise ValueError(f"lacks {name}")
    item = file[name]
    if not isinstance(item, h5py.Dataset):
        raise TypeError(f"{name} is no array")
    if item.external or item.is_virtual:
        raise ValueError(f"{name} lies in another file")
    if item.dtype.kind not in "fiu":
        raise ValueError(f"{name} holds no numbers")
    return item
