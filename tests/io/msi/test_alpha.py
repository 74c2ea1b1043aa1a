"""Bands that say which pixels are valid: alpha by colour, by description, by the user's word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from tests.helpers.cubes import smooth_cube, tag, write_plain
from tests.helpers.models import GRID
from tests.helpers.rasters import P4M, scene, write
from uavssr.errors import InputRefused
from uavssr.io.hsi import open_cube_source
from uavssr.io.msi import MsiSource, open_msi
from uavssr.tiling import Window

OUTSIDE = 12
"""Columns at the left that alpha says to be outside the flight."""


def with_alpha(value: float = 1.0, dtype: str = "f4") -> np.ndarray:
    """Five bands and alpha (6, y, x); outside the flight stands what a mosaic left there."""
    factor = 1 if dtype == "f4" else 10_000
    numbers = np.concatenate([scene() * factor, np.full((1, 40, 50), value)])
    numbers[:, :, :OUTSIDE] = numbers[:, :1, :1]
    numbers[5, :, :OUTSIDE] = 0
    return numbers.astype(dtype)


def assert_masked(source: MsiSource) -> None:
    valid = source.read(Window(0, 0, source.height, source.width))[1]
    assert not valid[:, :OUTSIDE].any()
    assert valid[:, OUTSIDE:].all()
    assert source.summary.mask_evidence == "alpha 0"


@pytest.mark.parametrize("name", ["Alpha", "alpha band", "Band 6 (Alpha)", "ALPHA", "b6_alpha"])
def test_band_called_alpha_is_a_mask(tmp_path: Path, name: str) -> None:
    """RELIABILITY row 47."""
    path = write(tmp_path / "field.tif", with_alpha(), names=(*P4M, name))
    assert_masked(open_msi(path, sensor="p4m"))
    assert_masked(open_msi(path, sensor="p4m", bands=P4M))
    assert_masked(open_msi(path, sensor="p4m", bands=[*P4M, "skip"]))
    assert_masked(open_msi(path, sensor="p4m", bidx=[1, 2, 3, 4, 5]))


@pytest.mark.parametrize(("value", "dtype"), [(1, "f4"), (255, "u2"), (65535, "u2"), (1, "u2")])
def test_band_that_the_user_calls_alpha_is_a_mask(tmp_path: Path, value: float, dtype: str) -> None:
    """RELIABILITY row 47."""
    path = write(tmp_path / "field.tif", with_alpha(value, dtype), names=None)
    scale: dict[str, Any] = {} if dtype == "f4" else {"scale": 1e-4}
    assert_masked(open_msi(path, sensor="p4m", bands=[*P4M, "alpha"], **scale))
    skipped = open_msi(path, sensor="p4m", bands=[*P4M, "skip"], **scale)
    assert skipped.summary.mask_evidence.startswith("no nodata tag, alpha")


def test_alpha_of_one_file_of_a_set_is_a_mask_for_all(tmp_path: Path) -> None:
    names = [*(f"result_{name}" for name in P4M), "result_Alpha"]
    paths = [
        write(tmp_path / f"{name}.tif", band[None], names=None)
        for name, band in zip(names, with_alpha(), strict=True)
    ]
    assert_masked(open_msi(paths, sensor="p4m"))
    assert_masked(open_msi(paths, sensor="p4m", bands=[*P4M, "alpha"]))


def test_two_alpha_bands_both_count(tmp_path: Path) -> None:
    numbers = np.concatenate([with_alpha(), np.ones((1, 40, 50), "f4")])
    numbers[6, :3] = 0
    path = write(tmp_path / "field.tif", numbers, names=(*P4M, "Alpha", "Alpha 2"))
    source = open_msi(path, sensor="p4m")
    valid = source.read(Window(0, 0, 40, 50))[1]
    assert valid.sum() == 37 * (50 - OUTSIDE)


@pytest.mark.parametrize("name", ["mask", "valid", "Quality"])
def test_band_that_may_mean_anything_is_no_mask_unless_the_user_says_so(
    tmp_path: Path, name: str
) -> None:
    path = write(tmp_path / "field.tif", with_alpha(), names=(*P4M, name))
    with pytest.raises(InputRefused, match=r"band 6 = .* expected each of"):
        open_msi(path, sensor="p4m")
    assert_masked(open_msi(path, sensor="p4m", bands=[*P4M, "alpha"]))


def test_band_of_a_cube_called_alpha_is_a_mask(tmp_path: Path) -> None:
    cube = smooth_cube(30, 40)
    alpha = np.ones((1, 30, 40), "f4")
    alpha[:, :, :OUTSIDE] = 0
    names = [*(f"{nm:.1f} nm" for nm in GRID.centres), "Alpha"]
    path = write_plain(tmp_path / "cube.tif", np.concatenate([cube, alpha]))
    tag(path, None, *({"wavelength": str(nm), "wavelength_units": "nm"} for nm in GRID.centres))
    describe(path, names)
    source = open_cube_source(path)
    valid = source.read(Window(0, 0, 30, 40))[1]
    assert len(source.grid) == len(GRID)
    assert not valid[:, :OUTSIDE].any()
    assert valid[:, OUTSIDE:].all()


def describe(path: Path, names: list[str]) -> None:
    with rasterio.open(path, "r+") as file:
        file.descriptions = names
