"""Cubes of other grids and wavelengths: a regridded reference is the reference, and it is said."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from scipy.ndimage import gaussian_filter

import uavssr
from tests.helpers.cubes import smooth_cube, write_cube
from tests.helpers.models import GRID
from tests.helpers.rasters import TRANSFORM
from uavssr import cli
from uavssr.errors import InputRefused
from uavssr.evaluation.block_errors import BlockErrors
from uavssr.sensors import WavelengthGrid
from uavssr.tiling import Window

HEIGHT, WIDTH = 96, 112
A = TRANSFORM.a


def moved(down: float, right: float, side: float = 1.0) -> tuple[float, ...]:
    """The transform of a raster that begins so many pixels further down and right."""
    return (A * side, 0.0, TRANSFORM.c + right * A, 0.0, -A * side, TRANSFORM.f - down * A)


@pytest.fixture(scope="module")
def ground() -> np.ndarray:
    return gaussian_filter(smooth_cube(HEIGHT, WIDTH), (0, 2, 2)).astype("f4")


@pytest.fixture(scope="module")
def reference(ground: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cube(tmp_path_factory.mktemp("reference") / "ref.tif", ground)


def test_part_of_the_reference_is_without_error(
    ground: np.ndarray, reference: Path, tmp_path: Path
) -> None:
    part = ground[:, 10:80, 20:100]
    path = write_cube(tmp_path / "part.tif", part, transform=moved(10, 20))
    report = uavssr.evaluate(path, reference)
    assert report["scene"]["rmse"] < 1e-7
    assert report["valid_pixels"] == part[0].size
    assert (
        "warped, interpolated bilinearly: its pixel is 1 pixels"
        in report["aligned"]["pred"]["grid"]
    )
    assert report["aligned"]["ref"] == {"grid": "as stored", "wavelengths": "as stored"}


@pytest.mark.parametrize("swapped", [False, True])
def test_the_finer_cube_is_averaged_to_the_coarser(
    ground: np.ndarray, reference: Path, tmp_path: Path, *, swapped: bool
) -> None:
    blocks = ground.reshape(len(ground), HEIGHT // 4, 4, WIDTH // 4, 4).mean((2, 4))
    coarse = write_cube(tmp_path / "coarse.tif", blocks, transform=moved(0, 0, 4))
    pair = (reference, coarse) if swapped else (coarse, reference)
    report = uavssr.evaluate(*pair)
    assert report["scene"]["rmse"] < 1e-6
    assert report["pixels"] == blocks[0].size
    warped = report["aligned"]["pred" if swapped else "ref"]["grid"]
    assert warped.startswith("warped, averaged: its pixel is 0.25 pixels")


@pytest.mark.parametrize(("down", "right"), [(0.0, 1.7), (-2.0, 0.6)])
def test_shift_of_the_content_is_taken_away_and_stated(
    ground: np.ndarray, reference: Path, tmp_path: Path, down: float, right: float
) -> None:
    path = write_cube(tmp_path / "off.tif", ground, transform=moved(down, right))
    report = uavssr.evaluate(path, reference)
    assert report["scene"]["rmse"] < 2e-3
    text = report["aligned"]["pred"]["grid"]
    rows, columns = (float(text.split()[-k]) for k in (5, 2))
    assert (rows, columns) == pytest.approx((-down, -right), abs=0.05)


def test_other_crs_is_warped(ground: np.ndarray, reference: Path, tmp_path: Path) -> None:
    from rasterio.warp import calculate_default_transform

    with rasterio.open(reference) as file:
        crs, bounds = CRS.from_epsg(3857), file.bounds
        transform, width, height = calculate_default_transform(
            file.crs, crs, WIDTH, HEIGHT, *bounds
        )
        warped = np.full((len(GRID), height, width), np.nan, np.float32)
        rasterio.warp.reproject(
            file.read(),
            warped,
            src_transform=file.transform,
            src_crs=file.crs,
            src_nodata=np.nan,
            dst_transform=transform,
            dst_crs=crs,
            dst_nodata=np.nan,
            resampling=rasterio.enums.Resampling.cubic,
        )
    path = write_cube(
        tmp_path / "web.tif",
        warped,
        np.isfinite(warped).all(0),
        crs_wkt=crs.to_wkt(),
        transform=tuple(transform)[:6],
    )
    report = uavssr.evaluate(path, reference)
    assert report["scene"]["rmse"] < 2e-3
    assert report["valid_pixels"] > 0.8 * HEIGHT * WIDTH


def test_finer_wavelengths_are_interpolated_and_stated(
    ground: np.ndarray, reference: Path, tmp_path: Path
) -> None:
    grid = WavelengthGrid.regular("fine", 420, 980, 113)
    weights = np.stack([np.interp(grid.centres, GRID.centres, row) for row in np.eye(len(GRID))], 1)
    fine = write_cube(
        tmp_path / "fine.tif", np.tensordot(weights, ground, 1).astype("f4"), grid=grid
    )
    report = uavssr.evaluate(fine, reference)
    inside = (GRID.centres >= 420) & (GRID.centres <= 980)
    assert [row["wavelength"] for row in report["per_band"]] == GRID.centres[inside].tolist()
    assert report["scene"]["rmse"] < 1e-3
    assert (
        "interpolated linearly from 113 bands from 420 to 980 nm"
        in (report["aligned"]["pred"]["wavelengths"])
    )
    again = uavssr.evaluate(reference, fine)
    assert again["scene"]["rmse"] == pytest.approx(report["scene"]["rmse"], rel=1e-5)


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ({"transform": moved(5000, 0)}, "shows none of the ground of"),
        ({"grid": WavelengthGrid.regular("swir", 1500, 2400, len(GRID))}, "share no range"),
    ],
)
def test_cubes_without_anything_in_common_are_refused(
    ground: np.ndarray, reference: Path, tmp_path: Path, options: dict[str, object], fact: str
) -> None:
    with pytest.raises(InputRefused, match=fact):
        uavssr.evaluate(write_cube(tmp_path / "c.tif", ground, **options), reference)


@pytest.fixture(scope="module")
def rivals(ground: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two predictions that share most of their error."""
    folder = tmp_path_factory.mktemp("rivals")
    rng = np.random.default_rng(3)
    shared = gaussian_filter(rng.normal(0, 0.3, ground.shape), (0, 6, 6))
    cubes = [ground + shared, ground + 1.1 * shared]
    return [write_cube(folder / f"p{k}.tif", cube.astype("f4")) for k, cube in enumerate(cubes)]


