"""Classes of ground that are found in an image, and the samples of their pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.rasters import write
from uavssr import open_msi
from uavssr.errors import InputRefused
from uavssr.io.msi import MsiSource
from uavssr.reconstruction import classes_at, found_land_cover, sample_classes, usable_classes

SPECTRA = {
    "vegetation": (0.03, 0.07, 0.04, 0.25, 0.45),
    "soil": (0.08, 0.12, 0.17, 0.20, 0.24),
    "bright": (0.25, 0.30, 0.34, 0.36, 0.38),
    "dark": (0.02, 0.03, 0.02, 0.02, 0.02),
}
SIDE = 40


@pytest.fixture
def source(tmp_path: Path) -> MsiSource:
    """Four columns of ground, soil twice as wide, with noise of 2 %; the last rows are no data."""
    columns = np.repeat(["vegetation", "soil", "soil", "bright", "dark"], SIDE)
    clean = np.array([SPECTRA[name] for name in columns]).T[:, None].repeat(SIDE, 1)
    image = clean * (1 + 0.02 * np.random.default_rng(0).normal(size=clean.shape))
    image[:, -5:] = np.nan
    return open_msi(write(tmp_path / "in.tif", image.astype("f4")), sensor="p4m")


def test_ground_is_found_by_its_reflectance(source: MsiSource) -> None:
    samples = sample_classes(source, found_land_cover(source))
    assert set(samples.pixels) == {"vegetation", "soil", "bright"}
    assert samples.left_out["dark"].startswith("dark: 0.03")
    for name, pixels in samples.pixels.items():
        np.testing.assert_allclose(pixels.mean(0), SPECTRA[name], rtol=0.01)
    assert len(samples.pixels["soil"]) == 2 * SIDE * (SIDE - 5)


def test_places_have_the_class_of_their_pixel(source: MsiSource) -> None:
    places = np.array([[2.5, 3.5], [SIDE + 0.1, 0.5], [4 * SIDE - 0.1, 9], [-1, 2], [np.nan, 2]])
    names = classes_at(found_land_cover(source), source, places)
    assert names == ["vegetation", "soil", "bright", "", ""]
    assert classes_at(found_land_cover(source), source, np.array([[2.5, SIDE - 1.0]])) == [""]


def test_small_classes_are_named() -> None:
    ground = {"a": np.full((80, 3), 0.3), "b": np.full((70, 3), 0.2), "c": np.full((9, 3), 0.2)}
    samples = usable_classes(ground, "a file")
    assert list(samples.pixels) == ["a", "b"]
    assert samples.left_out == {"c": "9 valid pixels, fewer than 64"}
    with pytest.raises(InputRefused, match="1 class of ground to compare"):
        usable_classes({"a": ground["a"], "c": ground["c"]}, "a file")
