"""Reflectance and valid pixels equal those of the file, on the grid of the file."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import shutil
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from tests.helpers.rasters import P4M, TRANSFORM, UTM, scene, shared, write
from uavssr.errors import InputRefused, UsageError
from uavssr.io.msi.source import MsiSource, open_msi
from uavssr.sensors import SENSORS
from uavssr.tiling import TileGrid, Window

SINGLE = ("result_Blue", "result_Green", "result_Red", "result_RedEdge", "result_NIR")


def whole(source: MsiSource) -> Window:
    return Window(0, 0, source.height, source.width)


def single_files(folder: Path, numbers: np.ndarray, **options: object) -> list[Path]:
    """One file per band, as DJI Terra writes them."""
    return [
        write(folder / f"{name}.tif", band[None], names=None, **options)
        for name, band in zip(SINGLE, numbers, strict=True)
    ]


def test_read_returns_the_numbers_of_the_file(tmp_path: Path) -> None:
    Y = scene()
    source = open_msi(write(tmp_path / "field.tif", Y), sensor="p4m")
    values, valid = source.read(whole(source))
    assert values.dtype == np.float32
    assert valid.dtype == np.bool_
    assert valid.all()
    np.testing.assert_array_equal(values, Y)
    assert source.transform == tuple(TRANSFORM)[:6]
    assert rasterio.crs.CRS.from_wkt(source.crs_wkt) == rasterio.crs.CRS.from_string(UTM)


def test_reading_leaves_no_sidecar(tmp_path: Path, repo: Path) -> None:
    """GDAL writes .aux.xml beside a file whose statistics are asked for."""
    source = open_msi(shutil.copy(repo / "examples" / "field.tif", tmp_path))
    source.read(whole(source))
    assert [path.name for path in tmp_path.iterdir()] == ["field.tif"]
    assert not list(repo.glob("examples/*.aux.xml"))


def test_bands_are_read_in_the_order_of_the_sensor(tmp_path: Path) -> None:
    """RELIABILITY row 14: another order in the file is no error where the bands are named."""
    Y = scene()
    order = [4, 2, 0, 3, 1]
    path = write(tmp_path / "field.tif", Y[order], names=[P4M[i] for i in order])
    source = open_msi(path, sensor="p4m")
    np.testing.assert_array_equal(source.read(whole(source))[0], Y)
    assert [band.role for band in source.summary.bands] == list(SENSORS["p4m"].roles)


def test_tiles_equal_the_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "field.tif", scene(height=61, width=43), tiled=True, blockxsize=16)
    source = open_msi(path, sensor="p4m")
    values, _ = source.read(whole(source))
    for tile in TileGrid(height=61, width=43, tile=20, halo=3):
        part, _ = source.read(tile.read)
        np.testing.assert_array_equal(part, values[:, tile.read.rows, tile.read.cols])


@pytest.mark.parametrize("window", [Window(-1, 0, 5, 5), Window(0, 46, 5, 5), Window(40, 0, 1, 1)])
def test_window_outside_the_scene_is_an_error(tmp_path: Path, window: Window) -> None:
    source = open_msi(write(tmp_path / "field.tif", scene()), sensor="p4m")
    with pytest.raises(ValueError, match="outside"):
        source.read(window)


def test_single_band_files_are_read_as_one(tmp_path: Path) -> None:
    Y = scene()
    files = single_files(tmp_path, Y)
    source = open_msi(files[::-1], sensor="p4m")
    np.testing.assert_array_equal(source.read(whole(source))[0], Y)
    assert "file name 'result_RedEdge.tif'" in source.summary.bands[3].evidence


def test_single_band_files_may_each_have_an_alpha_band(tmp_path: Path) -> None:
    Y = scene()
    alpha = np.full_like(Y[0], 255.0)
    files = []
    for i, name in enumerate(SINGLE):
        mine = alpha.copy()
        mine[i, :] = 0
        both = np.stack([Y[i], mine])
        path = write(tmp_path / f"{name}.tif", both, names=None, colours=("gray", "alpha"))
        files.append(path)
    source = open_msi(files, sensor="p4m")
    _, valid = source.read(whole(source))
    assert not valid[:5].any()
    assert valid[5:].all()


def test_source_works_in_threads_children_and_copies(tmp_path: Path) -> None:
    source = open_msi(write(tmp_path / "field.tif", scene(height=64, width=64)), sensor="p4m")
    windows = [tile.core for tile in TileGrid(height=64, width=64, tile=16)]
    expected = [source.read(window)[0] for window in windows]
    with ThreadPoolExecutor(4) as pool:
        by_threads = list(pool.map(source.read, windows))
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301 - our own bytes
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        by_process = pool.map(source.read, windows)
    for results in (by_threads, by_process, [copy.read(window) for window in windows]):
        for (values, _), wanted in zip(results, expected, strict=True):
            np.testing.assert_array_equal(values, wanted)
    assert copy.summary == source.summary


def test_undecodable_block_names_file_and_window(tmp_path: Path) -> None:
    """RELIABILITY rows 4 and 5."""
    path = write(tmp_path / "field.tif", scene(), compress="deflate")
    with rasterio.open(path) as file:
        offset = int(file.get_tag_item("BLOCK_OFFSET_0_1", "TIFF", bidx=1))
    content = bytearray(path.read_bytes())
    content[offset : offset + 100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(InputRefused, match=r"field\.tif: cannot read columns 0-49, rows 0-39"):
        open_msi(path, sensor="p4m")


def test_metadata_with_a_broken_byte_is_refused(tmp_path: Path) -> None:
    """RELIABILITY row 5."""
    path = write(tmp_path / "field.tif", scene())
    path.write_bytes(path.read_bytes().replace(b"Green", b"Gr\xffen"))
    with pytest.raises(InputRefused, match="unreadable metadata"):
        open_msi(path, sensor="p4m")


def test_error_is_the_only_output(tmp_path: Path) -> None:
    """Warnings of GDAL and Python must not add lines to the error."""
    raw = write(tmp_path / "raw.tif", scene(), transform=None, crs=None)
    code = f"""
        from uavssr.errors import InputRefused
        from uavssr.io.msi.source import open_msi
        try:
            open_msi({str(raw)!r}, sensor="p4m")
        except InputRefused as err:
            print(err)
    """
    shown = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert shown.stderr == ""
    assert len(shown.stdout.splitlines()) == 1


def test_missing_crs_names_the_option(tmp_path: Path) -> None:
    """RELIABILITY row 11."""
    path = write(tmp_path / "field.tif", scene(), crs=None)
    command = r"uavssr reconstruct \S*field\.tif --sensor p4m --assume-crs EPSG:CODE --out \S+tif$"
    with pytest.raises(InputRefused, match=rf"no CRS; .*{command}"):
        open_msi(path, sensor="p4m")
    source = open_msi(path, sensor="p4m", assume_crs=UTM)
    assert source.summary.crs == UTM
    assert any("assumed" in warning for warning in source.summary.warnings)


@pytest.mark.parametrize("crs", ["http://example.org/crs", "/etc/passwd", "EPSG:999999", "32650"])
def test_assumed_crs_must_be_a_known_code(tmp_path: Path, crs: str) -> None:
    path = write(tmp_path / "field.tif", scene(), crs=None)
    with pytest.raises(UsageError, match="--assume-crs"):
        open_msi(path, sensor="p4m", assume_crs=crs)


def test_assumed_crs_must_not_contradict_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "field.tif", scene())
    with pytest.raises(InputRefused, match="has the CRS EPSG:32650"):
        open_msi(path, sensor="p4m", assume_crs="EPSG:32611")


def test_raw_frame_is_refused_and_the_error_names_an_orthomosaic(tmp_path: Path) -> None:
    """RELIABILITY row 11, on a generated file and on a real frame where it is at hand."""
    path = write(tmp_path / "field.tif", scene(), transform=None, crs=None)
    with pytest.raises(InputRefused, match=r"no geotransform.*orthomosaic"):
        open_msi(path, sensor="p4m")
    with pytest.raises(InputRefused, match=r"no geotransform.*orthomosaic"):
        open_msi(shared("p4m_raw/P4M_2021-06-06_band3_Red.TIF"), sensor="p4m")


def test_sidecars_are_ignored_with_one_warning(tmp_path: Path) -> None:
    """RELIABILITY row 12."""
    Y = scene()
    path = write(tmp_path / "field.tif", Y)
    (tmp_path / "field.tif.aux.xml").write_text(
        "<PAMDataset><GeoTransform>1, 2, 0, 3, 0, -2</GeoTransform></PAMDataset>"
    )
    (tmp_path / "field.tfw").write_text("1\n0\n0\n-1\n5\n6\n")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as file:
        file.write_mask(np.zeros(Y.shape[1:], bool))
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(path, "r+") as file:
        file.build_overviews([2])
    source = open_msi(path, sensor="p4m")
    assert source.transform == tuple(TRANSFORM)[:6]
    values, valid = source.read(whole(source))
    assert valid.all()
    np.testing.assert_array_equal(values, Y)
    warnings = [text for text in source.summary.warnings if "sidecar" in text]
    assert len(warnings) == 1
    for name in ("field.tif.aux.xml", "field.tfw", "field.tif.msk", "field.tif.ovr"):
        assert name in warnings[0]


@pytest.mark.parametrize("name", ["field.tfw", "field.wld", "field.tif.aux.xml"])
def test_georeferencing_in_a_sidecar_only_is_refused(tmp_path: Path, name: str) -> None:
    """RELIABILITY row 12."""
    path = write(tmp_path / "field.tif", scene(), transform=None)
    (tmp_path / name).write_text("1\n0\n0\n-1\n5\n6\n")
    with pytest.raises(InputRefused, match=rf"sidecar {name}.*rio edit-info"):
        open_msi(path, sensor="p4m")


@pytest.mark.parametrize(
    ("transform", "crs", "gsd", "unit"),
    [
        (TRANSFORM @ Affine.rotation(30), UTM, (0.1, 0.1), "metre"),
        (Affine(0.1, 0, 5e5, 0, 0.1, 3e6), UTM, (0.1, 0.1), "metre"),
        (Affine(0.1, 0, 5e5, 0, -0.25, 3e6), UTM, (0.1, 0.25), "metre"),
        (Affine(1e-6, 0, 117.0, 0, -1e-6, 30.0), "EPSG:4326", (1e-6, 1e-6), "degree"),
    ],
    ids=["rotated", "south-up", "non-square", "degrees"],
)
def test_transform_is_kept_exactly(
    tmp_path: Path, transform: Affine, crs: str, gsd: tuple[float, float], unit: str
) -> None:
    """RELIABILITY row 13."""
    Y = scene()
    path = write(tmp_path / "field.tif", Y, transform=transform, crs=crs)
    with rasterio.open(path) as file:
        stored = tuple(file.transform)[:6]
    source = open_msi(path, sensor="p4m")
    assert source.transform == stored
    assert source.summary.gsd == pytest.approx(gsd)
    assert source.summary.gsd_unit == unit
    np.testing.assert_array_equal(source.read(whole(source))[0], Y)


@pytest.mark.parametrize(
    ("odd", "fact"),
    [
        ({"crs": "EPSG:32611"}, "its CRS is EPSG:32611, that of"),
        ({"transform": Affine(0.1, 0, 500000.05, 0, -0.1, 3e6)}, "its geotransform is"),
        ({"height": 39}, "its size is 50 x 39, that of result_"),
        ({"dtype": "float64"}, "holds float64, the other bands float32"),
    ],
    ids=["crs", "grid", "size", "dtype"],
)
@pytest.mark.parametrize("index", [0, 3])
def test_error_names_the_file_that_differs_from_the_others(
    tmp_path: Path, odd: dict[str, object], fact: str, index: int
) -> None:
    """RELIABILITY row 15."""
    files = single_files(tmp_path, scene())
    numbers = scene(1, height=odd.get("height", 40)).astype(odd.get("dtype", "f4"))
    moved = {key: value for key, value in odd.items() if key in ("crs", "transform")}
    write(files[index], numbers, names=None, **moved)
    with pytest.raises(InputRefused, match=rf"{files[index].name}: {fact}"):
        open_msi(files, sensor="p4m")


def test_multi_band_file_in_a_set_is_refused(tmp_path: Path) -> None:
    files = single_files(tmp_path, scene())
    write(files[1], scene(2), names=None)
    with pytest.raises(InputRefused, match=r"Green\.tif: holds several bands"):
        open_msi(files, sensor="p4m")


def test_file_given_twice_is_refused(tmp_path: Path) -> None:
    files = single_files(tmp_path, scene())
    with pytest.raises(InputRefused, match="given twice"):
        open_msi([files[0], *files], sensor="p4m")


@pytest.mark.parametrize("kind", ["dot", "absolute", "symbolic link", "hard link"])
def test_file_given_twice_under_two_names_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Else one image would serve as two bands."""
    monkeypatch.chdir(tmp_path)
    files = [path.name for path in single_files(tmp_path, scene())]
    again = {"dot": f"./{files[4]}", "absolute": str(tmp_path / files[4])}.get(kind, "again.tif")
    if kind == "symbolic link":
        (tmp_path / again).symlink_to(files[4])
    if kind == "hard link":
        (tmp_path / again).hardlink_to(files[4])
    with pytest.raises(InputRefused, match=f"given twice.*{files[4]}") as caught:
        open_msi([*files[:3], files[4], again], sensor="p4m", bands=P4M)
    assert str(Path(again)) in str(caught.value)


