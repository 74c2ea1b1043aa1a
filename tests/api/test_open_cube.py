"""`open_cube` gives one dataset for every format, lazily, and `xr.open_dataset` the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rioxarray  # noqa: F401 - the .rio accessor
import xarray as xr
from rasterio.crs import CRS

import uavssr
from tests.helpers.cubes import smooth_cube, write_cube, write_envi
from tests.helpers.models import GRID, P4M, tiny_model, tiny_msi
from tests.helpers.rasters import write
from uavssr import OutputOptions, ReconstructionOptions
from uavssr.errors import InputRefused, UsageError
from uavssr.io.hsi import CubeSource, cube_of_array, open_cube_source
from uavssr.tiling import Window

FORMATS = ("gtiff", "envi", "zarr", "coefficients")
NAMES = {"gtiff": "a.tif", "envi": "b.dat", "zarr": "c.zarr", "coefficients": "d.tif"}
HEIGHT, WIDTH = 40, 50


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run in every format, with standard errors."""
    folder = tmp_path_factory.mktemp("run")
    model = tiny_model(folder / "tiny")
    image = tiny_msi(P4M, HEIGHT, WIDTH)[0].numpy()
    image[:, :5, :7] = np.nan
    msi = uavssr.open_msi(write(folder / "msi.tif", image), sensor="p4m")
    plan = uavssr.plan_reconstruction(msi, ReconstructionOptions(model=model, tile=32))
    for form, name in NAMES.items():
        path = folder / name
        options = OutputOptions(
            cube=path, format=form, dtype="float32", uncertainty=folder / f"se_{name}"
        )
        plan.write(options)
    return folder


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_the_cube_of_the_run(folder: Path, form: str) -> None:
    made = uavssr.reconstruct(
        folder / "msi.tif",
        ReconstructionOptions(model=folder / "tiny", tile=32),
        uncertainty=True,
        sensor="p4m",
    )
    cube = uavssr.open_cube(folder / NAMES[form], uncertainty=folder / f"se_{NAMES[form]}")
    assert cube.reflectance.dims == ("wavelength", "y", "x")
    assert cube.rio.crs == cube.reflectance.rio.crs == CRS.from_epsg(32650)
    assert set(cube.coords) == set(made.coords)
    assert set(cube.data_vars) == set(made.data_vars)
    for name in ("reflectance", "reflectance_se", "wavelength", "fwhm", "x", "y", "scene_stf"):
        expected = made[name].values
        assert np.allclose(cube[name].values, expected, atol=2e-6, equal_nan=True), name
    assert cube.attrs["uavssr_model"] == "tiny"


@pytest.mark.parametrize("form", FORMATS)
def test_the_engine_of_xarray_gives_the_same(folder: Path, form: str) -> None:
    path = folder / NAMES[form]
    with xr.open_dataset(path, engine="uavssr", chunks={}) as other:
        xr.testing.assert_identical(other.compute(), uavssr.open_cube(path).compute())
        assert other.reflectance.chunks == uavssr.open_cube(path).reflectance.chunks


def test_nothing_is_read_before_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_cube(tmp_path / "c.tif", smooth_cube(300, 520), tags={"uavssr_model": "tiny"})
    cube = uavssr.open_cube(path)
    asked = []
    read = CubeSource.read_bands

    def spy(self: CubeSource, window: Window, bands: list[int]) -> np.ndarray:
        asked.append((window, len(bands)))
        return read(self, window, bands)

    monkeypatch.setattr(CubeSource, "read_bands", spy)
    assert cube.reflectance.chunks == ((40,), (256, 44), (256, 256, 8))
    one = cube.reflectance.isel(wavelength=3, y=slice(0, 9), x=slice(0, 20))
    assert asked == []
    one.compute(scheduler="sync")
    assert [(window.height, window.width) for window, _ in asked] == [(9, 20)]
    assert asked[0][1] == 1


def test_some_bands_are_those_of_all(tmp_path: Path) -> None:
    valid = np.ones((30, 40), bool)
    valid[:4] = False
    for tags in ({}, {"uavssr_model": "tiny"}):
        path = write_cube(tmp_path / f"{len(tags)}.tif", smooth_cube(30, 40), valid, tags=tags)
        source, window = open_cube_source(path), Window(2, 3, 20, 30)
        whole = source.read(window)[0]
        some = source.read_bands(window, [7, 0, 7])
        assert np.array_equal(some, whole[[7, 0, 7]], equal_nan=True)


