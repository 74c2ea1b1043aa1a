"""A band that cannot be right is refused; one that may be true is told with its number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.rasters import scene, write
from uavssr.errors import InputRefused
from uavssr.io.msi import open_msi


def opened(folder: Path, numbers: np.ndarray, **options: object) -> tuple[str, ...]:
    """The warnings of an image."""
    path = write(folder / "field.tif", numbers, **options)
    return open_msi(path, sensor="p4m").summary.warnings


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("dtype", ["float32", "uint16"])
@pytest.mark.parametrize("band", [0, 4])
def test_constant_band_is_refused(tmp_path: Path, band: int, dtype: str, value: float) -> None:
    """RELIABILITY row 50."""
    Y = scene()
    Y[band] = value
    scales = None if dtype == "float32" else [1e-4] * 5
    numbers = Y if scales is None else (Y * 10000).round().astype(dtype)
    fact = rf"\(band {band + 1}\) has the reflectance {value:g} in every pixel"
    with pytest.raises(InputRefused, match=f"{fact}; export the bands again"):
        opened(tmp_path, numbers, scales=scales)


def test_duplicated_bands_are_refused_all_at_once(tmp_path: Path) -> None:
    """RELIABILITY row 50."""
    Y = scene()
    Y[3], Y[4] = Y[2], Y[1]
    fact = "rededge .* is the same as red .* in every pixel; nir .* is the same as green"
    with pytest.raises(InputRefused, match=fact):
        opened(tmp_path, Y)


@pytest.mark.parametrize("step", [0.0, 0.1])
def test_constant_image_is_told_once(tmp_path: Path, step: float) -> None:
    """RELIABILITY row 50: one number in all bands may be fill, one spectrum a panel."""
    Y = np.full((5, 40, 50), 0.2, "f4") + step * np.arange(5, dtype="f4")[:, None, None]
    (warning,) = opened(tmp_path, Y)
    told = "all pixels have one reflectance: 0.2, 0.3, 0.4, 0.5, 0.6"
    assert warning == told if step else warning.startswith("100.0% of the valid pixels are 0.2")


def test_a_band_that_is_left_out_may_be_anything(tmp_path: Path) -> None:
    Y = np.concatenate([scene(), scene(1) * 0 + 300])
    path = write(tmp_path / "field.tif", Y, names=None)
    roles = ["blue", "green", "red", "rededge", "nir", "thermal"]
    assert open_msi(path, sensor="p4m", bands=roles).summary.warnings == ()


def test_remedy_for_a_dead_band_works(tmp_path: Path) -> None:
    Y = scene()
    Y[4] = 0
    path = write(tmp_path / "field.tif", Y, names=None)
    camera = tmp_path / "camera.csv"
    camera.write_text("role,centre,fwhm\nblue,450,32\ngreen,560,32\nred,650,32\nrededge,730,32\n")
    roles = ["blue", "green", "red", "rededge", "skip"]
    source = open_msi(path, sensor=camera, bands=roles)
    assert source.summary.warnings == ()


def water(dtype: str) -> np.ndarray:
    """Reflectance of clear water: hardly any beyond red."""
    level = np.array([0.08, 0.06, 0.02, 0.004, 0.0008])[:, None, None]
    Y = level * (1 + scene()) + np.random.default_rng(1).normal(0, 1e-4, (5, 40, 50))
    return (Y / (1 / 255 if dtype == "uint8" else 1e-4)).clip(0, None).round().astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_water_is_told_and_not_refused(tmp_path: Path, dtype: str) -> None:
    scale = 1 / 255 if dtype == "uint8" else 1e-4
    warnings = opened(tmp_path, water(dtype), scales=[scale] * 5)
    assert any("nir" in text for text in warnings)


GOOD = {
    "snow": 0.85 + 0.2 * scene(),
    "sand": 0.3 + 0.3 * scene(),
    "a grey panel with noise": 0.5 + 0.004 * scene(),
    "forest": scene() * np.array([0.05, 0.12, 0.06, 0.5, 0.9])[:, None, None],
    "shade with noise below 0": scene() - 0.032,
}


@pytest.mark.parametrize("name", GOOD)
def test_usual_scenes_are_taken_without_a_warning(tmp_path: Path, name: str) -> None:
    assert opened(tmp_path, GOOD[name].astype("f4")) == ()


def test_nodata_is_no_evidence(tmp_path: Path) -> None:
    Y = scene()
    Y[:, :, :35] = -9999
    assert opened(tmp_path, Y, nodata=-9999) == ()


def test_panel_in_bytes_and_a_few_pixels_are_not_refused(tmp_path: Path) -> None:
    """Constant or equal because of coarse steps, or by chance."""
    panel = np.full((5, 40, 50), 128, "uint8")
    panel[1:4] += np.random.default_rng(0).integers(0, 3, (3, 40, 50)).astype("uint8")
    told = opened(tmp_path, panel, scales=[1 / 255] * 5)
    assert [text.split()[0] for text in told if "every pixel" in text] == ["blue", "nir"]
    small = scene(height=4, width=4)
    small[4] = small[3]
    (warning,) = opened(tmp_path, small)
    assert "is the same as rededge" in warning


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (lambda Y: Y - [[[-1]], [[0]], [[0]], [[0]], [[0]]], "the median reflectance of blue"),
        (lambda Y: Y * [[[1]], [[1]], [[1]], [[1]], [[0.01]]], "99.9 % of nir"),
        (
            lambda Y: Y - [[[0.1]], [[0]], [[0]], [[0]], [[0]]],
            "% of blue (band 1) is below a reflectance of 0",
        ),
        (lambda Y: Y * (np.arange(50) > 9) ** [[[0]], [[0]], [[1]], [[0]], [[0]]], "20.0% of red"),
    ],
    ids=["bright", "dark", "negative", "partly empty"],
)
def test_what_may_be_true_is_told_with_its_number(
    tmp_path: Path, change: object, warning: str
) -> None:
    """RELIABILITY row 50."""
    (told,) = opened(tmp_path, change(scene()).astype("f4"))
    assert warning in told


def test_facts_are_in_the_summary(tmp_path: Path) -> None:
    numbers = (scene() * 10000).astype("uint16")
    path = write(tmp_path / "field.tif", numbers, scales=[1e-4] * 5)
    for band, values in zip(open_msi(path, sensor="p4m").summary.bands, numbers, strict=True):
        facts = band.facts
        assert facts.median == pytest.approx(np.median(values) * 1e-4)
        assert (facts.minimum, facts.maximum) == pytest.approx(
            (values.min() / 1e4, values.max() / 1e4)
        )
