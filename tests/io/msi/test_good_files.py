"""Files that are unusual and good: they are read as they are, without a refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.rasters import P4M, scene, write
from uavssr.io.msi import MsiSource, open_msi
from uavssr.sensors import SENSOR_TAG, Band, Sensor, sensor_json
from uavssr.tiling import Window


def pixels(source: MsiSource) -> tuple[np.ndarray, np.ndarray]:
    return source.read(Window(0, 0, source.height, source.width))


@pytest.mark.parametrize(
    "profile",
    [
        {"compress": "lerc"},
        {"compress": "lerc_zstd", "tiled": True, "blockxsize": 32, "blockysize": 32},
        {"compress": "zstd", "predictor": 3},
        {"compress": "lzw", "interleave": "pixel"},
        {"BIGTIFF": "YES"},
        {"ENDIANNESS": "BIG"},
        {"crs": "EPSG:32650+5773"},
    ],
    ids=["LERC", "LERC and ZSTD", "ZSTD", "pixels", "BigTIFF", "big-endian", "compound CRS"],
)
def test_unusual_file_is_read_as_it_is(tmp_path: Path, profile: dict[str, Any]) -> None:
    numbers = scene()
    source = open_msi(write(tmp_path / "field.tif", numbers, **profile), sensor="p4m")
    np.testing.assert_array_equal(pixels(source)[0], numbers)
    assert source.summary.warnings == ()


def test_mask_inside_a_file_counts(tmp_path: Path) -> None:
    mask = np.full((40, 50), 255, "u1")
    mask[:7] = 0
    source = open_msi(write(tmp_path / "field.tif", scene(), mask=mask), sensor="p4m")
    np.testing.assert_array_equal(pixels(source)[1], mask > 0)


@pytest.mark.parametrize(
    "names",
    [
        [f"result_{name}" for name in P4M],
        [f"field_transparent_reflectance_{name.lower()}" for name in P4M],
        [f"field_transparent_reflectance_{name}" for name in ("B", "G", "R", "red edge", "nir")],
    ],
    ids=["Terra", "Pix4D", "Pix4D letters"],
)
def test_names_of_band_files_are_known(tmp_path: Path, names: list[str]) -> None:
    numbers = scene()
    paths = [
        write(tmp_path / f"{name}.tif", band[None], names=None)
        for name, band in zip(names, numbers, strict=True)
    ]
    source = open_msi(paths[::-1], sensor="p4m")
    np.testing.assert_array_equal(pixels(source)[0], numbers)


def test_example_is_taken_without_a_warning(repo: Path) -> None:
    assert open_msi(repo / "examples" / "field.tif").summary.warnings == ()


def test_camera_described_in_the_file_is_taken(tmp_path: Path) -> None:
    """As an image of ours has it of a camera that is not built in."""
    bands = (Band(role="cyan", centre=500, fwhm=30), Band(role="x1", centre=700, fwhm=9, shape=8))
    mine = Sensor(name="mine", title="My camera", bands=bands)
    tags = {SENSOR_TAG: sensor_json(mine), "sensor": "p4m"}
    numbers = scene(2)
    path = write(tmp_path / "field.tif", numbers, names=("x1", "cyan"), tags=tags)
    source = open_msi(path)
    assert source.sensor == mine
    np.testing.assert_array_equal(pixels(source)[0], numbers[::-1])
    assert open_msi(path, sensor=mine).summary.warnings == ()
