"""The only writer of cubes: tiles go into a part file, which is read back before it gets its name.

Must not compute reflectance, keep a journal, or know why a tile is empty.
"""

from __future__ import annotations

import logging
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio._err import CPLE_BaseError  # some of rasterio's calls let it through
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import CRSError, RasterioError
from rasterio.transform import Affine
from rasterio.windows import Window as RasterioWindow

from uavssr.bands import WavelengthGrid
from uavssr.errors import OutputError
from uavssr.raster import encoding
from uavssr.raster.encoding import NODATA, SCALE, CubeArray, CubeDtype, cube_bytes, quantise
from uavssr.raster.grid import Window
from uavssr.raster.metadata import CubeMetadata
from uavssr.raster.output import PathLike, check_output, discard, part_path, publish, write_failed

if TYPE_CHECKING:
    from rasterio.io import DatasetReader, DatasetWriter

__all__ = ["NODATA", "SCALE", "CubeDtype", "CubeSink", "check_output", "cube_bytes", "quantise"]

_log = logging.getLogger(__name__)


class CubeSink:
    """Writes one hyperspectral GeoTIFF, tile by tile and from any thread.

    ```
    with CubeSink(path, height=..., width=..., grid=..., crs_wkt=..., transform=...) as sink:
        sink.write(window, cube, valid)
        sink.finish()
    ```
    Nothing appears at `path` before `finish` returns; leaving the block without it removes all.
    Windows that are never written read as nodata and take no space.

    Args:
        path: the final name.
        height: rows of the scene.
        width: columns of the scene.
        grid: the cube's C wavelengths.
        crs_wkt: coordinate reference system, copied from the input.
        transform: (a, b, c, d, e, f) with x = a col + b row + c, y = d col + e row + f.
        dtype: counts of 0.0001 reflectance (nodata 65535), or float32 reflectance (nodata NaN).
        block: side of the file's blocks in pixels, a multiple of 16; windows must start on them.
        overwrite: whether a file at `path` may be replaced.
        creation_options: GDAL options that win over the defaults.
        tags: provenance for the dataset's default domain.
        inputs: files that must never be replaced.

    Raises:
        OutputError: the output would destroy something, or there is no room for it.
        UsageError: a creation option that would break the file's promises.
    """

    def __init__(
        self,
        path: PathLike,
        *,
        height: int,
        width: int,
        grid: WavelengthGrid,
        crs_wkt: str,
        transform: Sequence[float],
        dtype: CubeDtype = "uint16",
        block: int = 256,
        overwrite: bool = False,
        creation_options: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        inputs: Sequence[Path] = (),
    ) -> None:
        if block < 16 or block % 16:
            raise ValueError(f"block must be a positive multiple of 16, got {block}")
        self.path, self.dtype, self.block = Path(path), dtype, block
        self.height, self.width, self.bands = height, width, len(grid)
        self._needed = cube_bytes(height, width, len(grid), dtype=dtype)
        self._overwrite = overwrite
        check_output(path, overwrite=overwrite, inputs=inputs, needed_bytes=self._needed)
        self._part = part_path(self.path)
        self._transform = Affine(*tuple(transform)[:6])
        self._crs = _crs(crs_wkt, self.path)
        self._options = encoding.creation_options(
            creation_options or {},
            dtype=dtype,
            block=block,
            needed_bytes=self._needed,
            path=self.path,
        )
        nodata = str(NODATA) if dtype == "uint16" else "nan"
        self._metadata = CubeMetadata(grid=grid, nodata=nodata, tags=dict(tags or {}))
        self._written: dict[Window, int] = {}
        self._taken: dict[tuple[int, int], Window] = {}
        self._lock = threading.Lock()
        self._dataset: DatasetWriter | None = None

    def __enter__(self) -> Self:
        discard(self._part)
        try:
            self._create()
        except BaseException:  # nobody calls __exit__ when this fails, or is interrupted
            self.__exit__(None, None, None)
            raise
        return self

    def _create(self) -> None:
        with self._storage_errors(), self._env():
            self._dataset = rasterio.open(
                self._part,
                "w",
                driver="GTiff",
                height=self.height,
                width=self.width,
                count=self.bands,
                dtype=self.dtype,
                nodata=float(self._metadata.nodata),
                crs=self._crs,
                transform=self._transform,
                **self._options,
            )
            if self.dtype == "uint16":
                self._dataset.scales = (SCALE,) * self.bands
                self._dataset.offsets = (0.0,) * self.bands

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            # The part is thrown away, so it does not matter what closing it says.
            with suppress(RasterioError, CPLE_BaseError, OSError):
                self._close()
            discard(self._part)

    def write(
        self, window: Window, cube: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_]
    ) -> None:
        """Store reflectance `cube` (C, h, w) where `valid` (h, w), and nodata elsewhere.

        Raises:
            IncompleteRun: a valid pixel is not finite; the window is named and not written.
            OutputError: the system refused, a full disk most often.
        """
        where = f"{self.path}: window at row {window.row}, column {window.col}"
        where += f" ({window.height} x {window.width})"
        self.write_quantised(window, quantise(cube, valid, dtype=self.dtype, where=where))

    def write_quantised(self, window: Window, array: CubeArray) -> None:
        """Store what `quantise` made of a window, (C, h, w) in the file's own dtype.

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
        data = np.ascontiguousarray(array)
        checksum = zlib.crc32(data.data)
        with self._lock:
            if self._dataset is None:
                raise ValueError(f"{self.path}: not open for writing")
            self._take_blocks(window)
            self._written[window] = checksum  # before the write, so that a failed one is found
            with self._storage_errors(), self._env():
                self._dataset.write(data, window=_rasterio_window(window))

    def finish(self) -> Path:
        """Complete the file, read all of it back, and give it its final name.

        Raises:
            OutputError: the file does not hold what was written; the final name is untouched.
        """
        with self._lock:
            if self._dataset is None:
                raise ValueError(f"{self.path}: not open for writing")
            with self._storage_errors(), self._env():
                self._close()
                self._complete()
                self._read_back()
            return publish(self._part, self.path, overwrite=self._overwrite)

    def _close(self) -> None:
        dataset, self._dataset = self._dataset, None
        if dataset is not None:
            dataset.close()

    def _take_blocks(self, window: Window) -> None:
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
        blocks = [(i, j) for i in rows for j in cols]
        for block in blocks:
            other = self._taken.get(block, window)
            if other != window:
                raise ValueError(f"{window} overlaps {other}, written before")
        self._taken.update(dict.fromkeys(blocks, window))

    def _complete(self) -> None:
        """Overviews, then metadata as the very last thing that is written."""
        with rasterio.open(self._part, "r+", driver="GTiff") as dataset:
            levels = encoding.overview_levels(self.height, self.width)
            if levels:
                dataset.build_overviews(levels, Resampling.average)
            self._metadata.apply(dataset)

    def _read_back(self) -> None:
        with rasterio.open(self._part, driver="GTiff") as dataset:
            wrong = self._wrong_header(dataset) or self._metadata.missing_from(dataset)
            if wrong is None:
                wrong = next(self._wrong_pixels(dataset), None)
        if wrong is not None:
            raise write_failed(
                self.path, f"{wrong} not as written when read back", needed_bytes=self._needed
            )

    def _wrong_header(self, dataset: DatasetReader) -> str | None:
        shape = (self.bands, self.height, self.width)
        if (dataset.count, dataset.height, dataset.width) != shape:
            return "size"
        if dataset.transform != self._transform:
            return "geotransform"
        if dataset.crs != self._crs:
            _log.warning("%s: GeoTIFF holds the CRS only in another form", self.path)
        return None

    def _wrong_pixels(self, dataset: DatasetReader) -> Iterator[str]:
        for window, checksum in self._written.items():
            if zlib.crc32(dataset.read(window=_rasterio_window(window)).data) != checksum:
                yield f"window at row {window.row}, column {window.col}"
        for i in range(-(-self.height // self.block)):
            for j in range(-(-self.width // self.block)):
                if (i, j) not in self._taken:
                    yield from self._not_empty(dataset, i, j)

    def _not_empty(self, dataset: DatasetReader, i: int, j: int) -> Iterator[str]:
        row, col = i * self.block, j * self.block
        shape = min(self.block, self.height - row), min(self.block, self.width - col)
        values = dataset.read(1, window=RasterioWindow(col, row, shape[1], shape[0]))
        empty = values == NODATA if self.dtype == "uint16" else np.isnan(values)
        if not empty.all():
            yield f"empty block at row {row}, column {col}"

    def _env(self) -> rasterio.Env:
        """GDAL's settings: no sidecars read or written, overviews packed like the cube."""
        return rasterio.Env(
            GDAL_PAM_ENABLED="NO",
            GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR",
            GDAL_NUM_THREADS=self._options["NUM_THREADS"],
            GDAL_TIFF_OVR_BLOCKSIZE=str(encoding.overview_block(self.block)),
            PREDICTOR_OVERVIEW=self._options["PREDICTOR"],
            SPARSE_OK_OVERVIEW="ON",
            ZSTD_LEVEL_OVERVIEW=self._options.get("ZSTD_LEVEL", "1"),
        )

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except (RasterioError, CPLE_BaseError, OSError) as err:
            said = err.__cause__ or err  # GDAL's own words rather than rasterio's
            reason = said.strerror if isinstance(said, OSError) and said.strerror else said
            raise write_failed(self.path, reason, needed_bytes=self._needed) from err


def _rasterio_window(window: Window) -> RasterioWindow:
    return RasterioWindow(window.col, window.row, window.width, window.height)


def _crs(wkt: str, path: Path) -> CRS:
    try:
        return CRS.from_wkt(wkt)
    except CRSError as err:
        raise OutputError(
            f"GDAL cannot read the CRS {wkt[:60]!r}", path=path, remedy="give it as EPSG:code"
        ) from err
