"""Indices and plots of objects are those of the commands; images in memory are those of files."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import rioxarray
import xarray as xr

import uavssr
from tests.helpers.cubes import smooth_cube, write_cube
from tests.helpers.models import P4M, tiny_model, tiny_msi
from tests.helpers.rasters import TRANSFORM, write
from uavssr import OutputOptions, ReconstructionOptions, cli
from uavssr.errors import InputRefused, UsageError
from uavssr.tiling import Window

HEIGHT, WIDTH = 40, 50


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image, its model, and its cube with the STF beside it."""
    folder = tmp_path_factory.mktemp("answers")
    model = tiny_model(folder / "tiny")
    image = tiny_msi(P4M, HEIGHT, WIDTH)[0].numpy()
    image[:, :5, :7] = np.nan
    write(folder / "msi.tif", image)
    msi = uavssr.open_msi(folder / "msi.tif", sensor="p4m")
    plan = uavssr.plan_reconstruction(msi, ReconstructionOptions(model=model))
    plan.write(OutputOptions(cube=folder / "hsi.tif", dtype="float32"))
    return folder


def as_path(folder: Path) -> Path:
    return folder / "hsi.tif"


def as_dataset(folder: Path) -> xr.Dataset:
    return uavssr.open_cube(folder / "hsi.tif")


def as_lazy_run(folder: Path) -> xr.Dataset:
    options = ReconstructionOptions(model=folder / "tiny")
    return uavssr.reconstruct(folder / "msi.tif", options, sensor="p4m")


FORMS = pytest.mark.parametrize("form", [as_path, as_dataset, as_lazy_run])


@FORMS
def test_index_is_the_file_of_the_command(
    folder: Path, form: Callable[[Path], object], tmp_path: Path
) -> None:
    out, model = tmp_path / "maps.tif", str(folder / "tiny")
    given = ["index", str(folder / "hsi.tif"), "NDVI", "--formula", "R800 - R670"]
    assert cli.main([*given, "--model", model, "--out", str(out), "--even-so", "-q"]) == 0
    found = uavssr.index(
        form(folder), "NDVI", formula="R800 - R670", model=folder / "tiny", even_so=True
    )
    assert list(found.data_vars) == ["NDVI", "NDVI_se", "formula", "formula_se"]
    with rasterio.open(out) as file:
        assert found.rio.transform() == file.transform
        assert found.rio.crs == file.crs
        for values, expected in zip(found.data_vars.values(), file.read(), strict=True):
            assert np.allclose(values, expected, atol=2e-5, equal_nan=True)


@FORMS
def test_plots_are_the_table_of_the_command(
    folder: Path, form: Callable[[Path], object], tmp_path: Path
) -> None:
    zones, out = zones_file(tmp_path / "zones.geojson"), tmp_path / "plots.csv"
    given = ["plots", str(folder / "hsi.tif"), "--zones", str(zones), "--index", "NDVI"]
    options = ["--model", str(folder / "tiny"), "--out", str(out), "--even-so", "-q"]
    assert cli.main([*given, *options]) == 0
    found = uavssr.plots(form(folder), zones, "NDVI", model=folder / "tiny", even_so=True)
    expected = pd.read_csv(out)
    assert list(found.columns) == list(expected.columns)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-4, atol=1e-5)


def zones_file(path: Path) -> Path:
    """Two squares in the image."""
    features = []
    for number in range(2):
        left, top = TRANSFORM * (10 + 15 * number, 10)
        right, bottom = TRANSFORM * (20 + 15 * number, 22)
        ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
        outline = {"type": "Polygon", "coordinates": [ring]}
        features.append(
            {"type": "Feature", "properties": {"id": f"p{number}"}, "geometry": outline}
        )
    crs = {"type": "name", "properties": {"name": "EPSG:32650"}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}))
    return path