def test_paired_standard_errors_are_smaller_than_of_each(
    rivals: list[Path], reference: Path
) -> None:
    report = uavssr.evaluate(rivals, reference)
    alone = [uavssr.evaluate(path, reference) for path in rivals]
    for prediction, single in zip(report["predictions"], alone, strict=True):
        assert prediction["scene"] == single["scene"]
        assert prediction["standard_errors"] == single["standard_errors"]
    (difference,) = report["differences"]
    value, se = difference["rmse"]
    first, second = (single["scene"]["rmse"] for single in alone)
    assert value == pytest.approx(second - first, rel=1e-6)
    assert 0 < se < 0.2 * alone[0]["standard_errors"]["rmse"]


def test_standard_error_is_that_of_many_draws() -> None:
    """Errors that blocks share: the jackknife equals the spread over new draws."""
    rng = np.random.default_rng(0)
    side, found, claimed = 64, [], []
    for _ in range(60):
        blocks = rng.normal(0, 1, (1, 8, 8)).repeat(8, 1).repeat(8, 2)
        errors = BlockErrors.empty(side, side, epsilon=1e-3)
        truth = np.full((1, side, side), 0.5)
        errors.add(truth + 0.01 * blocks, truth, np.ones((side, side), bool), Window(0, 0, 64, 64))
        estimate = errors.estimates()["rmse"]
        found.append(estimate.value)
        claimed.append(estimate.se)
    assert np.mean(claimed) == pytest.approx(np.std(found), rel=0.2)


def test_blocks_do_not_depend_on_the_windows(rivals: list[Path], reference: Path) -> None:
    one, two = (uavssr.evaluate(rivals[0], reference, tile=tile) for tile in (32, 1000))
    for name, se in one["standard_errors"].items():
        assert se == pytest.approx(two["standard_errors"][name], rel=1e-9)


def test_objects_give_what_files_give(rivals: list[Path], reference: Path) -> None:
    files = uavssr.evaluate(rivals[0], reference)
    memory = uavssr.evaluate(uavssr.open_cube(rivals[0]), uavssr.open_cube(reference).reflectance)
    assert memory["scene"] == files["scene"]
    assert memory["pred"] == "reflectance"


def test_command_compares_several_and_writes_table_and_picture(
    rivals: list[Path], reference: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table, picture = tmp_path / "errors.csv", tmp_path / "errors.png"
    names = [*map(str, rivals), "--reference", str(reference)]
    written = ["--csv", str(table), "--figure", str(picture)]
    assert cli.main(["evaluate", *names, *written, "-q"]) == 0
    shown = capfd.readouterr().out
    assert "p1.tif" in shown
    assert "blocks of" in shown
    assert picture.read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len(rows) == 2 * (1 + len(GRID))
    assert cli.main(["evaluate", *names, "--json", "-q"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert report["differences"][0]["pred"] == str(rivals[1])
    assert float(rows[0]["rmse"]) == pytest.approx(
        report["predictions"][0]["scene"]["rmse"], rel=1e-4
    )
    assert cli.main(["evaluate", *names[:2], str(reference)]) == 2
    assert "name it with --reference" in capfd.readouterr().err
    assert cli.main(["evaluate", *names, *written]) == 8
