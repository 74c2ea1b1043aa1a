"""Rows opened: pairs registered, one wavelength grid for all, and every problem with its line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.cubes import listed, write_envi
from tests.helpers.grounds import EAST, PIXEL, SIDE, write_field_cube, write_image
from tests.helpers.models import GRID, P4M, tiny_library
from uavssr.data.manifest import read_manifest
from uavssr.data.pair_sources import DataConfig, SceneSource, open_sources
from uavssr.errors import UsageError
from uavssr.io.manifests import ManifestRefused
from uavssr.sensors import HEADWALL_NANO, SENSORS, WavelengthGrid
from uavssr.tiling import Window

SHORT = WavelengthGrid("short", GRID.centres[:-4], GRID.fwhm[:-4])
SPARSE = WavelengthGrid("sparse", GRID.centres[::3], GRID.fwhm[::3])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of one field, good and bad."""
    folder = tmp_path_factory.mktemp("field")
    write_image(folder / "msi.tif")
    write_field_cube(folder / "cube", shift=(0.07, -0.05), degrees=True)
    write_field_cube(folder / "off", shift=(0.9, 0.0))
    write_field_cube(folder / "far", east=EAST + 900)
    write_field_cube(folder / "short", grid=SHORT)
    write_field_cube(folder / "sparse", grid=SPARSE)
    write_field_cube(folder / "dense", grid=WavelengthGrid.regular("dense", 400, 1000, 60))
    write_field_cube(folder / "holed", fill=-9999.0)
    tiny_library().save(folder / "lib.npz")
    (folder / "no.tif").write_text("no raster")
    return folder


def opened(
    folder: Path, text: str, config: DataConfig | None = None, grid: WavelengthGrid | None = None
) -> tuple[WavelengthGrid, list[SceneSource]]:
    path = folder / "pairs.csv"
    path.write_text(text)
    return open_sources(read_manifest(path), config or DataConfig(), grid=grid)


def problems_of(folder: Path, text: str, grid: WavelengthGrid | None = None) -> dict[int, str]:
    """The problems by line."""
    with pytest.raises(ManifestRefused) as refused:
        opened(folder, text, grid=grid)
    return {problem.line: problem.text for problem in refused.value.problems}


def test_rows_are_opened_in_order(folder: Path) -> None:
    text = "msi,hsi,kind,sensor\nmsi.tif,cube,,p4m\n,lib.npz,spectra,\n,short,,rgb\n,holed,,\n"
    _, scenes = opened(folder, text, grid=SHORT)
    assert [scene.row.line for scene in scenes] == [2, 4, 5]
    assert [scene.sensor for scene in scenes] == [P4M, SENSORS["rgb"], None]
    pair, cube, _ = scenes
    assert pair.registration is not None
    assert pair.registration.shift == pytest.approx((0.7, 0.5), abs=0.1)
    assert (pair.place.height, pair.place.transform[0]) == (SIDE, PIXEL)
    assert cube.registration is None


def test_progress_is_called_for_every_row(folder: Path) -> None:
    path = folder / "pairs.csv"
    path.write_text("msi,hsi,kind\n,cube,\n,lib.npz,spectra\n,no.tif,\n")
    calls: list[tuple[str, int, int]] = []
    with pytest.raises(ManifestRefused):
        open_sources(read_manifest(path), DataConfig(), progress=lambda *call: calls.append(call))
    assert calls == [("checking the data", 1, 3)] * 3


def test_a_window_of_a_pair_is_the_image_and_the_registered_cube(folder: Path) -> None:
    _, (scene,) = opened(folder, "msi,hsi,sensor\nmsi.tif,cube,p4m\n")
    window = Window(30, 40, 50, 60)
    msi, hsi, valid = scene.read(window, GRID)
    assert msi is not None
    assert msi.shape == (5, 50, 60)
    assert hsi.shape == (40, 50, 60)
    assert valid.all()
    integrated = np.tensordot(P4M.srf(scene.cube.grid), hsi, 1)
    for band, seen in zip(integrated, msi, strict=True):
        assert np.corrcoef(band.ravel(), seen.ravel())[0, 1] > 0.97
    _, (unregistered,) = opened(folder, "hsi\ncube\n")
    assert unregistered.registration is None


