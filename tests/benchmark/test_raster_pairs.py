"""Pairs as rasters: flights of a manifest, patches with their texture, gains of classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.helpers.grounds import write_field_cube, write_image
from tests.helpers.models import P4M, tiny_model
from uavssr.benchmark import Budget, Protocol, pairs_cases
from uavssr.benchmark.cover_gains import (
    cover_gains,
    cover_table,
    read_cover_gains,
    write_cover_gains,
)
from uavssr.benchmark.pairs import NOTHING_KNOWN
from uavssr.benchmark.schedule import _command
from uavssr.data import RasterPairs
from uavssr.errors import UsageError
from uavssr.evaluation.baselines import BASELINES, FitSettings

PLANTED = 0.3
SHADE = 0.9


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two flights, the second darker; its right half has a larger gain in the last band."""
    folder = tmp_path_factory.mktemp("pairs")
    tiny_model(folder / "tiny")
    write_field_cube(folder / "cube")
    for name, gain in (("june", 1.0), ("july", SHADE)):
        write_image(folder / f"{name}.tif", gain=gain, invalid=(slice(0, 9), slice(0, 144)))
    with rasterio.open(folder / "july.tif", "r+") as file:
        image = file.read()
        image[4, :, 72:] *= np.exp(PLANTED)
        file.write(image)
        profile = {**file.profile, "count": 1, "dtype": "uint8", "nodata": 0}
    codes = np.ones((1, 144, 144), "u1")
    codes[:, :, 72:] = 2
    with rasterio.open(folder / "classes.tif", "w", **profile) as file:
        file.write(codes)
    rows = ["msi,hsi,sensor,group", "june.tif,cube,p4m,june", "july.tif,cube,p4m,july"]
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n")
    (folder / "july.csv").write_text("\n".join(rows[::2]) + "\n")
    return folder


def test_a_manifest_is_split_by_its_groups(folder: Path) -> None:
    case = pairs_cases(folder / "pairs.csv", test=("july",), known=(5,))[0]
    assert isinstance(case.training, RasterPairs)
    assert [flight.name for flight in case.training.flights] == ["june"]
    image = case.tests[NOTHING_KNOWN][0]
    assert not image.image.apart
    assert image.image.msi.shape == (5, 128, 128)  # the largest square without an invalid pixel
    assert np.isfinite(image.image.msi).all()
    ratio = image.image.msi / np.tensordot(P4M.srf(case.training.grid), image.cube, 1)
    assert np.median(ratio[:4]) == pytest.approx(SHADE, abs=0.02)
    assert len(case.tests["5 known pixels"]) == 3
    known = case.tests["5 known pixels"][0].image.known
    assert known is not None
    assert known.spectra.shape == (5, len(case.training.grid))


def test_patches_hold_image_and_cube_of_one_place(folder: Path) -> None:
    training = pairs_cases(folder / "pairs.csv", test=("july",), known=())[0].training
    batch = training.draw([3], 4, size=20)
    assert batch.msi.shape == (4, 5, 20, 20)
    seen = np.einsum("ck,bkyx->bcyx", P4M.srf(training.grid), batch.hsi.numpy())
    assert np.abs(seen - batch.msi.numpy()).std() < 0.01
    assert batch.msi.std((2, 3)).min() > 0.003  # texture


def test_regression_learns_from_one_image_for_the_other(folder: Path) -> None:
    case = pairs_cases(folder / "pairs.csv", test=("june",), known=())[0]
    image = case.tests[NOTHING_KNOWN][0]
    cube = BASELINES["ridge"].fit(case.training, FitSettings()).predict(image.image).cube
    assert cube.shape == image.cube.shape
    assert np.sqrt(np.square(cube - image.cube).mean()) < 0.1


def test_planted_gain_of_a_class_is_found_with_the_cube(folder: Path, tmp_path: Path) -> None:
    gains = cover_gains(
        folder / "july.csv", zones=str(folder / "classes.tif"), model=str(folder / "tiny")
    )
    assert [(gain.flight, gain.cover) for gain in gains[::5]] == [("july", "1"), ("july", "2")]
    planted = gains[-1]
    assert planted.band == "nir"
    assert planted.paired_p < 0.05
    assert planted.paired > 4 * planted.paired_se
    assert f"{planted.paired:+.3f}" in list(cover_table(gains))[-1]
    write_cover_gains(gains, tmp_path)
    assert read_cover_gains(tmp_path) == gains


def test_options_are_written_as_the_command_line_has_them() -> None:
    options = {"sensor": "p4m", "test": ("june", "july")}
    protocol = Protocol(name="pairs", data=Path("x"), options=options)
    command = _command(protocol, Budget(), methods=["ridge", "a+"], cases=[])
    assert "benchmark pairs --data DATA --sensor p4m --test june,july" in command
    assert "--methods ridge,a+ --seeds 3" in command
    assert "--cases" not in command


def test_plots_have_no_classes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="plots without places show no classes of ground"):
        cover_gains(tmp_path / "plots.npz")