def test_proposed_command_keeps_max_pixels(tmp_path: Path) -> None:
    path = write(tmp_path / "field.tif", scene(), names=None)
    with pytest.raises(InputRefused, match="--max-pixels 5000 --out"):
        open_msi(path, sensor="p4m", max_pixels=5000)


def hole(numbers: np.ndarray, value: float) -> tuple[np.ndarray, np.ndarray]:
    """The numbers with `value` in one pixel of one band and one of all; where it is not."""
    numbers = numbers.copy()
    numbers[2, 4, 7] = value
    numbers[:, 20, 30] = value
    valid = np.ones(numbers.shape[1:], bool)
    valid[4, 7] = valid[20, 30] = False
    return numbers, valid


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -9999.0, -10000.0, -3.4e38])
def test_fill_value_is_invalid_without_a_tag(tmp_path: Path, value: float) -> None:
    """RELIABILITY row 17."""
    numbers, expected = hole(scene(), value)
    source = open_msi(write(tmp_path / "field.tif", numbers), sensor="p4m")
    values, valid = source.read(whole(source))
    np.testing.assert_array_equal(valid, expected)
    assert np.isnan(values[:, ~valid]).all()
    assert np.isfinite(values[:, valid]).all()
    told = [text.split(":")[0] for text in source.summary.warnings]
    fill = f"2 of 2000 pixels are fill that no nodata tag names ({value:.7g})"
    infinite = "2 of 2000 pixels are infinite"
    assert told == ([] if np.isnan(value) else [fill] if np.isfinite(value) else [infinite])