def test_a_window_of_a_cube_is_the_cube_on_the_grid(folder: Path) -> None:
    _, (scene,) = opened(folder, "hsi\ncube\n")
    window = Window(0, 0, 20, 30)
    msi, hsi, valid = scene.read(window, scene.cube.grid)
    assert msi is None
    assert valid.all()
    np.testing.assert_array_equal(hsi, scene.cube.read(window)[0])
    _, other, valid = scene.read(window, SHORT)
    np.testing.assert_allclose(other, hsi[: len(SHORT)], atol=1e-6)
    between = WavelengthGrid("between", GRID.centres[:-1] + 5, GRID.fwhm[:-1])
    _, found, valid = scene.read(window, between)
    assert valid.all()
    spectrum = np.interp(between.centres, GRID.centres, hsi[:, 3, 4])
    np.testing.assert_allclose(found[:, 3, 4], spectrum, atol=1e-5)


def test_invalid_and_implausible_pixels_are_not_valid(folder: Path, tmp_path: Path) -> None:
    _, (scene,) = opened(folder, "hsi\nholed\n")
    window = Window(0, 0, 12, 12)
    _, _, valid = scene.read(window, GRID)
    expected = np.zeros((12, 12), bool)
    expected[5:, 5:] = True
    np.testing.assert_array_equal(valid, expected)
    numbers = np.full((40, 20, 20), 0.3, "f4")
    numbers[7, 3, 4], numbers[8, 5, 6] = 2.5, -0.2
    write_envi(tmp_path / "cube", numbers, listed("wavelength", GRID.centres))
    _, (bright,) = opened(tmp_path, "hsi,hsi_scale\ncube,1\n")
    _, _, valid = bright.read(Window(0, 0, 20, 20), GRID)
    assert sorted(map(tuple, np.argwhere(~valid).tolist())) == [(3, 4), (5, 6)]


# --- one grid -------------------------------------------------------------------------------------


