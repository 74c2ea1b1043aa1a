"""The trust table of a model: read, looked up, and refused where it is damaged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from uavssr.errors import ModelRefused
from uavssr.indices import (
    TRUST_COLUMNS,
    TRUST_FILE,
    TRUST_FORMAT,
    find_index,
    load_indices,
    load_trust,
)
from uavssr.model import DEFAULT_MODEL, find_model, model_digest
from uavssr.sensors import SENSORS

CONTENT = {
    "format": TRUST_FORMAT,
    "sha256": "abcd",
    "scenes": ["one", "two"],
    "columns": list(TRUST_COLUMNS),
    "rows": [
        ["p4m", "NDVI", "vegetation", "blind", 16, 0.97, 0.95, 0.02, 0.001, 0.2],
        ["p4m", "NDVI", "soil", "bands", 8, 0.7, 0.7, 0.02, 0.001, 0.1],
        ["p4m", "NDWI", "all", "blind", 16, 0.1, -0.1, 0.05, 0.001, 0.05],
    ],
}


def write(folder: Path, content: object) -> Path:
    (folder / TRUST_FILE).write_text(json.dumps(content))
    return folder


def test_rows_are_looked_up_by_camera_index_ground_and_knowledge(tmp_path: Path) -> None:
    table = load_trust(write(tmp_path, CONTENT), sha256="abcd")
    assert table is not None
    assert (table.scenes, table.cameras) == (("one", "two"), ("p4m",))
    camera = SENSORS["p4m"]
    ndvi, ndwi = (table.of(camera, find_index(name)) for name in ("NDVI", "NDWI"))
    soil = table.of(camera, find_index("NDVI"), ground="soil", knowledge="bands")
    assert ndvi is not None
    assert ndwi is not None
    assert soil is not None
    assert (ndvi.level, soil.level, ndwi.level) == ("carried", "partly", "not carried")
    assert (ndvi.images, ndvi.worst_rank, ndwi.spread) == (16, 0.95, 0.05)
    assert table.of(camera, find_index("NDVI"), ground="all") is None
    assert table.of(SENSORS["m3m"], find_index("NDVI")) is None
    assert table.of(replace(camera, name="mine", data_sheet="p4m"), find_index("NDVI")) == ndvi


def test_a_folder_without_a_table_has_none(tmp_path: Path) -> None:
    assert load_trust(tmp_path, sha256="abcd") is None


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        (CONTENT | {"sha256": "dcba"}, "judges weights dcba, and the model's are abcd"),
        (CONTENT | {"format": 2}, "format is 2, not 1"),
        (CONTENT | {"columns": ["camera"]}, "other columns"),
        (CONTENT | {"rows": [["p4m"]]}, "not a trust table"),
        (CONTENT | {"rows": 3}, "not a trust table"),
        (CONTENT | {"scenes": None}, "not a trust table"),
        (CONTENT | {"rows": [[*CONTENT["rows"][0][:3], "guess", 1, 1, 1, 1, 1, 1]]}, "knowledge"),  # type: ignore[index]
        ([CONTENT], "not an object"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path: Path, content: object, fact: str) -> None:
    with pytest.raises(ModelRefused) as refused:
        load_trust(write(tmp_path, content), sha256="abcd")
    assert fact in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "get the model folder again, or delete this file" in str(refused.value)


def test_the_released_model_is_judged_on_every_index() -> None:
    folder = find_model(DEFAULT_MODEL)
    table = load_trust(folder, sha256=model_digest(folder))
    assert table is not None
    assert {"p4m", "rededge3"} <= set(table.cameras)
    for camera in table.cameras:
        missing = [
            name for name, index in load_indices().items() if not table.of(SENSORS[camera], index)
        ]
        assert missing == []
