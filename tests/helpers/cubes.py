"""Small hyperspectral rasters for the tests: as we write them, and as ENVI and others do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from rasterio.crs import CRS

from tests.helpers.models import GRID
from tests.helpers.rasters import TRANSFORM, UTM
from uavssr.io.writers import CubeTarget, open_writer
from uavssr.sensors import WavelengthGrid
from uavssr.tiling import TileGrid


def smooth_cube(height: int = 70, width: int = 90, *, seed: int = 0) -> np.ndarray:
    """Reflectance (C, height, width) on the tiny grid, float32 0.05-0.6, with structure."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 20
    maps = [np.sin(rng.uniform(0.5, 2) * x + rng.uniform(0.5, 2) * y + k) for k in range(3)]
    spectra = np.sin(np.linspace(0, rng.uniform(2, 6, 3), len(GRID)))
    cube = 0.3 + 0.08 * np.tensordot(spectra, np.array(maps), 1)
    return np.asarray(cube + rng.normal(0, 0.01, cube.shape)).astype("f4").clip(0.02, None)


def write_cube(
    path: Path,
    cube: np.ndarray,
    valid: np.ndarray | None = None,
    *,
    grid: WavelengthGrid = GRID,
    **options: object,
) -> Path:
    """A cube as `reconstruct` writes it; float32 unless `dtype` says otherwise."""
    height, width = cube.shape[1:]
    mask = np.ones((height, width), bool) if valid is None else valid
    settings = {
        "crs_wkt": CRS.from_string(UTM).to_wkt(),
        "transform": tuple(TRANSFORM)[:6],
        "dtype": "float32",
        "block": 32,
    } | options
    target = CubeTarget(path=path, height=height, width=width, grid=grid, **settings)
    with open_writer(target) as sink:
        for tile in TileGrid(height=height, width=width, tile=sink.block):
            rows, cols = tile.core.rows, tile.core.cols
            sink.write(tile.core, cube[:, rows, cols], mask[rows, cols])
        return sink.finish()


def write_envi(
    path: Path, numbers: np.ndarray, *fields: str, interleave: str = "bil", crs: bool = True
) -> Path:
    """A raw file with a header that holds `fields` besides the necessary ones."""
    order = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (1, 2, 0)}[interleave]
    np.ascontiguousarray(numbers.transpose(order)).tofile(path)
    kinds = {"uint16": 12, "float32": 4, "int16": 2}
    place = "map info = {UTM, 1, 1, 500000, 3000000, 0.1, 0.1, 50, North, WGS-84}"
    lines = [
        "ENVI",
        f"samples = {numbers.shape[2]}",
        f"lines = {numbers.shape[1]}",
        f"bands = {numbers.shape[0]}",
        "header offset = 0",
        f"data type = {kinds[numbers.dtype.name]}",
        f"interleave = {interleave}",
        "byte order = 0",
        *([place] if crs else []),
        *fields,
    ]
    Path(f"{path}.hdr").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def listed(key: str, values: np.ndarray, *, before: str = "", between: str = ", ") -> str:
    """A list of an ENVI header."""
    return f"{key} = {{{before}{between.join(repr(float(v)) for v in values)}}}"


def write_plain(path: Path, cube: np.ndarray, **profile: object) -> Path:
    """A GeoTIFF that holds the numbers and nothing of their meaning."""
    count, height, width = cube.shape
    options = {"crs": UTM, "transform": TRANSFORM, "dtype": cube.dtype.name} | profile
    with (
        rasterio.Env(GDAL_PAM_ENABLED="NO"),
        rasterio.open(
            path, "w", driver="GTiff", count=count, height=height, width=width, **options
        ) as file,
    ):
        file.write(cube)
    return path


def tag(path: Path, domain: str | None, *bands: dict[str, str], **tags: str) -> Path:
    """Add tags to a domain of the dataset, and of each band."""
    with rasterio.Env(GDAL_PAM_ENABLED="NO"), rasterio.open(path, "r+") as file:
        if tags:
            file.update_tags(ns=domain, **tags)
        for index, each in enumerate(bands, start=1):
            file.update_tags(index, ns=domain, **each)
    return path
