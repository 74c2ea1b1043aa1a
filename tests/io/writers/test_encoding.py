"""What is stored is what was meant: counts, clipping, options of the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uavssr.errors import IncompleteRun, OutputError, UsageError
from uavssr.io.writers.block_codec import creation_options
from uavssr.io.writers.encoding import NODATA, SCALE, overview_levels, quantise
from uavssr.io.writers.target import CubeTarget
from uavssr.sensors import HEADWALL_NANO


@given(
    st.lists(st.floats(-1, 7, width=32), min_size=1, max_size=50),
    st.integers(0, 2**32 - 1),
)
def test_quantise_round_trip_within_half_a_count(values: list[float], seed: int) -> None:
    cube = np.array(values, np.float32).reshape(1, 1, -1)
    valid = np.random.default_rng(seed).random((1, len(values))) < 0.7
    back = quantise(cube, valid)
    assert back.dtype == np.uint16
    assert np.array_equal(back[0] == NODATA, ~valid)
    error = np.abs(back * SCALE - np.clip(cube.astype(float), 0, 6.5534))[:, valid]
    assert np.all(error <= SCALE / 2 * 1.02)  # 1.02: float32 carries 6.5 to half a millionth


@given(st.integers(0, NODATA - 1))
def test_quantise_of_a_count_is_that_count(count: int) -> None:
    cube = np.full((1, 1, 1), count * SCALE, np.float32)
    assert quantise(cube, np.ones((1, 1), bool))[0, 0, 0] == count


def test_quantise_clips_and_ignores_invalid_values() -> None:
    values = [-0.2, 6.5534, 9.0, 3e38, np.nan, np.inf]
    cube = np.array(values, np.float32).reshape(1, 1, 6)
    valid = np.array([[True] * 4 + [False] * 2])
    assert quantise(cube, valid).tolist() == [[[0, 65534, 65534, 65534, NODATA, NODATA]]]
    as_float = quantise(cube, valid, dtype="float32")
    assert np.array_equal(as_float[0, 0, :4], cube[0, 0, :4])
    assert np.isnan(as_float[0, 0, 4:]).all()


def test_overview_levels_end_at_512_pixels() -> None:
    assert overview_levels(512, 512) == []
    assert overview_levels(513, 9) == [4]
    assert overview_levels(9, 2048) == [4]
    assert overview_levels(9, 3000) == [4, 8]
    assert overview_levels(40000, 40000)[-1] == 128


def test_quantise_of_nan_names_the_place() -> None:
    """Row 32."""
    cube = np.zeros((2, 3, 3), np.float32)
    cube[1, 2, 2] = np.inf
    with pytest.raises(IncompleteRun, match="tile 7: 1 of 9 valid pixels"):
        quantise(cube, np.ones((3, 3), bool), where="tile 7")
    with pytest.raises(ValueError, match="do not fit"):
        quantise(cube, np.ones((3, 4), bool))


def options(given: dict[str, str], *, side: int = 40) -> dict[str, str]:
    place = {"crs_wkt": "", "transform": (1, 0, 0, 0, -1, 0), "path": Path("cube.tif")}
    size = {"height": side, "width": side, "grid": HEADWALL_NANO}
    return creation_options(CubeTarget(**place, **size, creation_options=given))


def test_creation_options_are_merged_in_either_case() -> None:
    assert options({})["BIGTIFF"] == "YES"  # row 29
    merged = options({"compress": "deflate", "BlockXSize": "256", "interleave": "PIXEL"})
    assert merged["COMPRESS"] == "deflate"
    assert merged["INTERLEAVE"] == "PIXEL"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("TFW", "YES"), ("TILED", "NO"), ("BLOCKXSIZE", "128"), ("COMPRESS", "JPEG")),
        *(("NBITS", "12"), ("COMPRESS", "LZW"), ("ENDIANNESS", "BIG"), ("SPARSE_OK", "FALSE")),
    ],
)
def test_creation_options_that_break_a_promise_are_refused(key: str, value: str) -> None:
    with pytest.raises(UsageError, match=key):
        options({key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("PREDICTOR", "3"),
        ("PREDICTOR", "5"),
        ("ZSTD_LEVEL", "abc"),
        ("zstd_level", "23"),
        ("ZLEVEL", "-1"),
        ("ZLEVEL", "10"),
        ("NUM_THREADS", "many"),
        ("INTERLEAVE", "LINE"),
        ("BIGTIFF", "MAYBE"),
    ],
)
def test_creation_options_with_senseless_values_are_refused(key: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"{key.upper()}={value}"):
        options({key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("PREDICTOR", "1"), ("ZSTD_LEVEL", "22"), ("NUM_THREADS", "all_cpus"), ("bigtiff", "no")),
        *(("INTERLEAVE", "pixel"), ("GEOTIFF_VERSION", "1.1")),
    ],
)
def test_creation_options_with_sound_values_are_taken(key: str, value: str) -> None:
    assert options({key: value})[key.upper()] == value


@pytest.mark.parametrize("value", ["NO", "IF_NEEDED", "if_safer"])
def test_classic_tiff_over_4_gb_is_refused(value: str) -> None:
    """Row 29."""
    with pytest.raises(OutputError, match=r"cube\.tif: BIGTIFF=.* may take 5\.8 GB"):
        options({"BIGTIFF": value}, side=3000)
    assert options({"BIGTIFF": value})["BIGTIFF"] == value
