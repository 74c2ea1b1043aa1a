"""`uavssr estimate-stf --zones`: STFs of classes of ground, written, printed and judged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.helpers.commands import Run
from tests.helpers.models import GRID, P4M, tiny_model, tiny_msi
from tests.helpers.rasters import write
from uavssr.io.stf import read_stf

HEIGHT, WIDTH = 40, 48
CODES = np.zeros((1, HEIGHT, WIDTH), "u1")
CODES[:, :, :20], CODES[:, :, 20:40], CODES[:, :5, 40:] = 1, 2, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cover")
    tiny_model(folder / "tiny")
    image = tiny_msi(P4M, HEIGHT, WIDTH)[0].numpy()
    write(folder / "in.tif", image, tags={"sensor": "p4m"})
    write(folder / "classes.tif", CODES, names=None, nodata=0)
    write(folder / "one.tif", CODES.clip(0, 1), names=None, nodata=0)
    write(folder / "empty.tif", 0 * CODES, names=None, nodata=0)
    return folder


def estimate(run: Run, folder: Path, zones: str, *more: object) -> tuple[int, str, str]:
    path = zones if zones == "auto" else folder / zones
    options = ("--model", folder / "tiny", "--tile", 32, "--zones", path, "-q")
    return run("estimate-stf", folder / "in.tif", *options, *more)


def test_classes_are_written_and_judged(run: Run, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "f.stf.nc"
    code, printed, _ = estimate(run, folder, "classes.tif", "--out", out, "--json")
    assert code == 0
    found = json.loads(printed)["classes"]
    assert "do not differ beyond" in found["verdict"]
    assert found["left_out"] == {"3": "40 valid pixels, fewer than 64"}
    assert {row["class"] for row in found["rows"]} == {"1", "2"}
    with xr.open_dataset(out, engine="h5netcdf") as ds:
        assert ds["class"].to_numpy().tolist() == ["1", "2"]
        assert ds["class_stf"].dims == ("class", "band", "wavelength")
        np.testing.assert_allclose(ds["class_stf"].sum("wavelength"), ds["class_gain"], rtol=1e-4)
        own = np.log(ds["class_gain"] / ds["scene_gain"])
        np.testing.assert_allclose(own, ds["class_gain_difference"] / 2, rtol=1e-3, atol=1e-6)
        assert float(ds.attrs["uavssr_classes_p"]) == pytest.approx(found["p"], rel=1e-3)
    assert read_stf(out, sensor=P4M, grid=GRID).sizes["class"] == 2


def test_the_ground_itself_is_classed(run: Run, folder: Path) -> None:
    code, printed, error = estimate(run, folder, "auto", "--json")
    if code:  # the tiny scene may hold one class
        assert "class of ground to compare" in error
    else:
        assert json.loads(printed)["classes"]["source"].startswith("found in the image")


@pytest.mark.parametrize(
    ("zones", "more", "code", "says"),
    [
        ("one.tif", (), 3, "1 class of ground to compare (1); give two or more"),
        ("empty.tif", (), 3, "no valid pixel of the image has a class of empty.tif"),
        ("in.tif", (), 3, "has 5 bands; a map of classes has one"),
        ("auto", ("--zone-field", "crop"), 2, "--zone-field has no effect with --zones auto"),
        ("none.gpkg", (), 3, "check the path of the zones"),
    ],
)
def test_zones_that_cannot_serve_are_refused(
    run: Run, folder: Path, zones: str, more: tuple[str, ...], code: int, says: str
) -> None:
    got, _, error = estimate(run, folder, zones, *more)
    assert got == code
    assert says in error
    assert len(error.strip().splitlines()) == 1


def test_a_column_without_zones_is_refused(run: Run, folder: Path) -> None:
    got = run("estimate-stf", folder / "in.tif", "--model", folder / "tiny", "--zone-field", "x")
    assert got.code == 2
    assert "--zone-field without --zones" in got.err
