"""The change of an index between two images, over pixels and plots."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import shapely
import torch
from rasterio.transform import Affine
from scipy.stats import false_discovery_control
from shapely.affinity import affine_transform

from tests.helpers.models import P4M, tiny_msi, tiny_network
from tests.helpers.rasters import TRANSFORM, write
from uavssr import ReconstructionOptions, cli, open_msi, plan_reconstruction
from uavssr.analysis import (
    IndexEvaluation,
    IndexRequest,
    SpectralSource,
    false_discovery_rates,
    of_image,
    same_stf,
    write_change,
)
from uavssr.errors import InputRefused
from uavssr.io.stf import write_stf
from uavssr.model import save_model

HEIGHT, WIDTH = 48, 40
NDVI = IndexRequest.of(["NDVI"], [])[0]
PATCH = (slice(8, 20), slice(10, 24))
"""Rows and columns that differ in B."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("change")
    save_model(tiny_network(), folder / "tiny", name="tiny", training={})
    image = tiny_msi(P4M, HEIGHT, WIDTH)[0].numpy()
    image[:, 40:, :9] = np.nan
    later = image.copy()
    later[:, *PATCH] = later[::-1, *PATCH]
    write(folder / "a.tif", image)
    write(folder / "b.tif", later)
    # the same ground in pixels of half the size, less a margin
    finer = later[:, 2:-2, 2:-2].repeat(2, 1).repeat(2, 2)
    smaller = TRANSFORM @ Affine.translation(2, 2) @ Affine.scale(0.5)
    write(folder / "finer.tif", finer, transform=smaller)
    write(folder / "far.tif", image, transform=TRANSFORM @ Affine.translation(500, 0))
    return folder


def opened(folder: Path, name: str, stf: Path | None = None) -> SpectralSource:
    options = ReconstructionOptions(model=folder / "tiny", tile=32, workers=2, stf=stf)
    return of_image(plan_reconstruction(open_msi(folder / name, sensor="p4m"), options))


def maps_of(source: SpectralSource) -> np.ndarray:
    """(3, y, x) index, variance of its own error, and of what pixels share."""
    evaluation = IndexEvaluation.of([NDVI], source.grid, source.errors)
    image = np.full((3, source.height, source.width), np.nan)
    for tile, values in source.map(
        lambda tile: (tile, evaluation(tile)), progress=None, task="maps"
    ):
        rows = values.value[0], values.own_variance[0], values.shared[0].square().sum(0)
        image[:, tile.window.rows, tile.window.cols][:, tile.valid] = torch.stack(rows).numpy()
    return image


def changed(a: SpectralSource, b: SpectralSource, out: Path) -> np.ndarray:
    write_change(a, b, NDVI, out)
    with rasterio.open(out) as file:
        return file.read()


def test_change_is_the_difference_and_its_variance_the_sum(folder: Path, tmp_path: Path) -> None:
    a, b = opened(folder, "a.tif"), opened(folder, "b.tif")
    assert not same_stf(a, b)
    first, second = maps_of(a), maps_of(b)
    change, error, significant = changed(a, b, tmp_path / "c.tif")
    # interpolation on the very same grid leaves out pixels beside invalid ones
    at = np.isfinite(change)
    assert at.mean() > 0.9
    np.testing.assert_allclose(change[at], (second[0] - first[0])[at], atol=1e-4)
    expected = np.sqrt(first[1:].sum(0) + second[1:].sum(0))
    np.testing.assert_allclose(error[at], expected[at], rtol=1e-3)
    expected = np.sign(change) * (abs(change) > 1.96 * error)
    np.testing.assert_array_equal(significant[at], expected[at])


def test_finer_image_is_averaged_on_the_grid_of_the_first(folder: Path, tmp_path: Path) -> None:
    a = opened(folder, "a.tif")
    whole = changed(a, opened(folder, "b.tif"), tmp_path / "same.tif")
    finer = changed(a, opened(folder, "finer.tif"), tmp_path / "finer.tif")
    assert np.isnan(finer[0, :2]).all()
    # Z-Net sees other neighbours in the finer image, and another STF is estimated
    inside = np.isfinite(finer[0]) & np.isfinite(whole[0])
    assert inside.sum() > 0.7 * HEIGHT * WIDTH
    assert np.corrcoef(finer[0][inside], whole[0][inside])[0, 1] > 0.85


