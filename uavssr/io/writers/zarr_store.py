"""The layout of a cube as a Zarr store, and the writing of its chunks from any process.

The store has the Zarr format 2: GDAL 3.10 opens it as a raster, and only parts of version 3.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import zarr
from numcodecs import Blosc, Delta, Zstd
from zarr.storage import LocalStore

from uavssr.io.raster import coordinates
from uavssr.io.writers.atomic import STORE_MARK
from uavssr.io.writers.encoding import SCALE, quantise
from uavssr.io.writers.target import CubeTarget
from uavssr.io.writers.tile_writer import Array
from uavssr.sensors import BoolArray, Float32Array
from uavssr.tiling import Window

if TYPE_CHECKING:
    from zarr.abc.buffer import Buffer

CUBE: Final = "reflectance"
"""Name of the array that holds the cube, (wavelength, y, x)."""
BANDS: Final = 10
"""Most wavelengths in a chunk: one can be read alone, and their likeness still helps to pack."""
_FILTER: Final = {"uint16": [Delta(dtype="<u2")], "float32": None}
_PACKING: Final = {
    "uint16": Zstd(level=1),
    "float32": Blosc(cname="zstd", clevel=1, shuffle=Blosc.SHUFFLE),
}
"""Lossless codecs that numcodecs, zarr-python and GDAL 3.10 share.

