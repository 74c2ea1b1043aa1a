"""Selection of wavelengths of a grid by ranges, numbers and files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from uavssr.errors import UsageError
from uavssr.sensors import HEADWALL_NANO, WavelengthGrid, select_wavelengths, subset

GRID = WavelengthGrid.regular("test", 400, 1000, 40)


def test_range_selects_the_bands_inside() -> None:
    grid, indices = select_wavelengths(HEADWALL_NANO, "450-900")
    assert indices == tuple(range(indices[0], indices[-1] + 1))
    assert grid.centres[0] >= 450 > HEADWALL_NANO.centres[indices[0] - 1]
    assert grid.centres[-1] <= 900 < HEADWALL_NANO.centres[indices[-1] + 1]
    assert len(grid) == len(indices)
    assert np.array_equal(grid.fwhm, HEADWALL_NANO.fwhm[list(indices)])


def test_list_selects_the_nearest_bands_once_and_in_order() -> None:
    grid, indices = select_wavelengths(HEADWALL_NANO, " 840, 550,550.3,670 ")
    assert indices == tuple(sorted(HEADWALL_NANO.nearest(nm) for nm in (550, 670, 840)))
    assert np.abs(grid.centres - [550, 670, 840]).max() <= 1.13


def test_ranges_and_numbers_may_be_mixed() -> None:
    _, indices = select_wavelengths(GRID, "400-450,700")
    inside = np.flatnonzero(GRID.centres <= 450).tolist()
    assert indices == (*inside, GRID.nearest(700))


@pytest.mark.parametrize(
    "content",
    [
        "550\n670\n840\n",
        "\ufeffwavelength_nm,note\r\n550,green\r\n670,red\r\n\r\n840,nir # a comment\r\n",
        "# what the sprayer needs\n550; 1\n670; 2\n840\n",
        "550\n668-672\n\n835-845",
    ],
)
def test_file_has_one_item_on_each_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bands.csv"
    path.write_text(content, encoding="utf-8")
    grid, _ = select_wavelengths(HEADWALL_NANO, str(path))
    for nm in (550, 670, 840):
        assert np.abs(grid.centres - nm).min() < 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("350,500", "350 nm is 47.87 nm from the nearest"),
        ("0.55,0.67", "from the nearest"),
        ("1010-1100", "no band in 1010-1100 nm"),
        ("900-450", "no band in 900-450"),
        ("550", "selects 1 band"),
        ("", "is no list and no file"),
        (",", "selects no band"),
        ("4-5-6", "'4-5-6' is no wavelength"),
        ("550,-600", "'-600' is no wavelength"),
        ("no such file.csv", "is no list and no file"),
    ],
)
def test_bad_wavelengths_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        select_wavelengths(HEADWALL_NANO, text)


def test_file_without_wavelengths_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bands.txt"
    path.write_text("nm\n550\nred edge\n")
    with pytest.raises(UsageError, match="'red edge' is no wavelength"):
        select_wavelengths(HEADWALL_NANO, str(path))
    with pytest.raises(UsageError, match="is no list and no file"):
        select_wavelengths(HEADWALL_NANO, str(tmp_path))


def test_subset_keeps_name_and_widths() -> None:
    grid = subset(HEADWALL_NANO, [0, 269])
    assert (grid.name, len(grid), grid.fwhm.tolist()) == (HEADWALL_NANO.name, 2, [6.0, 6.0])
