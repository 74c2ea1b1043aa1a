"""The image of another camera as a file: at the pixels of the spectra, or averaged over cells."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from torch import Tensor

from uavssr._version import __version__
from uavssr.analysis.averaging_grid import AveragingGrid
from uavssr.analysis.cell_sums import MIN_COVER, CellSums, sums_of_tile
from uavssr.analysis.conversion import Conversion
from uavssr.analysis.spectral_source import SpectralSource, SpectralTile
from uavssr.errors import InputRefused, OutputError
from uavssr.io.checks import size_text
from uavssr.io.hsi import TargetGrid
from uavssr.io.raster import metres_per_unit
from uavssr.io.writers import (
    IMAGE_BLOCK,
    CubeDtype,
    ImageErrorTarget,
    ImageTarget,
    open_writer,
)
from uavssr.sensors import BoolArray, Float32Array, FloatArray, Sensor
from uavssr.tiling import Progress, TileGrid, Window

MAX_SUMS_BYTES: Final = 2 * 10**9
"""Most memory of the sums over all cells."""
_TASK: Final = "converting"


class ConvertedPart(NamedTuple):
    """A window of a converted image."""

    window: Window
    """Its place."""
    value: Float32Array
    """(m, h, w) reflectance."""
    standard_error: Float32Array | None
    """(m, h, w), None where errors are not computed."""
    valid: BoolArray
    """(h, w)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageConversion:
    """The image of another camera that spectra give, not yet computed."""

    source: SpectralSource
    """The spectra."""
    conversion: Conversion
    """The other camera's bands."""
    cells: AveragingGrid | None
    """The cells to average over; None: at the source's pixels."""
    out: Path
    """The image to write."""
    uncertainty: Path | None
    """The file of standard errors to write."""
    dtype: CubeDtype
    """Stored numbers, as of a cube."""

    @classmethod
    def of(
        cls,
        source: SpectralSource,
        target: Sensor,
        out: Path,
        *,
        uncertainty: Path | None = None,
        cells: AveragingGrid | None = None,
        dtype: CubeDtype = "uint16",
    ) -> ImageConversion:
        """Plan a conversion.

        Raises:
            InputRefused: the wavelengths cover no band of the target, or standard errors are asked
                for and not known.
            OutputError: the sums over cells need too much memory.
        """
        if uncertainty is not None and source.errors is None:
            raise InputRefused(
                "the standard errors of its spectra are not known",
                path=next(iter(source.inputs), None),
                remedy="leave out --uncertainty, or give the .stf.nc of its run with --stf",
            )
        try:
            errors = None if uncertainty is None else source.errors
            conversion = Conversion.of(target, source.grid, errors)
        except InputRefused as err:
            raise InputRefused(err.fact, path=source.path, remedy=err.remedy) from err
        planned = cls(
            source=source,
            conversion=conversion,
            cells=cells,
            out=out,
            uncertainty=uncertainty,
            dtype=dtype,
        )
        if planned.sums_bytes > MAX_SUMS_BYTES:
            fewer = "" if uncertainty is None else ", or leave out --uncertainty"
            raise OutputError(
                f"the sums over {planned.grid.width} x {planned.grid.height} cells take "
                f"{size_text(planned.sums_bytes)} of memory, more than {size_text(MAX_SUMS_BYTES)}",
                path=out,
                remedy=f"give larger cells{fewer}",
            )
        return planned

    @property
    def grid(self) -> TargetGrid:
        """The pixels of the image to write."""
        source = self.source
        if self.cells is not None:
            return self.cells.target
        return TargetGrid(
            height=source.height,
            width=source.width,
            crs_wkt=source.crs_wkt,
            transform=source.transform,
        )

    @property
    def size_text(self) -> str:
        """Size of the image and of its pixels, in words."""
        grid = self.grid
        a, b, c, d, e, f = grid.transform
        sides = np.hypot(a, d), np.hypot(b, e)
        along_x, along_y = metres_per_unit(grid.crs_wkt, x=c, y=f)
        on_ground = np.hypot(a * along_x, d * along_y), np.hypot(b * along_x, e * along_y)
        units, metres = (f"{x:.4g} x {y:.4g}" for x, y in (sides, on_ground))
        return f"{grid.width} x {grid.height} pixels of {units} map units, {metres} m on the ground"

    @property
    def sums_bytes(self) -> int:
        """Bytes of the sums over all cells; 0 at the source's pixels."""
        if self.cells is None:
            return 0
        return 8 * CellSums.rows(self.conversion) * self.grid.height * self.grid.width

    def write(self, *, overwrite: bool = False, progress: Progress | None = None) -> None:
        """Write the image, and its standard errors where they are asked for.

        Raises:
            OutputError: a file cannot be written.
            InputRefused: an input is broken, or valid pixels cover no cell.
        """
        with ExitStack() as opened:
            writers = [
                opened.enter_context(open_writer(target))
                for target in self.targets(overwrite=overwrite)
            ]
            for part in self.parts(progress=progress):
                arrays = part.value, part.standard_error
                for writer, array in zip(writers, arrays, strict=False):
                    if array is not None:
                        writer.write(part.window, array, part.valid)
            for writer in writers:
                writer.finish()

    def targets(self, *, overwrite: bool) -> list[ImageTarget]:
        """The files to write: the image, and its standard errors if asked for."""
        grid = self.grid
        image = ImageTarget(
            path=self.out,
            height=grid.height,
            width=grid.width,
            crs_wkt=grid.crs_wkt,
            transform=grid.transform,
            sensor=self.conversion.sensor,
            dtype=self.dtype,
            block=self.source.tiles.tile if self.cells is None else IMAGE_BLOCK,
            tags=self._tags(),
            overwrite=overwrite,
            inputs=self.source.inputs,
        )
        if self.uncertainty is None:
            return [image]
        return [image, ImageErrorTarget.of(image, self.uncertainty)]

    def parts(self, *, progress: Progress | None = None) -> Iterator[ConvertedPart]:
        """The image window by window, all of it."""
        if self.cells is not None:
            yield from self._averaged(self.cells, progress)
            return
        done = set[Window]()
        for part in self.source.map(self._part, progress=progress, task=_TASK):
            done.add(part.window)
            yield part
        for tile in self.source.tiles:
            if tile.core not in done:
                yield self._empty(tile.core)

    def facts(self) -> dict[str, str]:
        """Bands, size, memory, disk space and time, as text by topic; one tile is tried."""
        source, sensor = self.source, self.conversion.sensor
        needed = sum(target.max_bytes for target in self.targets(overwrite=True))
        free = shutil.disk_usage(self.out.absolute().parent).free
        tile, count = source.tiles.tile, len(source.tiles)
        rows = len(source.grid) + CellSums.rows(self.conversion)
        working = (source.workers + 1) * tile**2 * 4 * rows
        seconds = self._trial_seconds() * count / max(1, min(count, source.workers))
        return {
            "bands": f"{sensor.name}: "
            + ", ".join(f"{band.role} {band.centre:.4g} nm" for band in sensor.bands),
            "image": self.size_text,
            "memory": f"{size_text(working)} of {source.workers} tiles of {tile} x {tile}"
            + (f", {size_text(self.sums_bytes)} of sums over cells" if self.cells else ""),
            "disk": f"at most {size_text(needed)}, {size_text(free)} are free"
            + (": TOO LITTLE" if needed > free else ""),
            "time": f"about {seconds:.0f} s for {count} tiles",
        }

    def _trial_seconds(self) -> float:
        """Seconds of the tile in the middle."""
        start = time.perf_counter()
        middle = [len(self.source.tiles) // 2]
        list(self.source.map(self.conversion, progress=None, task=_TASK, indices=middle))
        return time.perf_counter() - start

    def _tags(self) -> dict[str, str]:
        """Where the image comes from; it is no cube, so the keys of the cube's tags change."""
        names = ", ".join(path.name for path in self.source.inputs)
        made = self.source.tags.items()
        return {
            "synthetic": f"converted from {names}; no camera took this image",
            "uavssr_version": __version__,
            **{key.replace("uavssr_", "converted_from_", 1): text for key, text in made},
        }

    def _part(self, tile: SpectralTile) -> ConvertedPart:
        """A tile of the image at the source's pixels."""
        values = self.conversion(tile)
        error = self.conversion.standard_error(values.own_variance, values.extended)
        return ConvertedPart(
            window=tile.window,
            value=_unfolded(values.value, tile.valid),
            standard_error=None if error is None else _unfolded(error, tile.valid),
            valid=tile.valid,
        )

    def _empty(self, window: Window) -> ConvertedPart:
        """A window without a valid pixel."""
        shape = window.height, window.width
        nothing = np.zeros((len(self.conversion.sensor), *shape), np.float32)
        return ConvertedPart(window, nothing, nothing, np.zeros(shape, bool))

    def _averaged(self, cells: AveragingGrid, progress: Progress | None) -> Iterator[ConvertedPart]:
        """The image averaged over cells, once all tiles were added up."""

        def sums_of(tile: SpectralTile) -> tuple[Window, FloatArray] | None:
            shares = cells.shares(tile.window)
            if shares is None:
                return None
            return shares.window, sums_of_tile(shares, tile.valid, self.conversion(tile))

        height, width = cells.target.height, cells.target.width
        total = CellSums.empty(self.conversion, height, width)
        for sums in self.source.map(sums_of, progress=progress, task=_TASK):
            if sums is not None:
                total.add(*sums)
        valid = total.valid
        if not valid.any():
            raise InputRefused(
                f"valid pixels cover no cell by {MIN_COVER:.0%}",
                path=self.source.path,
                remedy="give smaller cells",
            )
        for tile in TileGrid(height=height, width=width, tile=IMAGE_BLOCK):
            window = tile.core
            yield ConvertedPart(window, *total.means(window), valid[window.rows, window.cols])


def _unfolded(rows: Tensor, valid: BoolArray) -> Float32Array:
    """(m, h, w) of numbers (m, n) of the valid pixels; 0 elsewhere."""
    maps = np.zeros((len(rows), *valid.shape), np.float32)
    maps[:, valid] = rows.numpy()
    return maps