def test_cubes_of_others_give_indices_without_errors(tmp_path: Path) -> None:
    path = write_cube(tmp_path / "c.tif", smooth_cube(20, 20))
    for cube in (path, uavssr.open_cube(path), uavssr.open_cube(path).reflectance):
        with pytest.warns(UserWarning, match="no standard errors, because it is no cube of uavssr"):
            found = uavssr.index(cube, "NDVI")
        assert list(found.data_vars) == ["NDVI"]


def test_arithmetic_on_a_dataset_leaves_it_without_errors(folder: Path) -> None:
    with xr.set_options(keep_attrs=True):
        doubled = uavssr.open_cube(folder / "hsi.tif") * 2
    with pytest.warns(UserWarning, match="lacks wavelengths or was changed"):
        found = uavssr.index(doubled, "NDVI", model=folder / "tiny", even_so=True)
    assert list(found.data_vars) == ["NDVI"]
    part = uavssr.open_cube(folder / "hsi.tif").isel(wavelength=slice(5, None))
    with pytest.warns(UserWarning, match="lacks wavelengths or was changed"):
        assert "NDVI_se" not in uavssr.index(part, "NDVI", model=folder / "tiny", even_so=True)


def test_index_names_are_checked(folder: Path) -> None:
    with pytest.raises(UsageError, match="no index"):
        uavssr.index(folder / "hsi.tif", model=folder / "tiny")


def test_image_in_memory_is_that_of_the_file(folder: Path) -> None:
    file = uavssr.open_msi(folder / "msi.tif", sensor="p4m")
    with rioxarray.open_rasterio(folder / "msi.tif") as opened:
        array = opened.load()
    named = array.assign_coords(band=list(P4M.roles))
    parts = xr.Dataset({role: named.sel(band=role, drop=True) for role in P4M.roles})
    forms = {"array": array, "named": named, "turned": named[::-1], "parts": parts}
    for name, form in forms.items():
        source = uavssr.open_msi(form, sensor="p4m")
        assert source.transform == file.transform, name
        window = Window(0, 0, HEIGHT, WIDTH)
        for one, other in zip(source.read(window), file.read(window), strict=True):
            assert np.array_equal(one, other, equal_nan=True), name


def test_an_image_in_memory_is_never_guessed(folder: Path) -> None:
    with rioxarray.open_rasterio(folder / "msi.tif") as opened:
        array = opened.load()
    bare = array.copy()
    bare.attrs = {}
    with pytest.raises(InputRefused, match=r"--sensor") as refused:
        uavssr.open_msi(bare)
    assert "uavssr_" not in str(refused.value)
    with pytest.raises(InputRefused, match="--bands"):
        uavssr.open_msi(bare, sensor="p4m")
    with pytest.raises(InputRefused, match="no CRS"):
        uavssr.open_msi(array.drop_vars("spatial_ref"), sensor="p4m")
    with pytest.raises(UsageError, match="type ndarray"):
        uavssr.reconstruct(array.to_numpy(), sensor="p4m")  # type: ignore[arg-type]
    opened_image = uavssr.open_msi(folder / "msi.tif", sensor="p4m")
    with pytest.raises(UsageError, match="open already"):
        uavssr.reconstruct(opened_image, sensor="p4m")


def test_the_file_of_an_array_goes_with_its_image(folder: Path) -> None:
    with rioxarray.open_rasterio(folder / "msi.tif") as opened:
        image = uavssr.open_msi(opened.load(), sensor="p4m")
    path = image.summary.paths[0]
    assert path.exists()
    del image
    assert not path.parent.exists()


def test_page_in_a_notebook_holds_the_page_and_shuts_it_in(folder: Path, tmp_path: Path) -> None:
    page = uavssr.open_cube(folder / "hsi.tif").uavssr.explore(
        "NDVI", model=folder / "tiny", height=500
    )
    frame = page._repr_html_()
    assert re.fullmatch(r'<iframe sandbox="allow-scripts" [^<]*></iframe>', frame)
    assert html.unescape(re.search(r'srcdoc="([^"]*)"', frame)[1]) == page.html
    assert page.save(tmp_path / "page.html").read_text(encoding="utf-8") == page.html