@pytest.mark.parametrize(
    ("dtype", "value"), [("uint16", 0), ("uint16", 65535), ("int16", -9999), ("float32", -10000)]
)
def test_nodata_tag_makes_pixels_invalid(tmp_path: Path, dtype: str, value: float) -> None:
    """RELIABILITY row 17."""
    numbers, expected = hole((scene() * 10000).astype(dtype), value)
    path = write(tmp_path / "field.tif", numbers, nodata=value)
    source = open_msi(path, sensor="p4m", scale=1e-4)
    np.testing.assert_array_equal(source.read(whole(source))[1], expected)
    assert source.summary.bands[0].nodata == value
    assert source.summary.warnings == ()


@pytest.mark.parametrize("value", [0, 65535])
def test_border_value_is_invalid_only_in_every_band(tmp_path: Path, value: int) -> None:
    """RELIABILITY row 17: without any tag, as orthomosaics leave it outside the flight."""
    numbers, expected = hole((scene() * 10000).astype("uint16"), value)
    expected[4, 7] = True
    source = open_msi(write(tmp_path / "field.tif", numbers), sensor="p4m", scale=5e-5)
    np.testing.assert_array_equal(source.read(whole(source))[1], expected)
    assert any(f"no nodata tag names ({value})" in text for text in source.summary.warnings)


