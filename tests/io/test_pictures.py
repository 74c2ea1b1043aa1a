"""Pictures and MATLAB cubes of benchmarks, against the libraries that write them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.helpers.pictures import write_mat, write_png
from uavssr.errors import InputRefused
from uavssr.io.matlab import open_mat_cube
from uavssr.io.pictures import decode_picture, encode_jpeg, read_picture
from uavssr.tiling import Window


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("count", [1, 4])
def test_png_numbers_are_those_stored(tmp_path: Path, dtype: str, count: int) -> None:
    top = np.iinfo(dtype).max
    numbers = np.random.default_rng(0).integers(0, top, (count, 7, 5), dtype, endpoint=True)
    write_png(tmp_path / "a.png", numbers)
    read = read_picture(tmp_path / "a.png")
    assert read.dtype == numbers.dtype
    np.testing.assert_array_equal(read, numbers)


def test_jpeg_is_near_its_numbers_and_smaller_at_lower_quality() -> None:
    y, x = np.mgrid[:48, :64]
    numbers = np.stack([x * 2 + 50, y * 3 + 20, 200 - x]).astype(np.uint8)
    fine, coarse = (encode_jpeg(numbers, quality=quality) for quality in (95, 30))
    assert len(coarse) < len(fine)
    assert np.abs(decode_picture(fine).astype(int) - numbers).mean() < 2


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"II*\0",
        b"\xff\xd8\xff\xe0\0\x02",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\0\1\0\0" * 2 + b"\x08\0\0\0\0",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\0\0\0\x04" * 2 + b"\x08\0\0\0\0",
    ],
)
def test_what_is_no_picture_is_refused(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "a.png").write_bytes(raw)
    with pytest.raises(InputRefused, match="no PNG or JPEG picture"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("options", [{}, {"chunks": (2, 4, 3), "compression": "gzip"}])
def test_mat_windows_are_those_of_the_cube(tmp_path: Path, options: dict[str, object]) -> None:
    cube = np.random.default_rng(1).random((6, 9, 4)).astype(np.float32)
    write_mat(tmp_path / "a.mat", cube, np.arange(400.0, 440, 10), **options)
    opened = open_mat_cube(tmp_path / "a.mat")
    assert opened.shape == (4, 6, 9)
    np.testing.assert_array_equal(opened.nm, [400, 410, 420, 430])
    np.testing.assert_array_equal(opened.read(), cube.transpose(2, 0, 1))
    part = opened.read(Window(2, 3, 3, 5))
    np.testing.assert_array_equal(part, cube[2:5, 3:8].transpose(2, 0, 1))


@pytest.mark.parametrize("fault", ["missing", "old", "link", "bands", "text", "cut"])
def test_what_is_no_mat_cube_is_refused(tmp_path: Path, fault: str) -> None:
    path, nm = tmp_path / "a.mat", np.arange(400.0, 440, 10)
    cube = np.ones((6, 9, 4), np.float32)
    if fault == "old":
        path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(600))
    elif fault != "missing":
        write_mat(path, cube, nm[:3] if fault == "bands" else nm)
    with path.open("r+b") if fault == "cut" else h5py.File(tmp_path / "other", "w") as file:
        if fault == "cut":
            file.truncate(1500)
    if fault in ("link", "text"):
        with h5py.File(path, "r+") as file:
            del file["cube"]
            file["cube"] = h5py.ExternalLink("other", "x") if fault == "link" else "text"
    with pytest.raises(InputRefused, match=r"no MATLAB 7.3 file") as caught:
        open_mat_cube(path)
    assert caught.value.remedy