def test_errors_of_one_stf_cancel_and_those_of_each_flight_do_not(
    folder: Path, tmp_path: Path
) -> None:
    planned = plan_reconstruction(
        open_msi(folder / "a.tif", sensor="p4m"),
        ReconstructionOptions(model=folder / "tiny", tile=32, tile_stf="off"),
    )
    stf = write_stf(planned.stf_arrays(), tmp_path / "camera.stf.nc")
    a, b = (opened(folder, "a.tif", stf) for _ in range(2))
    assert same_stf(a, b)
    change, error, _ = changed(a, b, tmp_path / "c.tif")
    at = np.isfinite(change)
    np.testing.assert_allclose(change[at], 0, atol=1e-6)
    first = maps_of(a)
    # NDVI has no error by a common factor, so that two own errors are left of two like images
    np.testing.assert_allclose(error[at], np.sqrt(2 * first[1])[at], rtol=1e-3)
    assert (error[at] < np.sqrt(2 * first[1:].sum(0))[at]).all()


@pytest.mark.parametrize(
    ("name", "fact"), [("far.tif", "does not overlap a.tif"), ("a.tif", "has no valid pixel where")]
)
def test_images_of_other_ground_are_refused(
    folder: Path, tmp_path: Path, name: str, fact: str
) -> None:
    a, b = opened(folder, "a.tif"), opened(folder, name)
    if name == "a.tif":
        b = replace(b, read=lambda *_: None)
    with pytest.raises(InputRefused, match=fact):
        write_change(a, b, NDVI, tmp_path / "c.tif")
    assert list(tmp_path.iterdir()) == []


def test_false_discovery_rates_are_those_of_scipy() -> None:
    p = np.random.default_rng(0).uniform(size=40) ** 3
    np.testing.assert_allclose(false_discovery_rates(p), false_discovery_control(p))
    rates = false_discovery_rates([0.5, float("nan"), 0.01])
    np.testing.assert_allclose(rates, [0.5, np.nan, 0.02])


def test_command_maps_the_change_and_finds_the_plot_that_changed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    squares = {"same": (slice(25, 37), slice(12, 28)), "other": PATCH}
    squares["far"] = slice(900, 910), slice(900, 910)
    write_zones(tmp_path / "zones.gpkg", squares)
    out, table, picture = (tmp_path / name for name in ("c.tif", "c.csv", "c.png"))
    arguments = ["--sensor", "p4m", "--model", str(folder / "tiny"), "-o", str(out)]
    command = ["compare", str(folder / "a.tif"), str(folder / "b.tif"), *arguments]
    assert cli.main([*command, "--index", "NDVI", "--wavelength", "700"]) == 2
    more = ["--zones", str(tmp_path / "zones.gpkg"), "--table", str(table)]
    more += ["--quicklook", str(picture), "--even-so"]
    assert cli.main([*command, "--index", "NDVI", *more]) == 0
    with table.open(newline="") as file:
        rows = {row["zone"]: row for row in csv.DictReader(file)}
    assert abs(float(rows["other"]["change"])) > 5 * abs(float(rows["same"]["change"]))
    assert rows["same"]["significant"] == "0"
    assert all(path.exists() for path in (out, picture, tmp_path / "c.qml"))
    printed = capsys.readouterr().err
    assert "plots changed" in printed
    assert "1 of 3 plots lie outside A or B: far" in printed


def write_zones(path: Path, squares: dict[str, tuple[slice, slice]]) -> None:
    pixels = [shapely.box(c.start, r.start, c.stop, r.stop) for r, c in squares.values()]
    shapes = [affine_transform(square, TRANSFORM.to_shapely()) for square in pixels]
    pyogrio.raw.write(
        path,
        geometry=np.array([shapely.to_wkb(shape) for shape in shapes], object),
        field_data=[np.array(list(squares), object)],
        fields=["id"],
        geometry_type="Polygon",
        crs="EPSG:32650",
    )
