"""QGIS styles beside cubes and quality flags."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import rasterio

from tests.helpers.models import GRID, P4M, tiny_msi
from tests.helpers.rasters import write
from uavssr import OutputOptions, ReconstructionOptions, open_msi, plan_reconstruction
from uavssr.errors import OutputExists
from uavssr.io.writers import Quality
from uavssr.io.writers.metadata import true_colour
from uavssr.model.weights import Model
from uavssr.reconstruction.api import PlannedReconstruction


@pytest.fixture
def plan(tmp_path: Path, model: Model) -> PlannedReconstruction:
    path = write(tmp_path / "field.tif", tiny_msi(P4M, 40, 48)[0].numpy())
    options = ReconstructionOptions(model=model, tile=32, workers=1)
    return plan_reconstruction(open_msi(path, sensor="p4m"), options)


def renderer(path: Path) -> ET.Element:
    found = ET.fromstring(path.read_text()).find("pipe/rasterrenderer")  # noqa: S314 - our own
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "dtype"), [("c.tif", "uint16"), ("c.tif", "float32"), ("c.dat", "uint16")]
)
def test_cube_opens_in_true_colour(
    plan: PlannedReconstruction, tmp_path: Path, name: str, dtype: str
) -> None:
    cube = plan.write(OutputOptions(cube=tmp_path / name, dtype=dtype)).cube
    style = renderer(tmp_path / "c.qml")
    shown = true_colour(GRID)
    assert shown is not None
    numbers = [int(style.attrib[f"{colour}Band"]) for colour in ("red", "green", "blue")]
    assert numbers == [band + 1 for band in shown]
    with rasterio.open(cube) as file:
        # what QGIS shows: stored numbers times the scale that GDAL knows
        pixels = file.read(numbers) * np.array(file.scales)[np.array(numbers) - 1, None, None]
    for colour, band in zip(("red", "green", "blue"), pixels, strict=True):
        ends = [
            float(style.findtext(f"{colour}ContrastEnhancement/{end}"))
            for end in ("minValue", "maxValue")
        ]
        np.testing.assert_allclose(ends, np.percentile(band, (2, 98)), atol=1e-3)


def test_every_value_of_the_flags_has_a_name_and_a_colour(
    plan: PlannedReconstruction, tmp_path: Path
) -> None:
    plan.write(OutputOptions(cube=tmp_path / "c.tif", quality=tmp_path / "q.tif"))
    entries = renderer(tmp_path / "q.qml").findall("colorPalette/paletteEntry")
    labels = {int(entry.attrib["value"]): entry.attrib["label"] for entry in entries}
    assert set(labels) == {flags for flags in range(16) if flags & Quality.DATA}
    assert labels[1] == "no flag"
    assert labels[1 | Quality.OUTLIER | Quality.PRIOR_DRIVEN] == "outlier, prior driven"
    assert len({entry.attrib["color"] for entry in entries}) == len(entries)
    with rasterio.open(tmp_path / "q.tif") as file:
        assert set(np.unique(file.read(1)).tolist()) <= {0, *labels}


def test_style_is_an_output_like_others(plan: PlannedReconstruction, tmp_path: Path) -> None:
    (tmp_path / "c.qml").write_text("mine")
    with pytest.raises(OutputExists, match="exists"):
        plan.write(OutputOptions(cube=tmp_path / "c.tif"))
    assert not (tmp_path / "c.tif").exists()
    plan.write(OutputOptions(cube=tmp_path / "c.tif", overwrite=True))
    assert renderer(tmp_path / "c.qml").attrib["type"] == "multibandcolor"


def test_cube_without_visible_bands_has_no_style(
    plan: PlannedReconstruction, tmp_path: Path
) -> None:
    plan.write(OutputOptions(cube=tmp_path / "c.tif", wavelengths="700-900"))
    assert not (tmp_path / "c.qml").exists()
