"""QGIS projects of a folder of results, read as XML and, where it is installed, by QGIS."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.helpers.models import P4M, tiny_model, tiny_msi
from tests.helpers.rasters import write
from uavssr.cli import main
from uavssr.io.bounded import parse_xml

DOCTYPE = b"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
QGIS_PYTHON = "/usr/bin/python3"
"""Distributions install PyQGIS for the system's Python."""
OPEN_PROJECT = """
import json, sys
from qgis.core import QgsApplication, QgsProject
app = QgsApplication([], False)
app.initQgis()
project = QgsProject.instance()
assert project.read(sys.argv[1])
nodes = project.layerTreeRoot().findLayers()
layers = {
    node.name(): {
        "valid": node.layer().isValid(),
        "crs": node.layer().crs().authid(),
        "shown": node.isVisible(),
        "renderer": node.layer().renderer().type(),
    }
    for node in nodes
}
print(json.dumps({"crs": project.crs().authid(), "layers": layers}))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image, its cube with all layers, a map, plots, and a file of another program."""
    results = tmp_path_factory.mktemp("field") / 'north "field" & co'
    results.mkdir()
    model = tiny_model(results.parent / "tiny")
    image, cube = results / "image.tif", results / "hsi.tif"
    write(image, tiny_msi(P4M, 70, 90)[0].numpy().clip(0.01, 0.9), descriptions=P4M.roles)
    given = ["--sensor", "p4m", "--scale", "1", "--model", str(model)]
    errors, quality = results / "se.tif", results / "quality.tif"
    layers = ["--uncertainty", str(errors), "--quality", str(quality), "--tile", "32"]
    given += ["--bands", ",".join(P4M.roles)]
    assert main(["reconstruct", str(image), "-o", str(cube), *given, *layers]) == 0
    assert main(["index", str(image), "NDVI", "-o", str(results / "n.tif"), *given]) == 0
    shutil.copy(image, results / "other.tif")
    ring = [[117.1, 40.1], [117.2, 40.1], [117.2, 40.2], [117.1, 40.1]]
    plot = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "properties": {"id": 1}, "geometry": plot}
    plots = {"type": "FeatureCollection", "features": [feature]}
    (results / "plots.geojson").write_text(json.dumps(plots))
    return results


@pytest.fixture
def folder(results: Path) -> Iterator[Path]:
    """The same without a project."""
    yield results
    project_path(results).unlink(missing_ok=True)


def project_path(folder: Path) -> Path:
    return folder / f"{folder.name}.qgs"


def project_of(folder: Path) -> ET.Element:
    assert main(["qgis", str(folder)]) == 0
    return parse_xml(project_path(folder).read_bytes().replace(DOCTYPE, b""))


def test_layers_are_named_relative_to_the_project_and_exist(folder: Path) -> None:
    root = project_of(folder)
    sources = [element.text or "" for element in root.iter("datasource")]
    assert sources == [
        "./n.tif",
        "./quality.tif",
        "./hsi.tiles.gpkg",
        "./plots.geojson",
        "./hsi.tif",
        "./se.tif",
        "./image.tif",
    ]
    assert all((folder / source).is_file() for source in sources)
    listed = [element.attrib["source"] for element in root.iter("layer-tree-layer")]
    assert listed == sources


def test_file_that_is_left_out_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project_of(folder)
    assert "other.tif is left out" in capsys.readouterr().err


def test_existing_project_and_foreign_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    project_of(folder)
    assert main(["qgis", str(folder)]) == 8
    assert main(["qgis", str(folder), "--out", str(tmp_path / "p.qgs")]) == 2
    (tmp_path / "empty").mkdir()
    assert main(["qgis", str(tmp_path / "empty")]) == 3


def has_qgis() -> bool:
    command = [QGIS_PYTHON, "-c", "import qgis.core"]
    if not Path(QGIS_PYTHON).exists():
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not has_qgis(), reason="needs QGIS with its Python module (python3-qgis)")
def test_qgis_opens_the_project(folder: Path) -> None:
    project_of(folder)
    done = subprocess.run(
        [QGIS_PYTHON, "-c", OPEN_PROJECT, str(project_path(folder))],
        env={"QT_QPA_PLATFORM": "offscreen", "HOME": str(folder)},
        capture_output=True,
        check=True,
        text=True,
    )
    opened = json.loads(done.stdout.splitlines()[-1])
    layers = opened["layers"]
    assert opened["crs"] == "EPSG:32650"
    assert all(layer["valid"] for layer in layers.values())
    assert {name for name, layer in layers.items() if layer["shown"]} == {
        "n",
        "hsi.tiles",
        "plots",
        "hsi",
    }
    assert layers["hsi"]["renderer"] == "multibandcolor"
    assert layers["n"]["renderer"] == "singlebandpseudocolor"
    assert layers["plots"]["crs"] == "EPSG:4326"
    assert layers["hsi.tiles"]["crs"] == layers["hsi"]["crs"] == "EPSG:32650"
