"""The writer of cubes as Zarr stores: a folder that gets its name when all of it was read back.

The store has the Zarr format 2: GDAL 3.10 opens it as a raster, and only parts of version 3.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr
import zarr
from numcodecs import Blosc, Delta, Zstd
from zarr.storage import LocalStore

from uavssr.errors import OutputError
from uavssr.io.raster import coordinates, is_rotated
from uavssr.io.writers.atomic import STORE_MARK
from uavssr.io.writers.encoding import SCALE
from uavssr.io.writers.raw_bytes import put
from uavssr.io.writers.target import CubeTarget
from uavssr.io.writers.tile_writer import TileWriter
from uavssr.sensors import NumberArray

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


class ZarrWriter(TileWriter):
    """Writes one Zarr store."""

    target: CubeTarget

    def __init__(self, target: CubeTarget) -> None:
        if is_rotated(target.transform, height=target.height, width=target.width):
            raise OutputError(
                "programs find no place in a Zarr store of a rotated image",
                path=target.path,
                remedy="use --format gtiff and a name that ends in .tif",
            )
        super().__init__(target, needed_bytes=target.max_bytes)
        chunks = -(-target.bands // BANDS)
        step = -(-target.bands // chunks)  # spread evenly; the last chunk may have fewer
        self._chunks = [slice(k, min(k + step, self.bands)) for k in range(0, self.bands, step)]
        self._chunk_bands = step
        self._samples: dict[tuple[int, int], int] = {}

    def _create(self) -> None:
        self._files = _SummingStore(self._part)
        _create_store(self._files, self.target, chunk_bands=self._chunk_bands)

    def _close(self) -> None:
        """No file is held open."""

    def _store(self, row: int, col: int, block: NumberArray) -> None:
        """Store the chunks of a block; those that are all nodata are left out.

        zarr-python would hand each chunk to an event loop in one thread. Here the calling thread
        packs: a chunk of format 2 is its numbers through the filter and the codec.
        """
        sample = np.ascontiguousarray(block[self._sample_bands(row, col)])
        self._samples[row, col] = zlib.crc32(sample.data)
        for index, bands in enumerate(self._chunks):
            self._store_chunk(f"{CUBE}/{index}/{row}/{col}", block[bands])

    def _store_chunk(self, key: str, numbers: NumberArray) -> None:
        path, side = self._part / key, self.block
        if self._is_nodata(numbers):
            path.unlink(missing_ok=True)
            self._files.checksums.pop(key, None)
            return
        chunk: NumberArray = numbers
        if numbers.shape != (whole := (self._chunk_bands, side, side)):  # at the scene's edges
            chunk = np.full(whole, self.target.nodata, self.dtype)
            chunk[tuple(map(slice, numbers.shape))] = numbers
        chunk = np.asfortranarray(chunk)
        for codec in _FILTER[self.dtype] or ():
            chunk = codec.encode(chunk)
        data = _PACKING[self.dtype].encode(chunk)
        self._files.checksums[key] = zlib.crc32(data)  # before, so that a failed write is noticed
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb", buffering=0) as file:
            put(file.fileno(), data, 0)

    def _is_nodata(self, numbers: NumberArray) -> bool:
        if self.dtype == "uint16":
            return bool(numbers.min() == self.target.nodata)  # the largest number
        return bool(np.isnan(numbers).all())

    def _complete(self) -> None:
        """Nothing is left to add."""

    def _wrong(self) -> str | None:
        return self._wrong_bytes() or self._wrong_sample()

    def _wrong_bytes(self) -> str | None:
        for key, checksum in self._files.checksums.items():
            if zlib.crc32((self._part / key).read_bytes()) != checksum:
                array, *place = key.split("/")
                chunk = array == CUBE and len(place) == 3
                return self._place(int(place[1]), int(place[2])) if chunk else key
        return None

    def _wrong_sample(self) -> str | None:
        """A block of which zarr decodes other numbers than were given, in one chunk of each."""
        cube = zarr.open_array(self._part, mode="r", path=CUBE, zarr_format=2)
        for (row, col), checksum in self._samples.items():
            window, bands = self.target.block_window(row, col), self._sample_bands(row, col)
            sample = np.ascontiguousarray(cube[bands, window.rows, window.cols])
            if zlib.crc32(sample.data) != checksum:
                return self._place(row, col)
        return None

    def _sample_bands(self, row: int, col: int) -> slice:
        return self._chunks[(row + col) % len(self._chunks)]


class _SummingStore(LocalStore):
    """A folder that remembers a CRC-32 of each file that it was given to store."""

    def __init__(self, root: Path | str, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self.checksums: dict[str, int] = {}

    async def set(self, key: str, value: Buffer) -> None:
        self.checksums[key] = zlib.crc32(value.to_bytes())
        await super().set(key, value)

    async def delete(self, key: str) -> None:
        self.checksums.pop(key, None)
        await super().delete(key)


def _create_store(store: LocalStore, target: CubeTarget, *, chunk_bands: int) -> None:
    """Make the cube, without pixels, in a new store with coordinates as CF and xarray have them."""
    attributes: dict[str, Any] = {"Conventions": "CF-1.8", STORE_MARK: CUBE, **target.tags}
    group = zarr.open_group(store, mode="w", zarr_format=2, attributes=attributes)
    _create_coordinates(group, target)
    group.create_array(
        CUBE,
        shape=target.shape,
        chunks=(chunk_bands, target.block, target.block),
        dtype=target.dtype,
        fill_value=target.nodata,
        order="F",
        filters=_FILTER[target.dtype],
        compressors=_PACKING[target.dtype],
        chunk_key_encoding={"name": "v2", "separator": "/"},
        attributes=_cube_attributes(target),
    )
    zarr.consolidate_metadata(store, zarr_format=2)


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
    nm = {"units": "nm", "standard_name": "radiation_wavelength"}
    width = {"units": "nm", "long_name": "full width at half maximum"}
    variables = {
        **coordinates(target.crs_wkt, target.transform, **size),
        "wavelength": xr.DataArray(grid.centres, dims="wavelength", attrs=nm),
        "fwhm": xr.DataArray(grid.fwhm, dims="wavelength", attrs=width),
    }
    for name, variable in variables.items():
        array = group.create_array(
            name,
            shape=variable.shape,
            chunks=variable.shape,
            dtype=variable.dtype,
            fill_value=None,
            compressors=None,
            attributes={**variable.attrs, "_ARRAY_DIMENSIONS": [str(dim) for dim in variable.dims]},
        )
        array[...] = variable.to_numpy()
