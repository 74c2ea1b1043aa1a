"""An ENVI header belongs to one raw file, and is found as GDAL finds it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.helpers.cubes import listed, write_envi
from uavssr.errors import InputRefused
from uavssr.io.checks import check_raster
from uavssr.io.checks.envi_header import data_file, envi_header, read_envi_list
from uavssr.io.hsi import open_cube_source

NM = np.linspace(400, 1000, 4)
SCENE = np.full((4, 6, 5), 0.25, "f4")


def header(path: Path, shift: float = 0) -> Path:
    """A header of a raw file of `SCENE`, with wavelengths that are shifted by so many nm."""
    other = write_envi(path.with_name("any"), SCENE, listed("wavelength", NM + shift))
    other.unlink()
    return Path(f"{other}.hdr").rename(path)


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        ("c.img", ["c.img.hdr", "c.hdr"]),
        ("c.img", ["c.hdr"]),
        ("c.raw", ["c.raw.HDR", "c.hdr"]),
        ("c.raw", ["c.HDR"]),
        ("C.RAW", ["C.HDR"]),
        ("C.RAW", ["C.hdr"]),
        ("c", ["c.hdr"]),
        ("c.2.img", ["c.2.hdr"]),
    ],
)
def test_header_is_the_one_that_gdal_takes(tmp_path: Path, data: str, headers: list[str]) -> None:
    path = tmp_path / data
    SCENE.tofile(path)
    for name in headers:
        header(tmp_path / name)
    with (
        rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="TRUE"),
        rasterio.open(path, driver="ENVI") as dataset,
    ):
        assert [Path(file).name for file in dataset.files] == [data, headers[0]]
    found = envi_header(path)
    assert found is not None
    assert found.name == headers[0]
    assert data_file(tmp_path / headers[0]) == path
    assert open_cube_source(path).grid.centres.tolist() == NM.tolist()


def test_header_of_another_file_is_left_aside(tmp_path: Path) -> None:
    """RELIABILITY row 53."""
    for name in ("c.img", "c.dat"):
        SCENE.tofile(tmp_path / name)
    header(tmp_path / "c.img.hdr")
    header(tmp_path / "c.hdr", shift=20)
    for name, shift in (("c.img", 0), ("c.img.hdr", 0), ("c.dat", 20), ("c.hdr", 20)):
        assert open_cube_source(tmp_path / name).grid.centres.tolist() == (NM + shift).tolist()


def test_two_headers_that_differ_are_refused_unless_one_is_named(tmp_path: Path) -> None:
    """RELIABILITY row 53."""
    SCENE.tofile(tmp_path / "c.img")
    header(tmp_path / "c.img.hdr")
    header(tmp_path / "c.hdr", shift=20)
    for name in ("c.img", "c.hdr"):
        with pytest.raises(InputRefused, match=r"differ: c\.img\.hdr, c\.hdr; remove or rename"):
            open_cube_source(tmp_path / name)
    assert open_cube_source(tmp_path / "c.img.hdr").grid.centres.tolist() == NM.tolist()
    (tmp_path / "c.hdr").unlink()
    assert open_cube_source(tmp_path / "c.img").grid.centres.tolist() == NM.tolist()


@pytest.mark.parametrize(
    "lines",
    [
        f"a{' ' * 600_000}b",
        f"samples{' ' * 600_000}",
        f"x = {' ' * 600_000}1",
        "wavelength = {\n" * 50_000,
        "wavelength = {1,\n" + "," * 600_000,
        "= \n" * 200_000,
    ],
    ids=["key", "no value", "value", "open lists", "commas", "no keys"],
)
def test_time_to_read_a_header_grows_with_its_length_only(tmp_path: Path, lines: str) -> None:
    """Row 9: with patterns that go back these would take hours."""
    path = write_envi(tmp_path / "c.img", SCENE, listed("wavelength", NM))
    named = Path(f"{path}.hdr")
    named.write_text(named.read_text() + lines)
    assert check_raster(path).layout.bands == 4
    read_envi_list(named, "wavelength")


@pytest.mark.parametrize("number", ["9" * 5000, "-3", "1e3", "nan", "0x10", ""])
def test_number_that_is_none_is_refused(tmp_path: Path, number: str) -> None:
    """Row 6."""
    path = write_envi(tmp_path / "c.img", SCENE, listed("wavelength", NM))
    named = Path(f"{path}.hdr")
    named.write_text(named.read_text().replace("samples = 5", f"samples = {number}"))
    with pytest.raises(InputRefused, match="gives no 'samples'"):
        check_raster(path)
