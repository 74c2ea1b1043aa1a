"""The examples in the docstrings of public functions run as printed."""

from __future__ import annotations

import doctest
import inspect
import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import rasterio
from matplotlib import pyplot as plt

import uavssr
from tests.helpers.places import REPO

SHOWN_IN_OTHERS = {"OutputOptions", "PGUNet", "ReconstructionOptions", "__version__"}
NAMES = sorted({*uavssr.__all__} - SHOWN_IN_OTHERS)
SIDE = 96
"""Rows and columns of the part of the example that the cube in the examples shows."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of examples/, and the cube hsi.tif of a part of the example."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(REPO / "examples", folder / "examples")
    with rasterio.open(folder / "examples" / "field.tif") as whole:
        window = rasterio.windows.Window(0, 0, SIDE, SIDE)
        part = uavssr.open_msi(_part(whole, window, folder / "part.tif"))
    options = uavssr.OutputOptions(cube=folder / "hsi.tif", uncertainty=folder / "se.tif")
    uavssr.plan_reconstruction(part, uavssr.ReconstructionOptions(tile_stf="off")).write(options)
    return folder


def _part(whole: rasterio.DatasetReader, window: rasterio.windows.Window, path: Path) -> Path:
    profile = whole.profile | {"height": SIDE, "width": SIDE}
    profile |= {"transform": whole.window_transform(window)}
    with rasterio.open(path, "w", **profile) as file:
        file.write(whole.read(window=window))
        file.update_tags(**whole.tags())
        file.scales, file.descriptions = whole.scales, whole.descriptions
        for index in whole.indexes:
            file.update_tags(index, **whole.tags(index))
    return path


def test_the_script_of_a_user_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "small" / "examples").mkdir(parents=True)
    shutil.copy(folder / "part.tif", folder / "small" / "examples" / "field.tif")
    monkeypatch.chdir(folder / "small")
    runpy.run_path(str(REPO / "examples" / "python_api.py"), run_name="__main__")
    camera, spectrum, _, ndvi = capsys.readouterr().out.splitlines()
    assert camera.startswith("p4m")
    assert " +- 0." in spectrum
    assert ndvi.startswith("NDVI ")


def documented(name: str) -> Iterator[tuple[str, str]]:
    """A public name with its docstring; of a class that of its methods."""
    item = getattr(uavssr, name)
    if not inspect.isclass(item):
        yield name, inspect.getdoc(item) or ""
        return
    for key, method in inspect.getmembers(item, inspect.isfunction):
        if not key.startswith("_"):
            yield key, inspect.getdoc(method) or ""


@pytest.mark.parametrize("name", NAMES)
def test_every_public_function_has_an_example_that_runs(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    runner = doctest.DocTestRunner(verbose=False)
    for key, docstring in documented(name):
        test = doctest.DocTestParser().get_doctest(docstring, {}, key, None, 0)
        assert test.examples, f"{key} has no example"
        runner.run(test)
    plt.close("all")
    assert not runner.failures, capsys.readouterr().out
