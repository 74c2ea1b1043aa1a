"""Images of another camera: R X of a cube as the oracle; means over cells and their errors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from tests.helpers.cubes import smooth_cube, write_cube
from tests.helpers.fakes import irregular_mask
from tests.helpers.models import GRID, P4M, tiny_msi, tiny_network
from tests.helpers.rasters import write
from uavssr import (
    OutputOptions,
    ReconstructionOptions,
    cli,
    open_msi,
    plan_reconstruction,
    simulate,
)
from uavssr.analysis import (
    AveragingGrid,
    Conversion,
    ImageConversion,
    IndexRequest,
    SpectralSource,
    of_cube,
    of_image,
    write_index_maps,
)
from uavssr.analysis.averaging_grid import CellShares
from uavssr.analysis.cell_sums import CellSums, sums_of_tile
from uavssr.errors import InputRefused, OutputError
from uavssr.model import save_model
from uavssr.reconstruction import PlannedReconstruction
from uavssr.sensors import Band, Sensor, WavelengthGrid, load_sensor
from uavssr.tiling import Window

HEIGHT, WIDTH = 70, 45
SENTINEL = load_sensor("sentinel2a")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, an image with invalid pixels, and a true cube with some."""
    folder = tmp_path_factory.mktemp("convert")
    save_model(tiny_network(), folder / "tiny", name="tiny", training={})
    image = tiny_msi(P4M, HEIGHT, WIDTH)[0].numpy()
    mask = irregular_mask(HEIGHT, WIDTH, seed=2)
    write(folder / "in.tif", np.where(mask, image, np.nan))
    valid = np.ones((70, 90), bool)
    valid[:33, :40] = False
    write_cube(folder / "true.tif", smooth_cube(), valid)
    return folder


@pytest.fixture(scope="module")
def planned(folder: Path) -> PlannedReconstruction:
    source = open_msi(folder / "in.tif", sensor="p4m")
    options = ReconstructionOptions(model=folder / "tiny", tile=32, workers=2)
    return plan_reconstruction(source, options)


def pixels(path: Path) -> np.ndarray:
    """Stored reflectance (band, y, x), NaN where invalid."""
    with rasterio.open(path) as dataset:
        numbers = dataset.read(masked=True).astype(float).filled(np.nan)
        return numbers * np.array(dataset.scales)[:, None, None]


def converted(source: SpectralSource, target: Sensor, out: Path, **options: object) -> np.ndarray:
    options = {"dtype": "float32"} | options
    ImageConversion.of(source, target, out, **options).write()
    return pixels(out)