@pytest.mark.parametrize("wild", [1e30, -999.0])
def test_wild_pixels_of_a_pair_are_pixels_without_data(tmp_path: Path, wild: float) -> None:
    """Registration and all other pixels are the same to the last bit."""
    found = []
    for name, value in (("wild", wild), ("masked", np.nan)):
        folder = tmp_path / name
        folder.mkdir()
        write_image(folder / "msi.tif")
        write_field_cube(folder / "cube", shift=(0.07, -0.05))
        with rasterio.open(folder / "msi.tif", "r+") as file:
            image = file.read()
            image[2, 15, 17] = value
            file.write(image)
        cube = np.memmap(folder / "cube", "<f4", "r+").reshape(SIDE, len(GRID), SIDE)
        cube[20, 5, 25] = value
        del cube
        _, scenes = opened(folder, "msi,hsi,kind,sensor\nmsi.tif,cube,,p4m\n")
        found.append((scenes[0].registration.shift, *scenes[0].read(Window(0, 0, 40, 40), GRID)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not found[0][3][15, 17]
    assert not found[0][3][20, 25]
    assert found[0][3].mean() > 0.9


def test_the_grid_is_that_of_the_first_pair_else_of_the_first_cube(folder: Path) -> None:
    def bands(text: str, **options: object) -> int:
        return len(opened(folder, text, **options)[0])

    assert bands("msi,hsi,sensor\n,dense,\nmsi.tif,cube,p4m\n") == 40
    assert bands("hsi\nshort\ncube\n") == 36
    assert bands("hsi,kind\nlib.npz,spectra\n") == 270
    assert bands("hsi\ncube\n", config=DataConfig(grid="headwall-nano")) == 270
    assert bands("hsi\ncube\n", grid=SHORT) == 36


def test_another_grid_than_the_models_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="the initial model has the grid short"):
        opened(folder, "hsi\ncube\n", DataConfig(grid="headwall-nano"), SHORT)
    copy = replace(HEADWALL_NANO, name="copy")
    chosen, _ = opened(folder, "hsi\ncube\n", DataConfig(grid="headwall-nano"), copy)
    assert len(chosen) == 270


@pytest.mark.parametrize(
    ("row", "grid", "fact"),
    [
        ("short,", GRID, "do not cover those of the model"),
        ("sparse,", GRID, "up to 46.2 nm apart"),
        ("cube,p4m", WavelengthGrid.regular("blue", 400, 700, 30), "outside the output grid blue"),
    ],
)
def test_spectra_that_would_be_guesses_are_refused(
    folder: Path, row: str, grid: WavelengthGrid, fact: str
) -> None:
    problems = problems_of(folder, f"hsi,sensor\n{row}\n", grid=grid)
    assert list(problems) == [2]
    assert fact in problems[2]


# --- problems -------------------------------------------------------------------------------------


def test_all_problems_of_text_files_and_fit_are_reported_at_once(folder: Path) -> None:
    """Rows 37 and 38: text, unreadable files, ambiguous images, shifted and disjoint pairs."""
    (folder / "bad.npz").write_bytes(b"no library")
    text = (
        "msi,hsi,kind,sensor\n"
        "msi.tif,cube,,p4m\n"
        "../msi.tif,cube,,p4m\n"
        ",no.tif,,\n"
        "msi.tif,off,,p4m\n"
        "msi.tif,far,,p4m\n"
        "msi.tif,holed,,sequoia\n"
        ",bad.npz,spectra,\n"
    )
    said = problems_of(folder, text)
    assert list(said) == [3, 4, 5, 6, 7, 8]
    assert "leaves the manifest's folder" in said[3]
    assert "not a TIFF" in said[4]
    assert "the cube is shifted by +9.0" in said[5]
    assert "share no window" in said[6]
    assert "sequoia" in said[7]
    assert "in a manifest the options are columns: sensor, bands" in said[7]
    assert "not a spectral library" in said[8]


def test_the_limit_of_shifts_can_be_raised(folder: Path) -> None:
    text = "msi,hsi,sensor\nmsi.tif,off,p4m\n"
    assert len(problems_of(folder, text)) == 1
    _, (scene,) = opened(folder, text, DataConfig(max_shift=12))
    assert scene.registration is not None


def test_warnings_carry_the_line(tmp_path: Path) -> None:
    write_image(tmp_path / "msi.tif", gain=1.4)
    write_field_cube(tmp_path / "cube")
    _, (scene,) = opened(tmp_path, "msi,hsi,sensor,msi_scale\nmsi.tif,cube,p4m,1\n")
    assert any(text.startswith("line 2: the image is blue 1.") for text in scene.warnings())


def test_an_odd_pair_goes_on_where_the_user_accepts_it(tmp_path: Path) -> None:
    write_image(tmp_path / "msi.tif", gain=3.28)
    write_field_cube(tmp_path / "cube")
    row = "msi.tif,cube,p4m,1"
    said = problems_of(tmp_path, f"msi,hsi,sensor,msi_scale\n{row}\n")[2]
    assert "the image is blue 3.2" in said
    assert "--accept ratio, or a column accept" in said
    assert list(problems_of(tmp_path, f"msi,hsi,sensor,msi_scale,accept\n{row},correlation\n"))
    _, (by_column,) = opened(tmp_path, f"msi,hsi,sensor,msi_scale,accept\n{row},ratio\n")
    text = f"msi,hsi,sensor,msi_scale\n{row}\n"
    _, (by_option,) = opened(tmp_path, text, DataConfig(accept=("ratio", "correlation")))
    for scene in (by_column, by_option):
        (warned,) = [text for text in scene.warnings() if "accepted" in text]
        assert warned.startswith("line 2: accepted: the image is blue 3.2")


@given(share=st.floats(0, 0.5), guard=st.integers(0, 99))
def test_sensible_limits_are_taken(share: float, guard: int) -> None:
    assert DataConfig(share=share, guard=guard).share == share
