"""Files that pages of docs/how-to/ start from, as each program writes them; from the example."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import rasterio
from rasterio.enums import ColorInterp

from uavssr.sensors import Float32Array

SIDE: Final = 128
"""Side of the images in pixels."""


def _example(folder: Path) -> tuple[Float32Array, dict[str, object]]:
    """Reflectance (band, y, x) of a corner of the example without nodata, and its profile."""
    with rasterio.open(folder / "examples/field.tif") as image:
        window = rasterio.windows.Window(150, 150, SIDE, SIDE)
        reflectance = image.read(window=window).astype(np.float32) * image.scales[0]
        transform = image.window_transform(window)
        profile = {"driver": "GTiff", "width": SIDE, "height": SIDE, "crs": image.crs}
    return reflectance, profile | {"transform": transform}


def _write(path: Path, bands: np.ndarray, profile: dict[str, object], **more: object) -> None:
    options = profile | more | {"count": len(bands), "dtype": bands.dtype.name}
    with rasterio.open(path, "w", **options) as file:
        file.write(bands)


def terra(folder: Path) -> None:
    """One float file a band, `result_Blue.tif` and so on."""
    reflectance, profile = _example(folder)
    for name, band in zip(("Blue", "Green", "Red", "RedEdge", "NIR"), reflectance, strict=True):
        _write(folder / f"result_{name}.tif", band[None], profile)


def pix4d(folder: Path) -> None:
    """One float file a band, with fill of -10000 that no tag names."""
    reflectance, profile = _example(folder)
    reflectance[:, :20] = -10000
    for name, band in zip(("blue", "green", "red", "rededge", "nir"), reflectance, strict=True):
        _write(folder / f"field_{name}.tif", band[None], profile)


def metashape(folder: Path) -> None:
    """One uint16 file without names of bands, 32768 is 100 %."""
    reflectance, profile = _example(folder)
    _write(folder / "ortho.tif", np.round(reflectance * 32768).astype(np.uint16), profile)


def odm(folder: Path) -> None:
    """Red, green, blue, NIR, red edge and alpha, with descriptions."""
    reflectance, profile = _example(folder)
    bands = np.concatenate([reflectance[[2, 1, 0, 4, 3]], np.full((1, SIDE, SIDE), 255)])
    path = folder / "odm_orthophoto.tif"
    _write(path, bands.astype(np.float32), profile)
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("Red", "Green", "Blue", "NIR", "Rededge", None)
        file.colorinterp = [*[ColorInterp.undefined] * 5, ColorInterp.alpha]


def unscaled(folder: Path) -> None:
    """A uint16 file with names of bands, whose scale nothing states."""
    metashape(folder)
    path = (folder / "ortho.tif").rename(folder / "unscaled.tif")
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("Blue", "Green", "Red", "RedEdge", "NIR")


def field(folder: Path) -> None:
    """The corner of the example as it is, named field.tif."""
    unscaled(folder)
    path = (folder / "unscaled.tif").rename(folder / "field.tif")
    with rasterio.open(path, "r+") as file:
        file.scales = [1 / 32768] * 5


def fields(folder: Path) -> None:
    """Two fields in a folder."""
    field(folder)
    (folder / "fields").mkdir()
    for name in ("north", "south"):
        (folder / "fields" / f"{name}.tif").write_bytes((folder / "field.tif").read_bytes())


SETUPS: Final[dict[str, Callable[[Path], None]]] = {
    "docs/how-to/terra.md": terra,
    "docs/how-to/pix4d.md": pix4d,
    "docs/how-to/metashape.md": metashape,
    "docs/how-to/odm.md": odm,
    "docs/how-to/batch.md": fields,
    "docs/how-to/large.md": field,
    "docs/how-to/scale.md": unscaled,
}
"""By page."""
