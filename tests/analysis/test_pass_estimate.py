"""Dry runs of the commands that read spectra: they print what is needed, and write nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyogrio.raw
import pytest
import shapely
from shapely.affinity import affine_transform

from tests.helpers.models import P4M, tiny_msi, tiny_network
from tests.helpers.rasters import TRANSFORM, write
from uavssr import cli
from uavssr.model import save_model

HEIGHT, WIDTH = 80, 70


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dry")
    save_model(tiny_network(), folder / "tiny", name="tiny", training={})
    write(folder / "in.tif", tiny_msi(P4M, HEIGHT, WIDTH)[0].numpy())
    square = affine_transform(shapely.box(5, 5, 30, 30), TRANSFORM.to_shapely())
    pyogrio.raw.write(
        folder / "zones.gpkg",
        geometry=np.array([shapely.to_wkb(square)], object),
        field_data=[np.array(["a"], object)],
        fields=["id"],
        geometry_type="Polygon",
        crs="EPSG:32650",
    )
    return folder


@pytest.mark.parametrize(
    ("command", "layers", "passes"),
    [
        ("index in.tif NDVI -o out.tif", 2, 1),
        ("plots in.tif --zones zones.gpkg --index NDVI --spectra -o out.csv", None, 1),
        ("sample in.tif -n 3 -o out", 3 * 40 / 2, 1),
        ("compare in.tif in.tif --index NDVI -o out.tif", 3, 2),
    ],
)
def test_dry_run_prints_the_estimate_and_writes_nothing(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    layers: float | None,
    passes: int,
) -> None:
    monkeypatch.chdir(folder)
    before = set(folder.iterdir())
    camera = ["--sensor", "p4m", "--model", "tiny", "--workers", "2"]
    arguments = ["-q", *command.split(), *camera, "--even-so", "--dry-run", "--json"]
    if command.startswith("sample"):
        arguments.remove("--even-so")
    assert cli.main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(folder.iterdir()) == before
    assert found["tiles"] == passes
    assert found["fits"]
    assert 0 < found["tile_seconds"] <= found["seconds"]
    assert found["memory_bytes"] > 900e6
    if layers is not None:
        assert found["output_bytes"] >= passes * layers * 4 * HEIGHT * WIDTH
