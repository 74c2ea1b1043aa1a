"""The rule for valid pixels: wild ones, fill with and without tags, fill that has bled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio.warp
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import Resampling
from rasterio.transform import Affine

from tests.helpers.cubes import listed, smooth_cube, write_envi
from tests.helpers.models import GRID
from tests.helpers.rasters import TRANSFORM, scene, write
from uavssr.errors import InputRefused
from uavssr.io.hsi import open_cube_source
from uavssr.io.msi import MsiSource, open_msi
from uavssr.io.raster.nodata import BLED_PIXELS, LIMITS
from uavssr.tiling import TileGrid, Window

LOW, HIGH = LIMITS
COLLAR = np.s_[:, :, :12]
"""A quarter of the scenes, where a mosaic holds fill."""


def read(source: MsiSource) -> tuple[np.ndarray, np.ndarray]:
    return source.read(Window(0, 0, source.height, source.width))


def opened(path: Path, numbers: np.ndarray, **options: object) -> MsiSource:
    return open_msi(write(path, numbers, **options), sensor="p4m")


def with_fill(fill: float, dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    """Reflectance, or counts of 1e-4, with fill in `COLLAR`; where it is not."""
    numbers = scene() if dtype == "float32" else np.rint(scene() * 10000).astype(dtype)
    numbers[COLLAR] = fill
    valid = np.ones(numbers.shape[1:], bool)
    valid[COLLAR[1:]] = False
    return numbers, valid


wild = st.one_of(
    st.sampled_from([1e3, -1e3, 1e30, -1e30, 3.4e38, np.inf, -np.inf, 255.0, 65535.0, -999.99]),
    st.floats(5.001, 1e30),
    st.floats(-1e30, -0.201),
)


@settings(max_examples=40, deadline=None)
@given(
    value=wild,
    bands=st.sets(st.integers(0, 4), min_size=1),
    pixels=st.sets(st.tuples(st.integers(0, 8), st.integers(0, 9)), min_size=1, max_size=3),
)
def test_wild_pixel_is_a_pixel_without_data(
    tmp_path_factory: pytest.TempPathFactory,
    value: float,
    bands: set[int],
    pixels: set[tuple[int, int]],
) -> None:
    """Row 17: scale, mask and other pixels are those of the scene with NaN there, bit for bit."""
    folder = tmp_path_factory.getbasetemp()
    image = scene(height=9, width=10)
    masked = image.copy()
    for row, col in pixels:
        image[sorted(bands), row, col] = value
        masked[:, row, col] = np.nan
    one, other = opened(folder / "wild.tif", image), opened(folder / "masked.tif", masked)
    np.testing.assert_array_equal(read(one)[0], read(other)[0])
    np.testing.assert_array_equal(read(one)[1], read(other)[1])
    assert one.scale == other.scale
    assert one.summary.valid_fraction == other.summary.valid_fraction == 1 - len(pixels) / 90
    facts = ([band.facts for band in source.summary.bands] for source in (one, other))
    assert next(facts) == next(facts)
    assert any(text.startswith(f"{len(pixels)} of 90") for text in one.summary.warnings)


@pytest.mark.parametrize("value", [LOW, HIGH, -0.02, 0.0, 1.6])
def test_pixel_at_the_limits_is_valid(tmp_path: Path, value: float) -> None:
    image = scene()
    image[2, 7, 7] = value
    image[2, 8, 8] = np.nextafter(np.float32(HIGH), np.float32(9))
    image[2, 9, 9] = np.nextafter(np.float32(LOW), np.float32(-9))
    valid = read(opened(tmp_path / "field.tif", image))[1]
    assert valid[7, 7]
    assert not valid[8, 8]
    assert not valid[9, 9]
    assert valid.sum() == valid.size - 2


def test_whole_numbers_at_the_limits_are_valid(tmp_path: Path) -> None:
    numbers = np.rint(scene() * 10000).astype("int32")
    numbers[1, 3, :4] = (-2000, 50000, -2001, 50001)
    valid = read(opened(tmp_path / "field.tif", numbers, scales=[1e-4] * 5))[1]
    assert valid[3, :4].tolist() == [True, True, False, False]


@pytest.mark.parametrize("tag", [None, np.nan, -9999.0])
@pytest.mark.parametrize(
    "fill", [-1.0, -0.9999, -999.99, -9999.0, -32767.0, 255.0, 65535.0, 1e20, 3.4e38, -3.4e38]
)
def test_fill_is_invalid_whatever_the_tag_says(
    tmp_path: Path, fill: float, tag: float | None
) -> None:
    """Row 17."""
    numbers, expected = with_fill(fill)
    source = opened(tmp_path / "field.tif", numbers, nodata=tag)
    np.testing.assert_array_equal(read(source)[1], expected)
    assert source.summary.valid_fraction == expected.mean()
    told = any("480 of 2000 pixels are fill that no nodata" in t for t in source.summary.warnings)
    assert told == (tag != fill)
    assert all(band.facts.maximum < 1 for band in source.summary.bands)


@pytest.mark.parametrize("tag", [None, 3])
@pytest.mark.parametrize(
    ("dtype", "fill"),
    [
        ("uint8", 255),
        ("uint16", 0),
        ("uint16", 65535),
        ("uint32", 2**32 - 1),
        ("int16", 32767),
        ("int16", -32768),
        ("int32", -(2**31)),
        ("int32", 2**31 - 1),
    ],
)
def test_number_at_the_end_of_its_type_is_fill(
    tmp_path: Path, dtype: str, fill: int, tag: int | None
) -> None:
    scale = 1 / 250 if dtype == "uint8" else 1e-4
    numbers, expected = with_fill(fill, dtype) if dtype != "uint8" else with_fill(0.0)
    if dtype == "uint8":
        numbers = np.rint(numbers * 250).astype("uint8")  # 7 and more
        numbers[COLLAR] = fill
    source = opened(tmp_path / "field.tif", numbers, nodata=tag, scales=[scale] * 5)
    np.testing.assert_array_equal(read(source)[1], expected)


def test_saturated_roof_stays(tmp_path: Path) -> None:
    """Bright ground reaches the end of the type in some bands first, fill in all at once."""
    numbers = np.rint(scene() * 32768).astype("uint16")
    numbers[:, 10:20, 10:20] = 65535
    numbers[2, 9:21, 9] = numbers[2, 9:21, 20] = 50000
    for band in (0, 1, 3, 4):
        numbers[band, 9:21, 9] = numbers[band, 9:21, 20] = 65535
    source = opened(tmp_path / "field.tif", numbers, scales=[1 / 32768] * 5)
    assert read(source)[1].all()
    assert any(
        "5.0% of the valid pixels are 65535 in every band" in t for t in source.summary.warnings
    )


def test_plausible_constant_stays_and_is_told(tmp_path: Path) -> None:
    numbers, _ = with_fill(0.25)
    source = opened(tmp_path / "field.tif", numbers)
    assert read(source)[1].all()
    assert any("24.0% of the valid pixels are 0.25" in text for text in source.summary.warnings)


def test_black_collar_beside_another_tag_is_fill_but_clipped_shadow_is_not(tmp_path: Path) -> None:
    collar, expected = with_fill(0, "uint16")
    source = opened(tmp_path / "collar.tif", collar, nodata=65535, scales=[1e-4] * 5)
    np.testing.assert_array_equal(read(source)[1], expected)
    shadow = np.rint(scene() * 10000).astype("uint16")
    shadow[COLLAR] = np.random.default_rng(1).integers(0, 3, shadow[COLLAR].shape)
    source = opened(tmp_path / "shadow.tif", shadow, nodata=65535, scales=[1e-4] * 5)
    assert read(source)[1].all()


def test_fill_in_one_band_only_is_invalid(tmp_path: Path) -> None:
    numbers = scene()
    numbers[3, :, :12] = -10.5
    source = opened(tmp_path / "field.tif", numbers)
    assert source.summary.valid_fraction == 0.76
    assert any(
        "480 of 2000 pixels have a reflectance outside" in t for t in source.summary.warnings
    )


def test_counts_tell_the_reasons_apart(tmp_path: Path) -> None:
    numbers = scene()
    numbers[:, 0, :5] = np.nan
    numbers[:, 1, :4] = -77.0
    numbers[1, 2, :3] = 9.5
    numbers[2, 3, :2] = np.inf
    source = opened(tmp_path / "field.tif", numbers)
    assert [text.split(" pixels ")[0] for text in source.summary.warnings] == [
        "4 of 2000",
        "3 of 2000",
        "2 of 2000",
    ]
    assert source.summary.valid_fraction == 1 - 14 / 2000


# --- fill that has bled --------------------------------------------------------------------------


def resampled(numbers: np.ndarray, method: Resampling, factor: float) -> np.ndarray:
    """The same scene on a grid that is shifted, turned a little, and finer by a factor."""
    count, height, width = numbers.shape
    out = np.zeros((count, int(height * factor), int(width * factor)), numbers.dtype)
    turned = (
        TRANSFORM * Affine.rotation(2) * Affine.translation(0.3, 0.4) * Affine.scale(1 / factor)
    )
    rasterio.warp.reproject(
        numbers, out, src_transform=TRANSFORM, dst_transform=turned,
        src_crs="EPSG:32650", dst_crs="EPSG:32650", resampling=method,
    )  # fmt: skip
    return out


def smooth(height: int = 150, width: int = 160) -> np.ndarray:
    """Five bands of smooth ground, 0.05-0.6."""
    return smooth_cube(height, width)[:5]


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("method", [Resampling.bilinear, Resampling.cubic])
@pytest.mark.parametrize(
    ("dtype", "fill"), [("float32", -9999.0), ("float32", 0.0), ("uint16", 65535), ("uint16", 0)]
)
def test_fill_that_has_bled_is_invalid(
    tmp_path: Path, dtype: str, fill: float, method: Resampling, factor: float
) -> None:
    """Row 17."""
    scale = 1.0 if dtype == "float32" else 1e-4
    ground = smooth() if dtype == "float32" else np.rint(smooth() * 10000).astype(dtype)
    filled = ground.copy()
    filled[:, :30] = filled[:, :, :30] = filled[:, 60:80, 70:90] = fill
    got = resampled(filled, method, factor)
    clean = resampled(ground, method, factor).astype(float) * scale
    source = opened(tmp_path / "field.tif", got, scales=[scale] * 5)
    values, valid = read(source)
    error = np.abs(values - clean).max(0)[valid]
    assert error.max() < 0.02
    # no more than the edges is lost
    assert source.rule.bleeds
    assert any("resampling has mixed" in text for text in source.summary.warnings)
    untouched = (np.abs(got * scale - clean) < 1e-6).all(0)
    lost = untouched & ~valid
    assert lost.sum() < 5 * BLED_PIXELS * 160 * factor


def test_windows_agree_on_fill_that_has_bled(tmp_path: Path) -> None:
    filled = smooth()
    filled[:, 50:64, 40:70] = -9999.0
    filled[:, 100:, :] = -9999.0
    source = opened(tmp_path / "field.tif", resampled(filled, Resampling.cubic, 1))
    assert source.rule.bleeds
    whole_values, whole_valid = read(source)
    for tile in TileGrid(height=source.height, width=source.width, tile=16, halo=3):
        values, valid = source.read(tile.read)
        np.testing.assert_array_equal(valid, whole_valid[tile.read.rows, tile.read.cols])
        np.testing.assert_array_equal(values, whole_values[:, tile.read.rows, tile.read.cols])
    assert source.summary.valid_fraction == whole_valid.mean()


@pytest.mark.parametrize("fill", [-9999.0, 0.0, 255.0])
def test_sharp_edge_of_fill_costs_no_pixel(tmp_path: Path, fill: float) -> None:
    numbers = smooth()
    numbers[:, :40] = numbers[:, :, :30] = fill
    source = opened(tmp_path / "field.tif", numbers)
    assert not source.rule.bleeds
    np.testing.assert_array_equal(read(source)[1], (numbers != fill).all(0))


# --- cubes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fill", [-0.9999, -9999.0, 1e20, 65535.0, -1.0])
def test_cubes_share_the_rule(tmp_path: Path, fill: float) -> None:
    cube = smooth_cube(40, 50)
    cube[:, :, :12] = fill
    cube[7, 20, 30] = 1e30
    path = write_envi(
        tmp_path / "cube", cube, "wavelength units = nm", listed("wavelength", GRID.centres)
    )
    source = open_cube_source(path)
    _, valid = source.read(Window(0, 0, 40, 50))
    expected = np.ones((40, 50), bool)
    expected[:, :12] = expected[20, 30] = False
    np.testing.assert_array_equal(valid, expected)
    told = [text.split(" pixels ")[0] for text in source.warnings]
    assert told == ["cube: 480 of 2000", "cube: 1 of 2000"]


def test_scale_that_leaves_no_pixel_is_refused_with_the_count(tmp_path: Path) -> None:
    Y = scene()
    for band in range(5):
        Y[band, band::5] = 6  # each row in another band
    path = write(tmp_path / "field.tif", Y)
    with pytest.raises(InputRefused, match="no valid pixel: 2000 of 2000 pixels have a reflect"):
        open_msi(path, sensor="p4m", scale=1)