@pytest.mark.parametrize(
    ("wrong", "fact"), [("a.tif", "does not hold the standard error"), ("se_other.tif", "its size")]
)
def test_standard_errors_of_another_kind_are_refused(folder: Path, wrong: str, fact: str) -> None:
    if wrong != "a.tif":
        other = write_cube(
            folder / wrong,
            smooth_cube(20, 20),
            tags={"uavssr_quantity": "standard error of reflectance"},
        )
        assert other.exists()
    with pytest.raises(InputRefused, match=fact):
        uavssr.open_cube(folder / "a.tif", uncertainty=folder / wrong)


def test_scale_is_asked_for_as_of_a_file(tmp_path: Path) -> None:
    numbers = np.rint(smooth_cube(20, 20) * 4000).astype("u2")
    centres = "wavelength = {" + ", ".join(map(repr, GRID.centres.tolist())) + "}"
    units = "wavelength units = Nanometers"
    path = write_envi(tmp_path / "ref", numbers, centres, units)
    cube = uavssr.open_cube(path, scale="1/4000")
    assert np.allclose(cube.reflectance, numbers / 4000)
    with xr.open_dataset(path, engine="uavssr", scale="1/4000") as other:
        assert np.array_equal(other.reflectance, cube.reflectance)


def test_a_cube_in_memory_is_the_cube_of_the_file(folder: Path) -> None:
    file, memory = open_cube_source(folder / "a.tif"), uavssr.open_cube(folder / "a.tif")
    for cube in (
        memory,
        memory.reflectance,
        memory.reflectance.isel(wavelength=slice(None, None, -1)),
    ):
        source = cube_of_array(cube)
        assert source.place.transform == file.place.transform
        assert source.grid.matches(file.grid)
        window = Window(3, 4, 20, 30)
        for one, other in zip(source.read(window), file.read(window), strict=True):
            assert np.array_equal(one, other, equal_nan=True)


def test_a_part_of_a_cube_knows_its_place(folder: Path) -> None:
    cube = uavssr.open_cube(folder / "a.tif")
    a, _, c, _, e, f = open_cube_source(folder / "a.tif").place.transform
    place = cube_of_array(cube.isel(y=slice(10, 30), x=slice(5, 25, 2))).place
    expected = (2 * a, 0, c + 5 * a - a / 2, 0, e, f + 10 * e)
    assert np.allclose(place.transform, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (lambda cube: cube.drop_vars("reflectance"), "no variable reflectance"),
        (lambda cube: cube.reflectance.rename(wavelength="band"), "has the dimensions"),
        (lambda cube: cube.reflectance.drop_vars("wavelength"), "no coordinate wavelength"),
        (lambda cube: cube.reflectance.drop_vars("spatial_ref"), "no CRS"),
        (lambda cube: cube.reflectance.isel(x=[0, 1, 5]), "not evenly spaced"),
    ],
)
def test_arrays_that_lack_something_are_refused(folder: Path, change: object, fact: str) -> None:
    with pytest.raises(InputRefused, match=fact):
        cube_of_array(change(uavssr.open_cube(folder / "a.tif")))  # type: ignore[operator]


def test_accessor_selects_the_nearest_band_only_where_there_is_one(folder: Path) -> None:
    cube = uavssr.open_cube(folder / "a.tif", uncertainty=folder / "se_a.tif")
    step = GRID.centres[1] - GRID.centres[0]
    found = cube.uavssr.sel_wavelength(GRID.centres[5] + 0.4 * step)
    assert float(found.wavelength) == pytest.approx(GRID.centres[5], abs=1e-3)
    assert "reflectance_se" in found
    for nm in (GRID.centres[-1] + 1.2 * step, 0.66):
        with pytest.raises(UsageError, match="no band near"):
            cube.uavssr.sel_wavelength(nm)


def test_spectrum_is_drawn_with_its_interval(folder: Path) -> None:
    from matplotlib import pyplot as plt

    cube = uavssr.open_cube(folder / "a.tif", uncertainty=folder / "se_a.tif")
    pixel = cube.isel(y=20, x=30)
    axes = cube.uavssr.plot_spectrum(float(pixel.x), float(pixel.y))
    assert np.allclose(axes.lines[0].get_ydata(), pixel.reflectance)
    band = axes.collections[0].get_paths()[0].get_extents()
    upper = (pixel.reflectance + 1.645 * pixel.reflectance_se).max()
    assert band.y1 == pytest.approx(float(upper))
    plt.close(axes.figure)
    with pytest.raises(UsageError, match="lies outside"):
        cube.uavssr.plot_spectrum(0, 0)
    assert cube.uavssr.rgb().shape == (HEIGHT, WIDTH, 3)
