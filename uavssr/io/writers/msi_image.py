"""The only writer of multispectral images: blocks go into a part file, read back before its name.

Must not compute reflectance or know why a block is empty.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.crs import CRS
from rasterio.transform import Affine
from rasterio.windows import Window as RasterioWindow

from uavssr.io.checks import GDAL_ERRORS
from uavssr.io.raster import Place
from uavssr.io.writers.atomic import PathLike, replacing, write_failed
from uavssr.io.writers.encoding import NODATA, SCALE, CubeDtype, cube_bytes, quantise
from uavssr.sensors import Sensor
from uavssr.tiling import Window

if TYPE_CHECKING:
    from rasterio.io import DatasetReader, DatasetWriter

Part = tuple[Window, npt.NDArray[np.float32], npt.NDArray[np.bool_]]

BLOCK: Final = 128
"""Side of the file's blocks in pixels; windows are made of whole ones."""


def write_image(
    path: PathLike,
    parts: Iterable[Part],
    *,
    sensor: Sensor,
    place: Place,
    dtype: CubeDtype = "uint16",
    tags: Mapping[str, str] | None = None,
    overwrite: bool = False,
    inputs: Sequence[Path] = (),
) -> Path:
    """Write a camera's image as a GeoTIFF that says all `open_msi` asks of it.

    Bands carry their role as description, wavelength and FWHM of the data sheet, the scale and
    nodata; the dataset names the sensor. As uint16, reflectance is clipped to 0..6.5534 and
    rounded to 0.0001; as float32 it is kept.

    Args:
        path: the final name, which appears when all has been written and read back.
        parts: windows of whole blocks with reflectance (c, h, w) and the valid pixels (h, w).
        sensor: the camera, c bands.
        place: size and georeference.
        dtype: what the file stores.
        tags: more for the dataset's default domain.
        overwrite: whether a file at `path` may be replaced.
        inputs: files that must never be replaced.

    Raises:
        OutputError: the output would destroy something, or the system refused to write.
        IncompleteRun: a valid pixel is not finite.
    """
    needed = cube_bytes(place.height, place.width, len(sensor), dtype=dtype)
    written: dict[Window, int] = {}
    with replacing(path, overwrite=overwrite, inputs=inputs, needed_bytes=needed) as part:
        with _storage_errors(path, needed):
            dataset = _create(part, sensor, place, dtype)
        with dataset:
            for window, image, valid in parts:
                _check_window(window, place)
                stored = quantise(image, valid, dtype=dtype, where=f"{path}: {window}")
                written[window] = zlib.crc32(stored.data)
                with _storage_errors(path, needed):
                    dataset.write(stored, window=_rasterio_window(window))
            with _storage_errors(path, needed):
                _describe(dataset, sensor, dtype, tags or {})
                dataset.close()
        with _storage_errors(path, needed), _open(part) as back:
            wrong = _difference(back, sensor, place, written)
        if wrong:
            raise write_failed(path, f"{wrong} not as written when read back", needed_bytes=needed)
    return Path(path)


def _create(part: Path, sensor: Sensor, place: Place, dtype: CubeDtype) -> DatasetWriter:
    with _env():
        return rasterio.open(
            part,
            "w",
            driver="GTiff",
            height=place.height,
            width=place.width,
            count=len(sensor),
            dtype=dtype,
            nodata=NODATA if dtype == "uint16" else np.nan,
            crs=CRS.from_wkt(place.crs_wkt),
            transform=Affine(*place.transform),
            tiled=True,
            blockxsize=BLOCK,
            blockysize=BLOCK,
            interleave="band",
            compress="zstd",
            zstd_level=1,
            predictor=2 if dtype == "uint16" else 3,
            photometric="minisblack",  # three bands would be taken for red, green and blue
            bigtiff="if_safer",
        )


def _describe(
    dataset: DatasetWriter, sensor: Sensor, dtype: CubeDtype, tags: Mapping[str, str]
) -> None:
    scale = SCALE if dtype == "uint16" else 1.0
    dataset.scales, dataset.offsets = (scale,) * len(sensor), (0.0,) * len(sensor)
    # GDAL keeps no scale of one, so that the tag says it for float32.
    named = {} if dtype == "uint16" else {"reflectance_scale_factor": "1"}
    dataset.update_tags(**{"sensor": sensor.name, **named, **tags})
    for number, band in enumerate(sensor.bands, start=1):
        dataset.set_band_description(number, band.role)
        dataset.update_tags(
            number, wavelength=repr(band.centre), wavelength_units="nm", fwhm=repr(band.fwhm)
        )


def _difference(
    dataset: DatasetReader, sensor: Sensor, place: Place, written: Mapping[Window, int]
) -> str:
    """What the file does not hold as it was written; empty where it holds all."""
    if (dataset.count, dataset.height, dataset.width) != (len(sensor), place.height, place.width):
        return "size"
    if tuple(dataset.transform)[:6] != place.transform:
        return "geotransform"
    if dataset.descriptions != sensor.roles or dataset.tags().get("sensor") != sensor.name:
        return "band names and sensor"
    if sum(window.height * window.width for window in written) != place.height * place.width:
        return "number of pixels"
    for window, checksum in written.items():
        if zlib.crc32(dataset.read(window=_rasterio_window(window)).data) != checksum:
            return f"window at row {window.row}, column {window.col}"
    return ""


def _check_window(window: Window, place: Place) -> None:
    """Windows that share a block would write it twice, and lose room or worse on a full disk."""
    bottom, right = window.row + window.height, window.col + window.width
    edges = ((window.row, 0), (window.col, 0), (bottom, place.height), (right, place.width))
    if any(edge % BLOCK and edge != end for edge, end in edges):
        raise ValueError(f"{window} is not made of whole blocks of {BLOCK}")


def _rasterio_window(window: Window) -> RasterioWindow:
    return RasterioWindow(window.col, window.row, window.width, window.height)


@contextmanager
def _open(part: Path) -> Iterator[DatasetReader]:
    with _env(), rasterio.open(part, driver="GTiff") as dataset:
        yield dataset


def _env() -> rasterio.Env:
    threads = str(min(4, os.cpu_count() or 1))
    return rasterio.Env(
        GDAL_PAM_ENABLED="NO", GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_NUM_THREADS=threads
    )


@contextmanager
def _storage_errors(path: PathLike, needed: int) -> Iterator[None]:
    try:
        yield
    except (*GDAL_ERRORS, OSError) as err:
        reason = err.strerror if isinstance(err, OSError) and err.strerror else err
        raise write_failed(path, reason, needed_bytes=needed) from err