def test_alpha_and_mask_band_make_pixels_invalid(tmp_path: Path) -> None:
    Y, valid = scene(), np.ones((40, 50), bool)
    valid[:9, :] = False
    alpha = np.concatenate([Y, np.where(valid, 255, 0)[None].astype("f4")])
    colours = ("gray", *["undefined"] * 4, "alpha")
    by_alpha = write(tmp_path / "alpha.tif", alpha, names=(*P4M, None), colours=colours)
    by_mask = write(tmp_path / "mask.tif", Y, mask=valid)
    for path in (by_alpha, by_mask):
        source = open_msi(path, sensor="p4m")
        np.testing.assert_array_equal(source.read(whole(source))[1], valid)
        assert source.summary.valid_fraction == valid.mean()


def test_zero_inside_a_stated_mask_is_a_dark_pixel(tmp_path: Path) -> None:
    Y = scene()
    Y[:, 3, 3] = 0
    path = write(tmp_path / "field.tif", Y, mask=np.ones((40, 50), bool))
    source = open_msi(path, sensor="p4m")
    assert source.read(whole(source))[1].all()


@pytest.mark.parametrize("value", [np.nan, -9999.0, 0.0])
def test_empty_scene_is_refused(tmp_path: Path, value: float) -> None:
    """RELIABILITY row 17."""
    path = write(tmp_path / "field.tif", np.full((5, 30, 30), value, "f4"))
    with pytest.raises(InputRefused, match="no valid pixel"):
        open_msi(path, sensor="p4m")


