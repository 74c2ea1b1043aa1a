"""`uavssr report`: its options, its answers and its refusals."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from shapely import box

from tests.helpers.commands import Run
from tests.helpers.models import P4M, tiny_model, tiny_msi
from tests.helpers.rasters import TRANSFORM, write

HEIGHT, WIDTH = 40, 50


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image, a model, and two plots, one of them outside the image."""
    folder = tmp_path_factory.mktemp("report")
    write(folder / "in.tif", tiny_msi(P4M, HEIGHT, WIDTH)[0].numpy(), tags={"sensor": "p4m"})
    tiny_model(folder / "tiny")
    features = []
    for name, (left, top) in {"a<b>": (5, 5), "outside": (900, 900)}.items():
        corners = [
            TRANSFORM * corner for corner in box(left, top, left + 8, top + 6).exterior.coords
        ]
        geometry = {"type": "Polygon", "coordinates": [corners]}
        properties = {"id": name}
        features.append({"type": "Feature", "properties": properties, "geometry": geometry})
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32650"}}
    content = {"type": "FeatureCollection", "crs": crs, "features": features}
    (folder / "plots.geojson").write_text(json.dumps(content))
    return folder


def data_of(page: Path) -> dict:
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="report-data">(.*?)</script>', text, re.DOTALL)[1])


def test_zones_are_measured_and_outlined(run: Run, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    base = ["report", folder / "in.tif", "--model", folder / "tiny", "-o", out]
    ran = run(*base, "--zones", folder / "plots.geojson", "--index", "NDVI, CIre", "--json")
    assert ran.code == 0, ran.err
    assert "1 of 2 plots lie outside the image: outside" in ran.err
    answer = json.loads(ran.out)
    assert answer["report"] == str(out)
    assert answer["verdict"]["valid"] == 1
    data = data_of(out)
    assert [index["name"] for index in data["indices"]] == ["NDVI", "CIre"]
    [zone] = data["zones"]
    assert zone["name"] == "a<b>"
    xs, ys = zip(*zone["rings"][0], strict=True)
    assert (min(xs), max(xs), min(ys), max(ys)) == (5, 13, 5, 11)
    assert 'data-zone="a<b&gt;"' in out.read_text(encoding="utf-8")
    assert run(*base).code == 8


def test_table_of_plots_is_shown_as_it_is(run: Run, folder: Path, tmp_path: Path) -> None:
    table, out = tmp_path / "plots.csv", tmp_path / "page.html"
    common = [folder / "in.tif", "--model", folder / "tiny", "-q"]
    zones = folder / "plots.geojson"
    assert run("plots", *common, "--zones", zones, "--index", "NDVI", "-o", table).code == 0
    assert run("report", *common, "--plots", table, "-o", out).code == 0
    text = out.read_text(encoding="utf-8")
    [mean] = re.findall(r'data-zone="a<b&gt;".*?data-value="([-\d.]+)">', text, re.DOTALL)[:1]
    assert mean in table.read_text().splitlines()[1].split(",")


def test_index_that_is_not_carried_is_refused(run: Run, folder: Path, tmp_path: Path) -> None:
    ran = run("report", folder / "in.tif", "--index", "PRI", "-o", tmp_path / "page.html")
    assert ran.code == 2
    assert "does not carry PRI" in ran.err


def test_dry_run_estimates_and_writes_nothing(run: Run, folder: Path, tmp_path: Path) -> None:
    base = ["report", folder / "in.tif", "--model", folder / "tiny", "-o", tmp_path / "page.html"]
    alone = json.loads(run(*base, "--dry-run", "--json").out)
    zones = ["--zones", folder / "plots.geojson"]
    with_plots = json.loads(run(*base, *zones, "--dry-run", "--json").out)
    assert alone["fits"]
    assert alone["output_bytes"] < with_plots["output_bytes"]
    assert not list(tmp_path.iterdir())
