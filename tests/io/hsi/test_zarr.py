"""Zarr stores are read as zarr-python reads them, but nothing in them is run or trusted."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from numcodecs import Blosc, Zstd

from tests.helpers.cubes import smooth_cube, write_cube
from uavssr.errors import InputRefused
from uavssr.io.hsi.cube import open_cube_source
from uavssr.tiling import Window


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A sound store of 16 x 16 pixels."""
    return write_cube(tmp_path / "d.zarr", smooth_cube(16, 16), format="zarr", dtype="uint16")


def change(store: Path, name: str, **values: object) -> None:
    path = store / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("reflectance/.zarray", {"filters": [{"id": "pickle"}]}, "codecs zstd"),
        ("reflectance/.zarray", {"compressor": {"id": "pickle"}}, "codecs pickle"),
        ("reflectance/.zarray", {"compressor": {"level": 1}}, "'id'"),
        ("reflectance/.zarray", {"compressor": "zstd"}, "not of the Zarr format 2"),
        ("reflectance/.zarray", {"shape": [1e308, 2, 2]}, "a shape or chunks of more"),
        ("reflectance/.zarray", {"shape": [float("inf"), 2, 2]}, "not of the Zarr format 2"),
        ("reflectance/.zarray", {"dtype": "|O"}, "type object"),
        ("reflectance/.zarray", {"shape": [40, 0, 16]}, "shape"),
        ("reflectance/.zarray", {"shape": [40, 2**40, 2**40]}, "pixels"),
        ("reflectance/.zarray", {"chunks": [40, 2**20, 2**20]}, r"chunks \(40, 1048576, 1048576\)"),
        ("reflectance/.zarray", {"shape": "many"}, "not of the Zarr format 2"),
        ("reflectance/.zarray", {"fill_value": "pi"}, "not of the Zarr format 2"),
        ("reflectance/.zattrs", {"_ARRAY_DIMENSIONS": ["y", "x", "wavelength"]}, "dimensions"),
        ("wavelength/.zarray", {"shape": [5]}, r"wavelength has shape \(5,\)"),
        ("spatial_ref/.zattrs", {"GeoTransform": "0 1"}, "no CRS and GeoTransform"),
        ("spatial_ref/.zattrs", {"crs_wkt": "PROJCS[nonsense"}, "no CRS and GeoTransform"),
        ("spatial_ref/.zattrs", {"crs_wkt": ""}, "no CRS"),
    ],
)
def test_store_of_other_making_is_refused(
    store: Path, name: str, values: dict[str, object], said: str
) -> None:
    """Promise P3; rows 6, 7, 11: some codecs of Zarr's run code, so only known ones are called."""
    change(store, name, **values)
    with pytest.raises(InputRefused, match=said):
        open_cube_source(store)


@pytest.mark.parametrize("name", [".zattrs", "reflectance/.zarray", "wavelength/.zarray"])
@pytest.mark.parametrize("content", [None, b"", b"[1]", b"\xff\xfe{", b"[" * 100_000])
def test_store_without_its_metadata_is_refused(
    store: Path, name: str, content: bytes | None
) -> None:
    """Row 3."""
    path = store / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(InputRefused, match=r"has no|is no JSON"):
        open_cube_source(store)


def test_reader_of_a_store_may_be_sent_to_another_process(store: Path) -> None:
    source = open_cube_source(store)
    again = pickle.loads(pickle.dumps(source))  # noqa: S301 - our own
    window = Window(2, 3, 9, 10)
    assert np.array_equal(again.read(window)[0], source.read(window)[0])


@pytest.mark.parametrize("damage", ["cut", "flip", "bomb", "empty", "fifo"])
def test_damaged_chunk_is_refused(store: Path, damage: str) -> None:
    """Rows 4, 5, 9, 10: a chunk may not decode to more than its metadata say, nor never end."""
    chunk = store / "reflectance" / "1" / "0" / "0"
    data = chunk.read_bytes()
    changed = {
        "cut": data[: len(data) // 2],
        "flip": bytes([data[0] ^ 1]) + data[1:],
        "bomb": bytes(Zstd(level=1).encode(bytes(2**26))),
        "empty": b"",
    }
    chunk.unlink()
    os.mkfifo(chunk) if damage == "fifo" else chunk.write_bytes(changed[damage])
    with pytest.raises(InputRefused, match=r"chunk 1/0/0 of its array reflectance cannot be read"):
        open_cube_source(store)


@pytest.mark.parametrize(
    ("name", "values", "fact"),
    [
        ("wavelength", {"chunks": [5 * 10**8]}, "500000000"),
        ("reflectance", {"shape": [40, 2000, 2000], "chunks": [1, 1, 1]}, "160000000 chunks"),
        ("reflectance", {"shape": [40, 30, 40, 1], "chunks": [40, 16, 16, 1]}, "other dimensions"),
    ],
)
def test_chunk_that_claims_gigabytes_is_refused_by_its_shape(
    store: Path, name: str, values: dict[str, object], fact: str
) -> None:
    """Row 9; and chunks so small that each takes more memory than its numbers."""
    change(store, f"{name}/.zarray", **values)
    with pytest.raises(InputRefused, match=fact):
        open_cube_source(store)


def test_chunk_linked_from_outside_the_store_is_refused(store: Path, tmp_path: Path) -> None:
    chunk = store / "reflectance" / "1" / "0" / "0"
    chunk.rename(tmp_path / "elsewhere")
    chunk.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputRefused, match=r"chunk 1/0/0 .* a link out of the store"):
        open_cube_source(store)


def test_store_as_xarray_writes_it_is_read(tmp_path: Path) -> None:
    """Chunks in C order, packed by Blosc, named with dots; and by default not at all."""
    cube = smooth_cube(40, 30)
    own = write_cube(tmp_path / "d.zarr", cube, format="zarr")
    packed = Blosc(cname="lz4", clevel=3, shuffle=Blosc.SHUFFLE)
    with xr.open_zarr(own, chunks=None) as found:
        plain = found.load().drop_encoding()
    for name, compressors in (("a.zarr", packed), ("b.zarr", None)):
        encoding = {"reflectance": {"compressors": compressors, "chunks": (7, 16, 30)}}
        plain.to_zarr(tmp_path / name, zarr_format=2, encoding=encoding)
        numbers, _ = open_cube_source(tmp_path / name).read(Window(3, 4, 30, 20))
        assert np.array_equal(numbers, cube[:, 3:33, 4:24])


def test_store_of_zarr_format_3_is_refused(tmp_path: Path) -> None:
    xr.Dataset({"reflectance": ("x", [1.0])}).to_zarr(
        tmp_path / "v3.zarr", zarr_format=3, consolidated=False
    )
    with pytest.raises(InputRefused, match=r"has no reflectance/\.zarray.*zarr_format=2"):
        open_cube_source(tmp_path / "v3.zarr")