def test_valid_corner_of_a_large_empty_scene_is_found(tmp_path: Path) -> None:
    """RELIABILITY row 17: the sample misses it, the full search does not."""
    numbers = np.zeros((5, 1500, 1500), "f4")
    numbers[:, -20:, -20:] = scene(height=20, width=20)
    path = write(tmp_path / "field.tif", numbers, compress="deflate", tiled=True)
    source = open_msi(path, sensor="p4m")
    assert source.summary.valid_fraction_sampled
    assert source.read(Window(1480, 1480, 20, 20))[1].all()


def test_input_changed_during_the_run_is_noticed(tmp_path: Path) -> None:
    """RELIABILITY row 20."""
    path = write(tmp_path / "field.tif", scene())
    source = open_msi(path, sensor="p4m")
    write(path, scene(seed=1, height=41))
    with pytest.raises(InputRefused, match="changed since"):
        source.read(Window(0, 0, 5, 5))


def test_envi_file_equals_the_geotiff(tmp_path: Path) -> None:
    Y = scene()
    path = write(tmp_path / "field.img", Y, driver="ENVI")
    source = open_msi(path, sensor="p4m")
    np.testing.assert_array_equal(source.read(whole(source))[0], Y)
    assert source.summary.driver == "ENVI"


def test_summary_goes_to_json_and_back(tmp_path: Path) -> None:
    path = write(tmp_path / "field.tif", scene(), nodata=float("nan"))
    summary = open_msi(path, sensor="p4m").summary.to_dict()
    again = json.loads(json.dumps(summary, allow_nan=False))
    assert again == summary
    assert again["bands"][0]["nodata"] == "nan"


def test_real_orchard_needs_only_the_sensor_option() -> None:
    source = open_msi(shared("fields/rededge3_orchard.tif"), sensor="rededge3")
    assert (source.width, source.height) == (1240, 926)
    assert "32768 = 100 %" in source.summary.scale_evidence
    assert any("--scale" in warning for warning in source.summary.warnings)
    values, valid = source.read(Window(300, 300, 128, 128))
    assert 0.02 < np.median(values[0][valid]) < np.median(values[4][valid]) < 0.7
