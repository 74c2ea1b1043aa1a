"""The layout of a cube as a Zarr store, and its chunks, which any process may write.

Zarr version 2, because GDAL 3.10 opens it as a raster and of version 3 only parts. Must not decide
when a store is complete.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import zarr
from numcodecs import Blosc, Delta, Zstd

from uavssr.io.raster import coordinates
from uavssr.io.writers.atomic import STORE_MARK, UNFINISHED
from uavssr.io.writers.encoding import SCALE, quantise
from uavssr.io.writers.tile_writer import Array, Target
from uavssr.sensors import WavelengthGrid
from uavssr.tiling import Window

CUBE: Final = "reflectance"
"""The array that holds the cube, (wavelength, y, x)."""
BANDS: Final = 10
"""Wavelengths of a chunk at most: few enough to look at one, enough to gain by their likeness."""
_FILTER: Final = {"uint16": (Delta(dtype="<u2"),), "float32": ()}
_PACKING: Final = {
    "uint16": Zstd(level=1),
    "float32": Blosc(cname="zstd", clevel=1, shuffle=Blosc.SHUFFLE),
}
"""What numcodecs, zarr-python and GDAL 3.10 all know, and what keeps every digit.

Chunks lie in memory with neighbouring wavelengths next to each other (Zarr's order F): differences
between those take half the room of differences along a row.
"""
Checksums = dict[tuple[int, int], bytes]
"""By row and column of a block the CRC-32 of its chunks' files, four bytes each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZarrRegion:
    """Writes windows into a store that exists; small, so that it can be sent to other processes.

    ```
    checksums = region.write(window, cube, valid)   # there
    sink.accept(window, checksums)                  # here
    ```
    Windows of whole blocks share no chunk, so processes need not know of each other.
    """

    folder: Path
    """The store while it is built."""
    target: Target
    """The raster."""

    @property
    def chunks(self) -> int:
        """Number of chunks of a block."""
        return -(-self.target.bands // BANDS)

    @property
    def chunk_bands(self) -> int:
        """Wavelengths of a chunk, as even as they can be."""
        return -(-self.target.bands // self.chunks)

    def write(
        self, window: Window, cube: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_]
    ) -> Checksums:
        """Store reflectance (bands, h, w) where `valid` (h, w), and nodata elsewhere.

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
        """Store what `quantise` made of a window, (bands, h, w) in the store's own dtype.

        Raises:
            ValueError: the window is not whole blocks, or the array differs.
            OSError: the system refused, a full disk most often.
        """
        expected = (self.target.bands, window.height, window.width)
        if array.shape != expected or array.dtype != self.target.dtype:
            raise ValueError(f"{window} needs {expected}, got {array.shape} {array.dtype}")
        found: Checksums = {}
        for row, col, part in self.target.blocks(window):
            rows, cols = part.within(window)
            work = partial(self.store_chunk, row=row, col=col, block=array[:, rows, cols])
            found[row, col] = packed_checksums(map(work, range(self.chunks)))
        return found

    def store_chunk(self, index: int, *, row: int, col: int, block: Array) -> int:
        """Store the `index`-th chunk of a block (bands, h, w), whole or not at all; its CRC-32."""
        data, path = self._packed(block[self.bands(index)]), self.chunk(index, row, col)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.name}{UNFINISHED}")
        unfinished.write_bytes(data)
        unfinished.replace(path)
        return zlib.crc32(data)

    def chunk(self, index: int, row: int, col: int) -> Path:
        """The file of a chunk."""
        return self.folder / CUBE / str(index) / str(row) / str(col)

    def bands(self, index: int) -> slice:
        """The wavelengths of the `index`-th chunk at every place."""
        start = index * self.chunk_bands
        return slice(start, min(start + self.chunk_bands, self.target.bands))

    def _packed(self, block: Array) -> bytes:
        side = self.target.block
        full = (self.chunk_bands, side, side)
        missing = [(0, whole - part) for whole, part in zip(full, block.shape, strict=True)]
        chunk = np.pad(block, missing, mode="edge") if any(map(any, missing)) else block
        packed: Any = np.ascontiguousarray(chunk.transpose(2, 1, 0))
        for each in _FILTER[self.target.dtype]:
            packed = each.encode(packed)
        return bytes(_PACKING[self.target.dtype].encode(packed))


def create_store(region: ZarrRegion, grid: WavelengthGrid, tags: Mapping[str, str]) -> None:
    """Make a store without pixels, with coordinates as CF and xarray have them.

    Raises:
        OSError: the system refused.
    """
    target = region.target
    attributes: dict[str, Any] = {"Conventions": "CF-1.8", STORE_MARK: CUBE, **tags}
    group = zarr.open_group(region.folder, mode="w", zarr_format=2, attributes=attributes)
    _create_coordinates(group, target, grid)
    group.create_array(
        CUBE,
        shape=(target.bands, target.height, target.width),
        chunks=(region.chunk_bands, target.block, target.block),
        dtype=target.dtype,
        fill_value=target.nodata,
        order="F",
        filters=list(_FILTER[target.dtype]) or None,
        compressors=_PACKING[target.dtype],
        chunk_key_encoding={"name": "v2", "separator": "/"},
        attributes=_about(target),
    )
    zarr.consolidate_metadata(region.folder, zarr_format=2)


def _about(target: Target) -> dict[str, Any]:
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


def _create_coordinates(group: zarr.Group, target: Target, grid: WavelengthGrid) -> None:
    size = {"height": target.height, "width": target.width}
    for name, found in coordinates(target.crs_wkt, target.transform, **size).items():
        dims = () if name == "spatial_ref" else (name,)
        _small(group, name, found.to_numpy(), dims, found.attrs)
    nm = {"units": "nm", "standard_name": "radiation_wavelength"}
    _small(group, "wavelength", grid.centres, ("wavelength",), nm)
    width = {"units": "nm", "long_name": "full width at half maximum"}
    _small(group, "fwhm", grid.fwhm, ("wavelength",), width)


def _small(
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


def packed_checksums(checksums: Iterable[int]) -> bytes:
    """CRC-32 of the chunks of a block, one after the other."""
    return np.fromiter(checksums, "<u4").tobytes()


def array_of(group: zarr.Group, name: str) -> zarr.Array[Any]:
    """An array of a store.

    Raises:
        KeyError: there is none of that name.
    """
    found = group[name]
    if not isinstance(found, zarr.Array):
        raise KeyError(name)
    return found
