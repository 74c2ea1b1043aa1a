"""The page in a headless Chromium: a click draws the cube's numbers, nothing is fetched or run."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio

from tests.helpers.browser import CHROMIUM, MISSING, Page, opened_page
from tests.helpers.models import P4M, tiny_model, tiny_msi
from tests.helpers.rasters import write
from uavssr import OutputOptions, ReconstructionOptions, cli, open_msi, plan_reconstruction
from uavssr.io.hsi import open_cube_source
from uavssr.reconstruction.devices import torch_threads
from uavssr.tiling import Window

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)

HEIGHT, WIDTH = 40, 60
HOSTILE = "</script><img src=x onerror=alert(1)><script>alert(2)</script>\"'"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cube with errors, a table of plots with hostile names, and the page of both."""
    folder = tmp_path_factory.mktemp("report")
    image = tiny_msi(P4M, HEIGHT, WIDTH)[0].numpy()
    image[:, :7, :9] = np.nan
    write(folder / "in.tif", image)
    options = ReconstructionOptions(model=tiny_model(folder / "tiny"), tile=32, workers=1)
    with torch_threads(1):
        planned = plan_reconstruction(open_msi(folder / "in.tif", sensor="p4m"), options)
        planned.write(OutputOptions(cube=folder / "cube.tif", uncertainty=folder / "se.tif"))
    facts = ["12", "1", "0", *["0.5"] * 5]
    header = ["zone", "pixels", "valid", "outlier"]
    header += [f"{HOSTILE}_{part}" for part in ("mean", "median", "deviation", "value_se")]
    header += [f"{HOSTILE}_compare_se"]
    with (folder / "plots.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, [HOSTILE, *facts], ["2", *facts]])
    code = cli.main(
        [
            *("-q", "report", str(folder / "cube.tif"), "--model", str(folder / "tiny")),
            *("--out", str(folder / "page.html"), "--plots", str(folder / "plots.csv")),
            *("--title", HOSTILE, "--index", "NDVI,CIre", "--even-so"),
        ]
    )
    assert code == 0
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Page]:
    with opened_page(folder / "page.html", folder / "profile") as page:
        yield page


def place(page: Page, row: int, col: int) -> tuple[float, float]:
    """The middle of an image's pixel on the screen."""
    page.value("document.querySelector('figure:not([hidden]) .frame').scrollIntoView()")
    box = page.value(
        "(({left, top, width, height}) => [left, top, width, height])"
        "(document.querySelector('figure:not([hidden]) img').getBoundingClientRect())"
    )
    left, top, width, height = box
    return left + (col + 0.5) / WIDTH * width, top + (row + 0.5) / HEIGHT * height


def table(page: Page) -> np.ndarray:
    """The drawn spectrum: wavelength, reflectance, standard error."""
    rows = page.value(
        "[...document.querySelectorAll('#values tr')]"
        ".map(row => [...row.cells].map(cell => cell.textContent))"
    )
    return np.array([[float(text) for text in row] for row in rows])


@pytest.mark.parametrize(("row", "col"), [(0, 59), (20, 31), (39, 0), (12, 10)])
def test_click_draws_the_numbers_of_the_cube(page: Page, folder: Path, row: int, col: int) -> None:
    page.click(*place(page, row, col))
    assert f"row {row}, column {col}" in page.value("document.getElementById('where').innerText")
    nm, spectrum, error = table(page).T
    cube = open_cube_source(folder / "cube.tif")
    with rasterio.open(folder / "se.tif") as dataset:
        se = dataset.read()[:, row, col] * dataset.scales
    np.testing.assert_allclose(nm, cube.grid.centres, atol=0.06)
    window = Window(row, col, 1, 1)
    np.testing.assert_allclose(spectrum, cube.read(window)[0][:, 0, 0], atol=0.0012)
    np.testing.assert_allclose(error, se, rtol=0.08, atol=2e-4)
    assert page.value("document.querySelectorAll('#spectrum polyline.curve').length") == 1
    assert page.value("document.querySelectorAll('#spectrum polygon.band').length") == 1


def test_pixel_without_data_says_so(page: Page) -> None:
    page.click(*place(page, 2, 3))
    assert "No data here" in page.value("document.getElementById('note').textContent")
    assert not len(table(page))


def test_arrow_keys_move_the_choice(page: Page) -> None:
    page.click(*place(page, 20, 30))
    page.value("document.querySelector('figure:not([hidden]) .frame').focus()")
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        page.press(key)
    assert "row 21, column 32" in page.value("document.getElementById('where').innerText")


def test_each_layer_is_shown_alone(page: Page) -> None:
    names = page.value("[...document.querySelectorAll('#layers span')].map(s => s.textContent)")
    assert names == ["True colour", "NDVI", "NDVI error", "CIre", "CIre error", "Quality"]
    for number in (5, 1, 0):
        page.value(f"document.querySelectorAll('#layers input')[{number}].click()")
        shown = page.value("[...document.querySelectorAll('figure')].map(f => !f.hidden)")
        assert shown == [number == other for other in range(6)]
        assert page.value("!!document.querySelector('figure:not([hidden]) .marker')")
    assert page.value("[...document.images].every(i => i.complete && i.naturalWidth && i.alt)")


def test_hostile_names_are_text_and_do_nothing(page: Page) -> None:
    assert page.value("document.title") == HOSTILE
    assert page.value("document.querySelector('h1').textContent") == HOSTILE
    assert page.value("document.querySelector('#plots tbody th').textContent") == HOSTILE
    assert page.value("document.querySelectorAll('img[onerror], script').length") == 2


def test_other_scripts_and_images_are_blocked(folder: Path) -> None:
    with opened_page(folder / "page.html", folder / "blocked") as page:
        page.value(
            "document.body.append(Object.assign(document.createElement('script'),"
            "{textContent: 'window.ran = 1'}), Object.assign(new Image(), {src: 'https://x.test/'}))"
        )
        page.wait("true")
        assert page.value("window.ran === undefined")
        assert sum("Content Security Policy" in line for line in page.complaints) == 2


@pytest.mark.parametrize("width", [375, 1280])
def test_page_opens_without_complaints_and_asks_for_nothing(folder: Path, width: int) -> None:
    with opened_page(folder / "page.html", folder / f"at {width}", width=width) as page:
        page.click(*place(page, 20, 30))
        assert len(table(page))
        assert page.value("document.documentElement.scrollWidth") <= width
        assert page.value("document.querySelector('#stf-chart svg').clientWidth") <= width
        assert not page.complaints
        assert {address.partition(":")[0] for address in page.requests} <= {"file", "data"}
        assert sum(address.startswith("file:") for address in page.requests) == 1
