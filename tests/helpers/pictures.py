"""Writers of the files that benchmarks read: PNG pictures and MATLAB 7.3 cubes."""

from __future__ import annotations

import warnings
from pathlib import Path

import h5py
import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning


def write_png(path: Path, numbers: np.ndarray) -> None:
    """A PNG file of (band, y, x)."""
    count, height, width = numbers.shape
    shape = {"count": count, "height": height, "width": width}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="PNG", dtype=numbers.dtype, **shape) as file:
            file.write(numbers)


def write_mat(path: Path, cube: np.ndarray, nm: np.ndarray, **options: object) -> None:
    """A file as MATLAB's `save -v7.3` writes a cube (y, x, band), after a block of 512 bytes."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset("cube", data=cube.transpose(2, 1, 0), **options)
        file.create_dataset("bands", data=nm[:, None])
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512, b" "))
