"""Which format an output has, and the one way to open it for writing: `open_writer`.

Must not write pixels itself, or know where they come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Protocol, Self, get_args

import numpy as np
import numpy.typing as npt

from uavssr.errors import UsageError
from uavssr.io.hsi import CoefficientMetadata, CubeBasis
from uavssr.io.raster import Transform
from uavssr.io.writers.atomic import PathLike
from uavssr.io.writers.cog import CogWriter
from uavssr.io.writers.encoding import CubeDtype
from uavssr.io.writers.envi import EnviWriter
from uavssr.io.writers.geotiff import CoefficientWriter, GeoTiffWriter
from uavssr.io.writers.metadata import CubeMetadata
from uavssr.io.writers.tile_writer import Target
from uavssr.sensors import WavelengthGrid, subset
from uavssr.tiling import Window

Format = Literal["gtiff", "cog", "envi", "zarr", "coefficients"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
SUFFIXES: Final[Mapping[Format, tuple[str, ...]]] = {
    "gtiff": (".tif", ".tiff"),
    "cog": (".tif", ".tiff"),
    "envi": (".dat", ".img"),
    "zarr": (".zarr",),
    "coefficients": (".tif", ".tiff"),
}
"""How an output of each format may be named."""
COEFFICIENT_BLOCK: Final = 128
"""Side of a block of coefficients where a cube's is 256: a window that lies anywhere is read in two
thirds of the time, for a twelfth more room."""


class CubeSink(Protocol):
    """Takes the tiles of one scene in any order and from any thread, and makes one file of them.

    ```
    with open_writer(path, format="gtiff", ...) as sink:
        sink.write(window, array, valid)
        sink.finish()
    ```
    Nothing appears at `path` before `finish` returns; leaving the block without it removes all.
    Windows must be whole blocks of the file and may not overlap, but the same window may be
    written again. Windows that are never written are nodata.
    """

    @property
    def path(self) -> Path:
        """The final name."""

    @property
    def takes(self) -> Literal["cube", "coefficients"]:
        """What `write` is given: reflectance, or coefficients of the basis."""

    @property
    def bands(self) -> int:
        """First axis of what `write` is given: selected wavelengths, or coefficients."""

    @property
    def dtype(self) -> str:
        """Numpy's name of what `write_quantised` is given."""

    @property
    def needed_bytes(self) -> int:
        """The most that the disk must hold while this output is made, an older one aside."""

    def __enter__(self) -> Self:
        """Create the part that becomes the output."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the part; after `finish` there is none."""

    def write(
        self, window: Window, array: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_]
    ) -> None:
        """Store `array` (bands, h, w) where `valid` (h, w), and nodata elsewhere.

        Raises:
            IncompleteRun: a valid pixel is not finite; the window is named and not written.
            OutputError: the system refused, a full disk most often.
        """

    def write_quantised(self, window: Window, array: npt.NDArray[np.generic]) -> None:
        """Store what `encoding.quantise` or its twin on a GPU made of a window, nodata included.

        Raises:
            ValueError: the window is not whole blocks, overlaps another, or the array differs.
            OutputError: the system refused.
        """

    def finish(self) -> Path:
        """Complete the file, read all of it back, and give it its final name.

        Raises:
            OutputError: the file does not hold what was written; the final name is untouched.
        """


def check_format(path: PathLike, name: str | None = None) -> Format:
    """The format that `--format` names, or that the output's suffix means where none is given.

    Raises:
        UsageError: no such format, or a suffix that promises another one.
    """
    suffix = Path(path).suffix.lower()
    if name is None:
        meant = [each for each in FORMATS if suffix in SUFFIXES[each]]
        if meant:
            return meant[0]
        known = sorted({each for suffixes in SUFFIXES.values() for each in suffixes})
        raise UsageError(
            f"no format is written under the suffix {suffix!r}",
            path=Path(path),
            remedy=f"use one of {' '.join(known)}",
        )
    if name not in FORMATS:
        raise UsageError(f"--format must be one of {', '.join(FORMATS)}, got {name!r}")
    chosen = FORMATS[FORMATS.index(name)]
    if suffix not in SUFFIXES[chosen]:
        raise UsageError(
            f"--format {name} does not go with the suffix {suffix!r}",
            path=Path(path),
            remedy=f"name it {' or '.join(SUFFIXES[chosen])}",
        )
    return chosen


def open_writer(
    path: PathLike,
    *,
    format: Format = "gtiff",  # noqa: A002 - the name of the option
    height: int,
    width: int,
    grid: WavelengthGrid,
    crs_wkt: str,
    transform: Transform,
    dtype: CubeDtype = "uint16",
    block: int = 256,
    overwrite: bool = False,
    creation_options: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    inputs: Sequence[Path] = (),
    basis: CubeBasis | None = None,
    wavelengths: Sequence[int] | None = None,
) -> CubeSink:
    """The sink of a format, not yet entered; refuses beforehand what could not be written.

    Args:
        path: the final name.
        format: what to write.
        height: rows of the scene.
        width: columns of the scene.
        grid: all C wavelengths of the model.
        crs_wkt: coordinate reference system, copied from the input.
        transform: (a, b, c, d, e, f) with x = a col + b row + c, y = d col + e row + f.
        dtype: counts of 0.0001 reflectance (nodata 65535), or float32 reflectance (nodata NaN).
        block: side of the file's blocks in pixels, a multiple of 16; windows must start on them.
        overwrite: whether an output at `path` may be replaced.
        creation_options: GDAL options of GeoTIFF files that win over the defaults.
        tags: provenance.
        inputs: files that must never be replaced.
        basis: for coefficients only: what turns them into reflectance on `grid`.
        wavelengths: indices into `grid`, increasing, of what is kept. A cube sink is then given
            arrays of these bands only; a coefficient sink is given all r coefficients and keeps
            these rows of the basis.

    Raises:
        OutputError: the output would destroy something, or there is no room for it.
        UsageError: options that do not fit the format.
    """
    chosen = range(len(grid)) if wavelengths is None else wavelengths
    rows = _rows_of(basis, chosen) if format == "coefficients" else None
    if creation_options and format in ("envi", "zarr"):
        raise UsageError(f"--co sets options of GeoTIFF files, and {format} is none of them")
    target = Target(
        path=Path(path),
        height=height,
        width=width,
        bands=rows.rank if rows else len(chosen),
        crs_wkt=crs_wkt,
        transform=transform,
        dtype="float32" if rows else dtype,
        block=block // 2 if rows and block == COEFFICIENT_BLOCK * 2 else block,
        overwrite=overwrite,
        inputs=tuple(inputs),
    )
    if rows:
        about = CoefficientMetadata(basis=rows, tags=dict(tags or {}))
        return CoefficientWriter(target, about, creation_options=creation_options)
    metadata = CubeMetadata(grid=subset(grid, chosen), dtype=dtype, tags=dict(tags or {}))
    return _cube_sink(format, target, metadata, creation_options)


def _rows_of(basis: CubeBasis | None, chosen: Sequence[int]) -> CubeBasis:
    if basis is None:
        raise ValueError("coefficients need their basis")
    return basis.subset(chosen)


def _cube_sink(
    form: Format, target: Target, metadata: CubeMetadata, options: Mapping[str, str] | None
) -> CubeSink:
    if form == "zarr":
        from uavssr.io.writers.zarr import ZarrWriter

        return ZarrWriter(target, metadata.grid, metadata.tags)
    if form == "envi":
        return EnviWriter(target, metadata)
    kind = CogWriter if form == "cog" else GeoTiffWriter
    return kind(target, metadata, creation_options=options)
