"""The scale of an image comes from the user or from clear evidence, or is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.rasters import scene, write
from uavssr.errors import InputRefused, UsageError
from uavssr.io.msi.source import open_msi
from uavssr.io.raster import parse_scale
from uavssr.sensors import SENSORS
from uavssr.tiling import Window


@pytest.mark.parametrize(("text", "value"), [("1/32768", 1 / 32768), ("1e-4", 1e-4), (0.5, 0.5)])
def test_scale_may_be_a_fraction(text: float | str, value: float) -> None:
    assert parse_scale(text) == value


@pytest.mark.parametrize(
    "text",
    [
        *("", "1/0", "-1", "nan", "inf", "1e999", 0.0, float("nan"), "1e-999", "-1/-2", "0/1"),
        *("1/2/3", "/2", "1/", "1e300/1e-300", "1" * 41, "1/nan", "0" * 10**6),
    ],
)
def test_scale_must_be_a_positive_number(text: float | str) -> None:
    with pytest.raises(UsageError):
        parse_scale(text)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", ["1e-30000000", "1e30000000", "1/1e-30000000"])
def test_scale_with_a_huge_exponent_is_refused_at_once(tmp_path: Path, text: str) -> None:
    """As an exact fraction it would have thirty million digits."""
    with pytest.raises(UsageError):
        parse_scale(text)
    numbers = (scene() * 10000).astype("uint16")
    path = write(tmp_path / "field.tif", numbers, tags={"scale_factor": text})
    with pytest.raises(InputRefused, match="no evidence"):
        open_msi(path, sensor="p4m")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_given_scale_is_applied(tmp_path: Path, dtype: str) -> None:
    """RELIABILITY row 16."""
    numbers = (scene() * 250).astype(dtype)
    path = write(tmp_path / "field.tif", numbers)
    source = open_msi(path, sensor="p4m", scale="1/250")
    values, _ = source.read(Window(0, 0, 40, 50))
    np.testing.assert_allclose(values, numbers / 250.0, rtol=1e-6)
    assert source.summary.scale_evidence == "as given"


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32"])
def test_ambiguous_scale_is_refused_with_the_candidates(tmp_path: Path, dtype: str) -> None:
    """RELIABILITY row 16."""
    top = 250 if dtype == "uint8" else 21000
    path = write(tmp_path / "field.tif", (scene() * top).astype(dtype))
    with pytest.raises(InputRefused, match=rf"{dtype} numbers mean.*scale \S+ would make") as err:
        open_msi(path, sensor="p4m")
    assert "uavssr reconstruct" in str(err.value)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_float_reflectance_needs_no_scale(tmp_path: Path, dtype: str) -> None:
    """RELIABILITY row 16."""
    source = open_msi(write(tmp_path / "field.tif", scene().astype(dtype)), sensor="p4m")
    assert "reflectance" in source.summary.scale_evidence
    assert {band.scale for band in source.summary.bands} == {1.0}


@pytest.mark.parametrize("sensor", ["p4m", "rgb"])
def test_error_for_bytes_proposes_the_scale_of_bytes(tmp_path: Path, sensor: str) -> None:
    """RELIABILITY row 16: a scale that makes it black is never proposed."""
    numbers = (scene() * 255).clip(1, 255).astype("uint8")[: len(SENSORS[sensor])]
    path = write(tmp_path / "field.tif", numbers, names=None)
    roles = [band.role for band in SENSORS[sensor].bands]
    with pytest.raises(InputRefused) as refused:
        open_msi(path, sensor=sensor, bands=roles)
    assert "--scale 1/255" in str(refused.value.remedy)
    assert "1/32768" not in str(refused.value)


def test_scale_that_makes_a_scene_black_gives_a_warning(tmp_path: Path) -> None:
    """RELIABILITY row 16."""
    numbers = (scene() * 255).astype("uint8")
    source = open_msi(write(tmp_path / "field.tif", numbers), sensor="p4m", scale="1/32768")
    assert any("implausible" in warning for warning in source.summary.warnings)


def test_scale_tags_are_used(tmp_path: Path) -> None:
    """RELIABILITY row 16."""
    numbers = (scene() * 10000).astype("uint16")
    path = write(tmp_path / "field.tif", numbers, scales=[1e-4] * 5)
    source = open_msi(path, sensor="p4m")
    np.testing.assert_allclose(source.read(Window(0, 0, 40, 50))[0], numbers * 1e-4, rtol=1e-6)
    assert source.summary.scale_evidence == "GDAL scale and offset tags"


@pytest.mark.parametrize(
    ("tags", "top", "scale"),
    [
        ({"TIFFTAG_SOFTWARE": "Agisoft Metashape Professional"}, 32768, 1 / 32768),
        ({"reflectance_scale_factor": "10000"}, 10000, 1e-4),
        ({"reflectance_scale": "1/32768"}, 32768, 1 / 32768),
        ({"QUANTIFICATION_VALUE": "10000"}, 10000, 1e-4),
    ],
)
def test_scale_is_found_by_a_tag(
    tmp_path: Path, tags: dict[str, str], top: float, scale: float
) -> None:
    path = write(tmp_path / "field.tif", (scene() * top).astype("uint16"), tags=tags)
    source = open_msi(path, sensor="p4m")
    assert source.summary.bands[0].scale == scale
    assert "TIFFTAG_SOFTWARE" in tags or next(iter(tags)).lower() in source.summary.scale_evidence


@pytest.mark.parametrize(
    ("sensor", "top", "known"),
    [
        ("rededge3", 32768, True),
        ("p4m", 32768, False),
        ("rededge3", 10000, False),
        ("rededge3", 100_000, False),
    ],
    ids=["convention", "other producer", "10000 fits too", "raw counts"],
)
def test_micasense_convention_is_used_only_if_no_other_fits(
    tmp_path: Path, sensor: str, top: float, *, known: bool
) -> None:
    path = write(tmp_path / "field.tif", (scene() * top).clip(0, 65535).astype("uint16"))
    if known:
        source = open_msi(path, sensor=sensor)
        assert source.summary.bands[0].scale == 1 / 32768
        assert any("confirm it with --scale" in text for text in source.summary.warnings)
    else:
        with pytest.raises(InputRefused, match="no evidence"):
            open_msi(path, sensor=sensor)


def test_radiance_is_refused(tmp_path: Path) -> None:
    tags = {"description": "RADIANCE, uW/cm2"}
    path = write(tmp_path / "field.tif", scene(), tags=tags)
    with pytest.raises(InputRefused, match="says radiance"):
        open_msi(path, sensor="p4m")


def test_implausible_scale_of_the_file_is_refused_unless_given(tmp_path: Path) -> None:
    path = write(tmp_path / "field.tif", (scene() * 10000).astype("uint16"), scales=[0.01] * 5)
    with pytest.raises(InputRefused, match="median reflectance would be 3"):
        open_msi(path, sensor="p4m")
    source = open_msi(path, sensor="p4m", scale=0.001)
    assert any("implausible" in text for text in source.summary.warnings)
