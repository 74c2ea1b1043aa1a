"""Maps of indices against the spectra and standard errors of the same reconstruction."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.helpers.fakes import irregular_mask
from tests.helpers.models import P4M, tiny_msi, tiny_network
from tests.helpers.rasters import write
from uavssr import OutputOptions, ReconstructionOptions, cli, open_msi, plan_reconstruction
from uavssr.analysis import IndexRequest, SpectralSource, of_cube, of_image, write_index_maps
from uavssr.errors import InputRefused, UsageError
from uavssr.model import save_model
from uavssr.reconstruction import PlannedReconstruction

HEIGHT, WIDTH = 70, 45
NAMES, FORMULAS = ("NDVI", "REIP"), ("R800 / R550", "R800")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index")
    save_model(tiny_network(), folder / "tiny", name="tiny", training={})
    image = tiny_msi(P4M, HEIGHT, WIDTH)[0].numpy()
    mask = irregular_mask(HEIGHT, WIDTH, seed=2)
    write(folder / "in.tif", np.where(mask, image, np.nan))
    return folder


@pytest.fixture(scope="module")
def planned(folder: Path) -> PlannedReconstruction:
    source = open_msi(folder / "in.tif", sensor="p4m")
    options = ReconstructionOptions(model=folder / "tiny", tile=32, workers=2)
    return plan_reconstruction(source, options)


@pytest.fixture(scope="module")
def maps(planned: PlannedReconstruction, folder: Path) -> np.ndarray:
    """The maps of the image: value, standard error for each index."""
    return written(of_image(planned), folder / "maps.tif")


def written(source: SpectralSource, out: Path) -> np.ndarray:
    write_index_maps(source, IndexRequest.of(NAMES, FORMULAS), out)
    with rasterio.open(out) as dataset:
        return dataset.read()


def test_values_are_the_formulas_of_the_cube(
    planned: PlannedReconstruction, maps: np.ndarray
) -> None:
    cube = planned.dataset(uncertainty=True).load()
    at = cube.interp(wavelength=[550, 670, 700, 740, 780, 800]).reflectance.to_numpy()
    np.testing.assert_array_equal(np.isfinite(maps[0]), np.isfinite(at[0]))
    reip = 700 + 40 * ((at[1] + at[4]) / 2 - at[2]) / (at[3] - at[2])
    steep = np.abs(at[3] - at[2]) > 0.02
    np.testing.assert_allclose(maps[2][steep], reip[steep], rtol=1e-4)
    np.testing.assert_allclose(maps[4], at[5] / at[0], rtol=1e-4)
    np.testing.assert_allclose(maps[6], at[5], rtol=1e-4)


def test_error_of_one_band_is_that_of_the_cube(
    planned: PlannedReconstruction, maps: np.ndarray
) -> None:
    cube = planned.dataset(uncertainty=True).load()
    # 800 nm lies between two bands, whose errors are much the same
    se = cube.reflectance_se.interp(wavelength=800).to_numpy()
    np.testing.assert_allclose(maps[7], se, rtol=0.05)


def test_error_of_a_ratio_counts_that_bands_err_together(
    planned: PlannedReconstruction, maps: np.ndarray
) -> None:
    """The factor common to all bands makes reflectance uncertain, and cancels in a ratio."""
    common = float(planned.scene.stf.stf.common_se[0])
    assert common > 0.1
    relative = maps[5] / maps[4]
    assert np.nanmedian(maps[7] / maps[6]) > common
    cube = planned.dataset(uncertainty=True).load().interp(wavelength=[550, 800])
    alone = np.hypot(*(cube.reflectance_se / cube.reflectance).to_numpy())
    assert np.nanmedian(relative / alone) < 0.8


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("coefficients.tif", {"format": "coefficients"}, 1e-4),
        ("cube.tif", {"dtype": "float32"}, 1e-3),
    ],
)
def test_file_of_spectra_gives_the_same_maps(
    planned: PlannedReconstruction,
    maps: np.ndarray,
    folder: Path,
    name: str,
    options: dict[str, str],
    tolerance: float,
) -> None:
    cube = planned.write(OutputOptions(cube=folder / name, **options)).cube
    again = written(of_cube(cube, model=folder / "tiny"), folder / f"maps of {name}")
    kept = [0, 2, 3]  # REIP divides by nearly nothing here and there
    np.testing.assert_allclose(again[::2][kept], maps[::2][kept], rtol=tolerance, atol=1e-6)
    # the image is taken as R X, which the last X-step leaves near
    np.testing.assert_allclose(again[1::2][kept], maps[1::2][kept], rtol=0.02)


def test_cube_without_its_stf_has_values_alone(
    planned: PlannedReconstruction, maps: np.ndarray, folder: Path
) -> None:
    cube = planned.write(OutputOptions(cube=folder / "lonely.tif", dtype="float32")).cube
    cube.with_suffix(".stf.nc").unlink()
    source = of_cube(cube, model=folder / "tiny")
    assert "no standard errors, because there is no lonely.stf.nc" in source.warnings[0]
    again = written(source, folder / "values.tif")
    assert len(again) == len(NAMES) + len(FORMULAS)
    np.testing.assert_allclose(again[0], maps[0], atol=1e-5)


def test_cube_of_other_weights_or_fewer_bands_is_refused(
    planned: PlannedReconstruction, folder: Path
) -> None:
    cube = planned.write(folder / "whole.tif").cube
    save_model(tiny_network(seed=1), folder / "other", name="other", training={})
    with pytest.raises(InputRefused, match="not made with these weights of other"):
        of_cube(cube, model=folder / "other")
    few = planned.write(OutputOptions(cube=folder / "few.tif", wavelengths="500-900")).cube
    with pytest.raises(InputRefused, match="of the 40 wavelengths"):
        of_cube(few, model=folder / "tiny")


def test_stf_of_each_tile_is_refused(folder: Path) -> None:
    options = ReconstructionOptions(model=folder / "tiny", tile=32, stf_scope="tile")
    planned = plan_reconstruction(open_msi(folder / "in.tif", sensor="p4m"), options)
    with pytest.raises(UsageError, match="leave out --stf-scope tile"):
        of_image(planned)


@pytest.mark.parametrize(
    ("names", "formulas", "fact"),
    [
        ([], [], "no index is named"),
        (["NDVI", "ndvi"], [], "NDVI is asked for twice"),
        (["NDVY"], [], "no index 'NDVY' (similar: NDYI, NDVI"),
        ([], ["__import__('os')"], "is no formula"),
    ],
)
def test_odd_requests_are_refused(names: list[str], formulas: list[str], fact: str) -> None:
    with pytest.raises(UsageError) as caught:
        IndexRequest.of(names, formulas)
    assert fact in str(caught.value)


def test_band_outside_the_cube_is_refused(planned: PlannedReconstruction, tmp_path: Path) -> None:
    requests = IndexRequest.of([], ["R1300 / R800"])
    with pytest.raises(InputRefused, match="1300 nm lies outside"):
        write_index_maps(of_image(planned), requests, tmp_path / "out.tif")
    assert not list(tmp_path.iterdir())


def test_command_writes_maps_style_and_figure(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(folder / "in.tif", tmp_path / "in.tif")
    image, out, png = (str(tmp_path / name) for name in ("in.tif", "map.tif", "map.png"))
    arguments = [image, "NDVI", "--sensor", "p4m", "--model", str(folder / "tiny"), "--out", out]
    assert cli.main(["index", *arguments, "--quicklook", png]) == 0
    with rasterio.open(out) as dataset:
        assert dataset.descriptions == ("NDVI", "NDVI standard error")
        assert dataset.tags(1)["formula"] == "(N - R) / (N + R)"
        assert dataset.tags()["uavssr_model"] == "tiny"
        values = dataset.read(1)
    items = re.findall(r'<item value="([^"]*)"', (tmp_path / "map.qml").read_text())
    ends = [float(items[k]) for k in (0, -1)]
    np.testing.assert_allclose(ends, np.nanpercentile(values, [2, 98]), rtol=1e-4)
    assert Path(png).stat().st_size > 10_000
    capsys.readouterr()
    assert cli.main(["index", *arguments]) == 8
    assert "exists" in capsys.readouterr().err


def test_command_warns_of_a_formula_without_value(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    camera = ["--sensor", "p4m", "--model", str(folder / "tiny")]
    asked = ["--formula", "R800 / (R670 - R670)", "--out", str(tmp_path / "map.tif")]
    assert cli.main(["index", str(folder / "in.tif"), *camera, *asked]) == 0
    assert "R800 / (R670 - R670)) has no value anywhere" in capsys.readouterr().err


def test_command_lists_all_indices(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["index", "--list", "--json"]) == 0
    listed = capsys.readouterr().out
    assert '"NDVI"' in listed
    assert '"PRI"' in listed


def test_index_that_the_cube_does_not_carry_needs_even_so(
    repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["index", str(repo / "examples/field.tif"), "PRI", "--out", str(tmp_path / "p.tif")]
    assert cli.main(arguments) == 2
    message = capsys.readouterr().err
    assert "a cube of p4m does not carry PRI" in message
    assert "--even-so" in message
    assert not list(tmp_path.iterdir())
