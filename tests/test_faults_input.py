"""Bad inputs and models, through the command: a word on stderr, nothing written, nothing eaten up.

The single refusals are tested beside the code that makes them; docs/reliability.md lists them all.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import rasterio
from safetensors.torch import load_file, save_file

from tests.faults import Lab, laboratory, scene
from tests.rasters import TRANSFORM, UTM
from tests.runs import CONTEXT
from tests.test_policy import requests  # noqa: F401 - a fixture
from uavssr.errors import InputRefused
from uavssr.raster.source import open_msi

REPEATS = int(os.environ.get("UAVSSR_REPEATS", "1"))
"""How many times as much harm is done as it is by default."""


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return laboratory(tmp_path / "lab")


def refused(lab: Lab, *facts: str, code: int = 3) -> None:
    """The run says so in one line that holds the facts, and leaves nothing."""
    done = lab.run()
    assert done.code == code, done
    assert done.decent
    assert done.said.startswith("uavssr: error: ")
    assert [fact for fact in facts if fact not in done.said] == [], done.said
    assert lab.files() == set()


# --- images --------------------------------------------------------------------------------------


def virtual(path: Path, url: str) -> Path:
    """A VRT with the name of a TIFF."""
    source = f"<SourceFilename>/vsicurl/{url}/field.tif</SourceFilename><SourceBand>1</SourceBand>"
    band = f'<VRTRasterBand dataType="Byte" band="1"><SimpleSource>{source}</SimpleSource>'
    path.write_text(
        f'<VRTDataset rasterXSize="9" rasterYSize="9">{band}</VRTRasterBand></VRTDataset>'
    )
    return path


def test_command_makes_no_request_for_a_virtual_file(
    lab: Lab,
    requests: tuple[int, list[str]],  # noqa: F811
) -> None:
    """Rows 1, 2: as a file, and as a path that GDAL would follow."""
    port, seen = requests
    url = f"http://127.0.0.1:{port}"
    given = virtual(lab.image.with_name("virtual.tif"), url)
    refused(replace(lab, image=given), "not a TIFF")
    for path in (f"/vsicurl/{url}/f.tif", f"{url}/f.tif", given.read_text()):
        refused(replace(lab, image=path))  # type: ignore[arg-type]
    assert seen == []


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75, 0.999])
@pytest.mark.parametrize("compress", [None, "deflate"])
def test_truncated_image_leaves_no_output(lab: Lab, share: float, compress: str | None) -> None:
    """Row 4."""
    scene(lab.image, compress=compress)
    content = lab.image.read_bytes()
    lab.image.write_bytes(content[: int(share * len(content))])
    refused(lab, "in.tif")


def read_all(paths: list[Path], said: Path) -> None:
    """Read every image, by GDAL alone and by us; write down what came of each."""
    found = []
    for path in paths:
        try:
            with rasterio.open(path, driver="GTiff") as file:
                alone = file.read()
        except rasterio.errors.RasterioError:
            alone = None
        try:
            msi = open_msi(path, sensor="p4m")
            ours, valid = msi.read(msi.window), msi.valid(msi.window)
        except InputRefused:
            found.append("refused")
            continue
        if alone is None:
            found.append("GDAL could tell, and we read it")
        elif alone.shape != ours.shape or not np.array_equal(alone[:, valid], ours[:, valid]):
            found.append("read otherwise than by GDAL")
        else:
            found.append("read")
    said.write_text(json.dumps(found))


