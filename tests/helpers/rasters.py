"""Small multispectral rasters for the tests of the reader."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine

from tests.helpers.places import SHARED

P4M = ("Blue", "Green", "Red", "RedEdge", "NIR")
UTM = "EPSG:32650"
TRANSFORM = Affine(0.1, 0.0, 500000.0, 0.0, -0.1, 3000000.0)


def scene(bands: int = 5, height: int = 40, width: int = 50, *, seed: int = 0) -> np.ndarray:
    """Reflectance (band, y, x) as float32, 0.03-0.6."""
    return np.random.default_rng(seed).uniform(0.03, 0.6, (bands, height, width)).astype("f4")


def write(
    path: Path,
    numbers: np.ndarray,
    *,
    names: Sequence[str | None] | None = P4M,
    colours: Sequence[str] | None = None,
    tags: dict[str, str] | None = None,
    wavelengths: Sequence[float] | None = None,
    scales: Sequence[float] | None = None,
    mask: np.ndarray | None = None,
    **profile: Any,
) -> Path:
    """Write numbers (band, y, x) as a georeferenced GeoTIFF; options are rasterio's."""
    count, height, width = numbers.shape
    known = {
        "driver": "GTiff",
        "count": count,
        "height": height,
        "width": width,
        "dtype": numbers.dtype.name,
        "crs": UTM,
        "transform": TRANSFORM,
    }
    options = {key: value for key, value in (known | profile).items() if value is not None}
    with (
        warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning),
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True, GDAL_PAM_ENABLED="NO"),
        rasterio.open(path, "w", **options) as file,
    ):
        if colours is not None:  # before the pixels: GDAL can keep them in the file only then
            file.colorinterp = [ColorInterp[colour] for colour in colours]
        file.write(numbers)
        if names is not None:
            file.descriptions = list(names)
        if tags:
            file.update_tags(**tags)
        for index, nm in enumerate(wavelengths or (), start=1):
            file.update_tags(index, wavelength=str(nm), wavelength_units="nm")
        if scales is not None:
            file.scales = list(scales)
        if mask is not None:
            file.write_mask(mask)
    return path


def shared(name: str) -> Path:
    """A file of the data that lies beside the project, or a skipped test."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{name} is not in {SHARED}")
    return path