Neighbouring wavelengths lie next to each other in a chunk (Zarr's order F): differences between
them take half the space of differences along a row.
"""
BlockSums = dict[str, int]
"""CRC-32 of the stored bytes of a block's chunks, by their key in the store."""
Checksums = dict[tuple[int, int], BlockSums]
"""The same of several blocks, by row and column of the block."""
Run = Callable[[Callable[[int], None], Iterable[int]], Iterator[None]]
"""`map`, or that of a pool of threads."""


class SummingStore(LocalStore):
    """A folder of chunks that remembers a CRC-32 of all that it was given to store."""

    def __init__(self, root: Path | str, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self.checksums: BlockSums = {}

    async def set(self, key: str, value: Buffer) -> None:
        """Store bytes under a key, whole or not at all."""
        self.checksums[key] = zlib.crc32(value.to_bytes())
        await super().set(key, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZarrRegion:
    """Writes windows into a store that exists; may be sent to other processes.

    ```
    checksums = region.write(window, cube, valid)   # in another process
    writer.accept(window, checksums)                # in the process that owns the store
    ```
    Windows of whole blocks share no chunk, so several processes may write at the same time.
    """

    folder: Path
    """The store while it is built."""
    target: CubeTarget
    """The cube."""

    @property
    def chunks(self) -> int:
        """Number of chunks of a block."""
        return -(-self.target.bands // BANDS)

    @property
    def chunk_bands(self) -> int:
        """Wavelengths of a chunk, spread evenly; the last chunk may have fewer."""
        return -(-self.target.bands // self.chunks)

    def bands(self, index: int) -> slice:
        """The wavelengths of a block's `index`-th chunk."""
        start = index * self.chunk_bands
        return slice(start, min(start + self.chunk_bands, self.target.bands))

    def write(self, window: Window, cube: Float32Array, valid: BoolArray) -> Checksums:
        """Store reflectance (band, y, x) where `valid` (y, x), and nodata elsewhere.

        Raises:
            ValueError: the window is not whole blocks.
            IncompleteRun: a valid pixel is not finite.
            OSError: the system refused, a full disk most often.
        """
        where = f"{self.target.path}: {window}"
        return self.write_quantised(
            window, quantise(cube, valid, dtype=self.target.dtype, where=where)
        )

    def write_quantised(self, window: Window, array: Array) -> Checksums:
        """Store what `quantise` made of a window, (band, y, x) in the store's own dtype.

        Raises:
            ValueError: the window is not whole blocks, or the array differs.
            OSError: the system refused, a full disk most often.
        """
        expected = (self.target.bands, window.height, window.width)
        if array.shape != expected or array.dtype != self.target.dtype:
            raise ValueError(
                f"{window} needs {expected} {self.target.dtype}, got {array.shape} {array.dtype}"
            )
        parts = [(row, col, part.within(window)) for row, col, part in self.target.blocks(window)]
        return {(row, col): self.write_block(row, col, array[:, *part]) for row, col, part in parts}

    def write_block(self, row: int, col: int, block: Array, *, run: Run = map) -> BlockSums:
        """Store one block (band, y, x); chunks that are all nodata are left out.

        Args:
            row: of the block.
            col: of the block.
            block: its numbers.
            run: calls a function for each chunk.

        Raises:
            OSError: the system refused, a full disk most often.
        """
        store = SummingStore(self.folder)
        cube = zarr.open_array(store, path=CUBE, mode="r+", zarr_format=2)
        window = self.target.block_window(row, col)

        def write_chunk(index: int) -> None:
            bands = self.bands(index)
            cube[bands, window.rows, window.cols] = np.asfortranarray(block[bands])

        list(run(write_chunk, range(self.chunks)))
        return store.checksums


def create_store(region: ZarrRegion) -> None:
    """Make a store without pixels, with coordinates as CF and xarray have them.

    Raises:
        OSError: the system refused.
    """
    target = region.target
    attributes: dict[str, Any] = {"Conventions": "CF-1.8", STORE_MARK: CUBE, **target.tags}
    group = zarr.open_group(region.folder, mode="w", zarr_format=2, attributes=attributes)
    _create_coordinates(group, target)
    group.create_array(
        CUBE,
        shape=target.shape,
        chunks=(region.chunk_bands, target.block, target.block),
        dtype=target.dtype,
        fill_value=target.nodata,
        order="F",
        filters=_FILTER[target.dtype],
        compressors=_PACKING[target.dtype],
        chunk_key_encoding={"name": "v2", "separator": "/"},
        attributes=_cube_attributes(target),
    )
    zarr.consolidate_metadata(region.folder, zarr_format=2)


def _cube_attributes(target: CubeTarget) -> dict[str, Any]:
    scale = {"scale_factor": SCALE, "add_offset": 0.0} if target.dtype == "uint16" else {}
    return {
        "_ARRAY_DIMENSIONS": ["wavelength", "y", "x"],
        "_CRS": {"wkt": target.crs_wkt},  # GDAL 3.10 looks here
        "coordinates": "fwhm spatial_ref",
        "grid_mapping": "spatial_ref",
        "long_name": "reflectance",
        "units": "1",
        **scale,
    }


def _create_coordinates(group: zarr.Group, target: CubeTarget) -> None:
    size, grid = {"height": target.height, "width": target.width}, target.written_grid
    for name, variable in coordinates(target.crs_wkt, target.transform, **size).items():
        dims = () if name == "spatial_ref" else (name,)
        _create_array(group, name, variable.to_numpy(), dims, variable.attrs)
    nm = {"units": "nm", "standard_name": "radiation_wavelength"}
    _create_array(group, "wavelength", grid.centres, ("wavelength",), nm)
    width = {"units": "nm", "long_name": "full width at half maximum"}
    _create_array(group, "fwhm", grid.fwhm, ("wavelength",), width)


def _create_array(
    group: zarr.Group,
    name: str,
    values: npt.NDArray[Any],
    dims: tuple[str, ...],
    attributes: Mapping[str, Any],
) -> None:
    array = group.create_array(
        name,
        shape=values.shape,
        chunks=values.shape,
        dtype=values.dtype,
        fill_value=None,
        compressors=None,
        attributes={**attributes, "_ARRAY_DIMENSIONS": list(dims)},
    )
    array[...] = values


def array_of(group: zarr.Group, name: str) -> zarr.Array[Any]:
    """An array of a store.

    Raises:
        KeyError: there is none of that name.
    """
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise KeyError(name)
    return array