@pytest.fixture(scope="module")
def sentinel(planned: PlannedReconstruction, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The image as Sentinel-2A would see it, and its standard errors."""
    se = folder / "s2_se.tif"
    return converted(of_image(planned), SENTINEL, folder / "s2.tif", uncertainty=se), pixels(se)


@pytest.mark.parametrize("name", ["sentinel2a", "landsat9", "m3m"])
def test_true_cube_gives_what_simulate_gives(folder: Path, tmp_path: Path, name: str) -> None:
    simulated = simulate(
        folder / "true.tif",
        sensor=name,
        out=tmp_path / "sim.tif",
        perfect=True,
        snr_db=np.inf,
        dtype="float32",
    ).image
    out = converted(of_cube(folder / "true.tif"), load_sensor(name), tmp_path / "out.tif")
    np.testing.assert_allclose(out, pixels(simulated), atol=1e-6)
    assert np.isnan(out[:, :33, :40]).all()


def test_image_gives_r_x_of_its_cube(
    planned: PlannedReconstruction, sentinel: tuple[np.ndarray, np.ndarray]
) -> None:
    cube = planned.dataset().load().reflectance.to_numpy()
    np.testing.assert_allclose(sentinel[0], np.tensordot(SENTINEL.srf(GRID), cube, 1), atol=1e-5)


def test_own_camera_gives_the_image_back(folder: Path, tmp_path: Path) -> None:
    simulate(
        folder / "true.tif",
        sensor="p4m",
        out=tmp_path / "own.tif",
        stf_out=tmp_path / "own.stf.nc",
        perfect=True,
    )
    options = ReconstructionOptions(model=folder / "tiny", tile=32, stf=tmp_path / "own.stf.nc")
    own = plan_reconstruction(open_msi(tmp_path / "own.tif"), options)
    out = converted(of_image(own), P4M, tmp_path / "back.tif")
    given = pixels(tmp_path / "own.tif")
    misfit = np.sqrt(np.nanmean((out - given) ** 2, axis=(1, 2)))
    spread = np.nanstd(given, axis=(1, 2))
    assert (misfit < 0.1 * spread).all()


def test_standard_error_of_a_narrow_band_is_that_of_the_cube(
    planned: PlannedReconstruction, folder: Path
) -> None:
    narrow = Sensor(name="narrow", bands=(Band(role="x", centre=800, fwhm=2),))
    se = folder / "narrow_se.tif"
    converted(of_image(planned), narrow, folder / "narrow.tif", uncertainty=se)
    cube = planned.dataset(uncertainty=True).load().reflectance_se
    np.testing.assert_allclose(pixels(se)[0], cube.interp(wavelength=800).to_numpy(), rtol=0.05)


@pytest.mark.parametrize("format_of", ["coefficients", "gtiff"])
def test_cube_gives_what_its_image_gives(
    planned: PlannedReconstruction,
    sentinel: tuple[np.ndarray, np.ndarray],
    folder: Path,
    tmp_path: Path,
    format_of: str,
) -> None:
    cube, se = tmp_path / "cube.tif", tmp_path / "se.tif"
    planned.write(OutputOptions(cube=cube, dtype="float32", format=format_of))
    source = of_cube(cube, model=folder / "tiny")
    again = converted(source, SENTINEL, tmp_path / "again.tif", uncertainty=se)
    np.testing.assert_allclose(again, sentinel[0], atol=1e-5)
    np.testing.assert_allclose(pixels(se), sentinel[1], rtol=0.02)


MINE = Sensor(
    name="mine",
    bands=(
        Band.from_curve("green", [520, 550, 560, 590], [0, 1, 1, 0.1]),
        Band(role="edge1", centre=710, fwhm=15),
        Band(role="nir", centre=995, fwhm=60),
    ),
)


@pytest.mark.parametrize(
    ("target", "roles", "dtype"),
    [
        (SENTINEL, SENTINEL.roles, "uint16"),
        (load_sensor("m3m"), load_sensor("m3m").roles, "float32"),
        (MINE, ("green", "edge1"), "uint16"),
    ],
)
def test_image_is_opened_again_without_options(
    folder: Path, tmp_path: Path, target: Sensor, roles: tuple[str, ...], dtype: str
) -> None:
    out = tmp_path / "out.tif"
    wanted = converted(of_cube(folder / "true.tif"), target, out, dtype=dtype)
    opened = open_msi(out)
    bands = tuple(band for band in target.bands if band.role in roles)
    assert opened.sensor == replace(target, bands=bands)
    image, valid = opened.read(Window(0, 0, opened.height, opened.width))
    np.testing.assert_allclose(np.where(valid, image, np.nan), wanted, atol=1e-6)


@pytest.mark.usefixtures("sentinel")
def test_file_of_standard_errors_is_not_taken_for_an_image(folder: Path) -> None:
    with pytest.raises(InputRefused, match="no tag names the camera"):
        open_msi(folder / "s2_se.tif")


def test_bands_outside_the_wavelengths_are_left_out_by_name() -> None:
    grid = WavelengthGrid.regular("vis", 450, 800, 40)
    conversion = Conversion.of(SENTINEL, grid, None)
    assert conversion.sensor.roles == ("b2", "b3", "b4", "b5", "b6", "b7")
    assert "left out b8, b8a (the wavelengths, 450-800 nm, do not" in conversion.left_out
    assert "b9, b10, b11, b12 (no response is tabulated)" in conversion.left_out
    beyond = Sensor(name="far", bands=(Band(role="x", centre=1000, fwhm=30),))
    with pytest.raises(InputRefused, match=r"cover no band of far \(x 1000 nm\)"):
        Conversion.of(beyond, grid, None)


def test_band_in_a_gap_of_the_wavelengths_is_left_out() -> None:
    centres = np.concatenate([np.arange(440, 620, 5.0), np.arange(705, 960, 5.0)])
    grid = WavelengthGrid("gap", centres, np.full(centres.size, 5.0))
    conversion = Conversion.of(load_sensor("m3m"), grid, None)
    assert conversion.sensor.roles == ("green", "rededge", "nir")


def test_cells_hold_means_of_their_pixels(folder: Path, tmp_path: Path) -> None:
    """Cells of 0.5 m hold 5 x 5 pixels; the image begins on a border of cells."""
    source = of_cube(folder / "true.tif")
    cells = AveragingGrid.of_resolution(source, 0.5)
    whole = converted(source, SENTINEL, tmp_path / "pixels.tif")
    means = converted(source, SENTINEL, tmp_path / "cells.tif", cells=cells)
    blocks = whole.reshape(8, 14, 5, 18, 5)
    covered = np.isfinite(blocks).mean((2, 4)) >= 0.9
    assert 0 < (~covered).sum() < covered.size
    expected = np.where(
        covered, np.nanmean(np.where(covered[:, :, None, :, None], blocks, 0), (2, 4)), np.nan
    )
    np.testing.assert_allclose(means, expected, atol=1e-5)


def test_means_do_not_depend_on_tiles(
    planned: PlannedReconstruction, folder: Path, tmp_path: Path
) -> None:
    """Of the same spectra, read in other tiles, both means and errors are the same."""
    cube = planned.write(OutputOptions(cube=tmp_path / "c.tif", format="coefficients")).cube
    results = []
    for tile in (16, 48):
        source = of_cube(cube, model=folder / "tiny")
        source = replace(source, tiles=replace(source.tiles, tile=tile))
        se = tmp_path / f"se{tile}.tif"
        image = converted(
            source,
            SENTINEL,
            tmp_path / f"{tile}.tif",
            cells=AveragingGrid.of_resolution(source, 0.7),
            uncertainty=se,
        )
        results.append(np.concatenate([image, pixels(se)]))
    assert np.isfinite(results[0]).any()
    np.testing.assert_allclose(*results, rtol=1e-5)


@pytest.mark.parametrize("count", [1, 4, 100])
@torch.inference_mode()
def test_shared_errors_do_not_average_out(planned: PlannedReconstruction, count: int) -> None:
    """Of n equal pixels: own variance v (0.3 + 0.7 / n), shared changes as of one."""
    source = of_image(planned)
    conversion = Conversion.of(load_sensor("m3m"), source.grid, source.errors)
    tile = source.read(source.tiles[0].core, 0)
    assert tile is not None
    one = conversion(tile.chosen(torch.tensor([0])))
    values = conversion(tile.chosen(torch.zeros(count, dtype=torch.int64)))
    shares = CellShares(
        window=Window(0, 0, 1, 1),
        cells=np.zeros(count, np.int64),
        pixels=np.arange(count),
        share=np.ones(count),
        pixel_area=1 / count,
    )
    sums = CellSums.empty(conversion, 1, 1)
    sums.add(shares.window, sums_of_tile(shares, np.ones((1, count), bool), values))
    mean, error = sums.means(shares.window)
    np.testing.assert_allclose(mean[:, 0], one.value.numpy(), rtol=1e-5)
    alone = conversion.standard_error(one.own_variance, one.extended)
    assert error is not None
    assert alone is not None
    assert one.own_variance is not None
    lost = (one.own_variance * 0.7 * (1 - 1 / count)).numpy()
    np.testing.assert_allclose(error[:, 0] ** 2, alone.square().numpy() - lost, rtol=1e-4)


def test_cells_that_no_valid_pixels_cover_are_refused(folder: Path, tmp_path: Path) -> None:
    source = of_cube(folder / "true.tif")
    huge = AveragingGrid.of_resolution(source, 1000)
    with pytest.raises(InputRefused, match="cover no cell by 90%"):
        converted(source, SENTINEL, tmp_path / "out.tif", cells=huge)
    assert not list(tmp_path.iterdir())


def test_unknown_errors_and_too_many_cells_are_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = of_cube(folder / "true.tif")
    with pytest.raises(InputRefused, match="leave out --uncertainty"):
        ImageConversion.of(source, SENTINEL, tmp_path / "o.tif", uncertainty=tmp_path / "se.tif")
    monkeypatch.setattr("uavssr.analysis.converted_image.MAX_SUMS_BYTES", 1000)
    cells = AveragingGrid.of_resolution(source, 1)
    with pytest.raises(OutputError, match="give larger cells"):
        ImageConversion.of(source, SENTINEL, tmp_path / "o.tif", cells=cells)


def test_index_as_another_camera_is_the_formula_of_its_bands(
    planned: PlannedReconstruction, sentinel: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    b = dict(zip(SENTINEL.roles, sentinel[0], strict=True))
    requests = IndexRequest.of(["NDVI"], ["RE3 / (G + 0.1)"])
    maps = write_index_maps(of_image(planned), requests, tmp_path / "map.tif", camera=SENTINEL)
    assert maps.layers[0].name == "NDVI as sentinel2a"
    found = pixels(tmp_path / "map.tif")
    np.testing.assert_allclose(found[0], (b["b8"] - b["b4"]) / (b["b8"] + b["b4"]), atol=1e-4)
    np.testing.assert_allclose(found[2], b["b7"] / (b["b3"] + 0.1), rtol=1e-4)
    assert (found[[1, 3]][:, np.isfinite(found[0])] > 0).all()


@pytest.mark.parametrize(
    ("formula", "camera", "fact"),
    [("B / G", "m3m", "m3m has no band B"), ("R800 / R670", "sentinel2a", "has wavelengths")],
)
def test_index_that_the_other_camera_lacks_is_refused(
    planned: PlannedReconstruction, tmp_path: Path, formula: str, camera: str, fact: str
) -> None:
    requests = IndexRequest.of([], [formula])
    with pytest.raises(InputRefused, match=fact):
        write_index_maps(
            of_image(planned), requests, tmp_path / "m.tif", camera=load_sensor(camera)
        )


def test_command_converts_an_image(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, out, se = str(folder / "in.tif"), str(tmp_path / "o.tif"), str(tmp_path / "se.tif")
    common = [image, "--sensor", "p4m", "--model", str(folder / "tiny"), "--out", out]
    assert cli.main(["convert", *common, "--to", "landsat9", "--dry-run", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["bands"].startswith("landsat9: b1 442.8 nm, b2")
    assert facts["image"] == "45 x 70 pixels of 0.1 x 0.1 map units, 0.1 x 0.1 m on the ground"
    assert not list(tmp_path.iterdir())
    arguments = ["convert", *common, "--to", "landsat9", "--uncertainty", se, "--resolution", "1"]
    assert cli.main([*arguments, "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["uncertainty"] == se
    assert "landsat9: left out b6, b7, b8, b9, b10, b11" in printed.err
    assert "averaging: 5 x 7 pixels of 1 x 1 map units, 1 x 1 m" in printed.err
    assert pixels(Path(out)).shape == (5, 7, 5)
    style = (tmp_path / "o.qml").read_text()
    assert 'redBand="4" greenBand="3" blueBand="2"' in style  # Landsat's b4, b3, b2
    with rasterio.open(out) as dataset:
        tags = dataset.tags()
    assert tags["converted_from_model"] == "tiny"
    assert "uavssr_model" not in tags  # it would be taken for a cube
    assert cli.main(arguments) == 8
    capsys.readouterr()
    assert cli.main([*arguments, "--overwrite", "--grid", image]) == 2
    assert "choose one" in capsys.readouterr().err
