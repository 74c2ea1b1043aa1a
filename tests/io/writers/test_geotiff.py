"""Cubes are complete, readable by others, and appear under their name only then."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray
import spectral
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.shutil import copy as rasterio_copy

from uavssr.errors import IncompleteRun, OutputError
from uavssr.io.writers import atomic as output
from uavssr.io.writers import block_codec, block_file
from uavssr.io.writers.block_codec import BlockCodec, creation_options
from uavssr.io.writers.encoding import (
    NODATA,
    SCALE,
    CubeDtype,
    cube_bytes,
    quantise,
)
from uavssr.io.writers.formats import open_writer
from uavssr.io.writers.geotiff import GeoTiffWriter
from uavssr.io.writers.metadata import true_colour
from uavssr.io.writers.part_folder import remove_stale_parts
from uavssr.io.writers.raw_bytes import Packed
from uavssr.io.writers.target import CubeTarget
from uavssr.sensors import HEADWALL_NANO, WavelengthGrid
from uavssr.tiling import TileGrid, Window

UTM = CRS.from_epsg(32650).to_wkt()
TRANSFORM = (0.1, 0.0, 500000.0, 0.0, -0.1, 3000000.0)
GRID = WavelengthGrid.regular("test", 400.0, 1000.0, 13)
BLOCK = 32


def scene(height: int, width: int, bands: int = len(GRID)) -> np.ndarray:
    """Reflectance whose value is its place, so that a misplaced tile shows."""
    band, row, col = np.ogrid[:bands, :height, :width]
    return ((band * 7 + row * 3 + col) % 5000 * np.float32(SCALE)).astype(np.float32)


def new_sink(path: Path, *, height: int = 80, width: int = 100, **options: object) -> GeoTiffWriter:
    options = {"grid": GRID, "crs_wkt": UTM, "transform": TRANSFORM, "block": BLOCK} | options
    return open_writer(CubeTarget(path=path, height=height, width=width, **options))


def write_scene(path: Path, cube: np.ndarray, valid: np.ndarray, **options: object) -> Path:
    height, width = valid.shape
    with new_sink(path, height=height, width=width, **options) as out:
        for tile in TileGrid(height=height, width=width, tile=out.block):
            core = tile.core
            out.write(core, cube[:, core.rows, core.cols], valid[core.rows, core.cols])
        return out.finish()


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small cube of 270 bands."""
    path = tmp_path_factory.mktemp("nano") / "nano cube ü.tif"
    cube = scene(40, 50, len(HEADWALL_NANO))
    valid = np.ones((40, 50), bool)
    valid[3, 4] = False
    return write_scene(path, cube, valid, grid=HEADWALL_NANO, tags={"uavssr_version": "1"})


@pytest.mark.parametrize("shape", [(1, 1), (1, 77), (64, 96), (80, 101)])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_cube_reads_back_as_written(tmp_path: Path, shape: tuple[int, int], dtype: str) -> None:
    cube = scene(*shape)
    valid = np.random.default_rng(0).random(shape) < 0.8
    path = write_scene(tmp_path / "c.tif", cube, valid, dtype=dtype)
    with rasterio.open(path) as file:
        read = file.read(masked=True)
        assert file.crs == CRS.from_wkt(UTM)
        assert tuple(file.transform)[:6] == TRANSFORM
        assert file.scales == ((SCALE if dtype == "uint16" else 1.0),) * len(GRID)
    assert np.array_equal(~read.mask, np.broadcast_to(valid, cube.shape))
    factor = SCALE if dtype == "uint16" else 1.0
    assert np.abs(read.filled(0) * factor - np.where(valid, cube, 0)).max() < 1e-6
    assert [p.name for p in tmp_path.iterdir()] == ["c.tif"]


def test_rotated_south_up_and_local_crs_are_kept(tmp_path: Path) -> None:
    """Row 13."""
    local = 'LOCAL_CS["Local Coordinates (m)",UNIT["metre",1]]'
    for number, transform in enumerate([(0.1, 0.02, 5.0, 0.03, -0.1, 7.0), (0.2, 0, 1, 0, 0.1, 2)]):
        path = tmp_path / f"{number}.tif"
        write_scene(path, scene(5, 6), np.ones((5, 6), bool), transform=transform, crs_wkt=local)
        with rasterio.open(path) as file:
            assert tuple(file.transform)[:6] == transform
            assert file.crs == CRS.from_wkt(local)
    assert len(list(tmp_path.iterdir())) == 2


def test_file_has_the_promised_layout(nano: Path) -> None:
    """Row 29: BIGTIFF from the start."""
    assert nano.read_bytes()[:4] == b"II\x2b\x00"
    with rasterio.open(nano) as file:
        profile = file.profile
        assert file.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "2"
        assert (profile["interleave"], profile["compress"], profile["nodata"]) == (
            "band",
            "zstd",
            NODATA,
        )
        assert set(file.block_shapes) == {(256, 256)} or set(file.block_shapes) == {(BLOCK, BLOCK)}
        for colour, nm in (
            (ColorInterp.red, 650),
            (ColorInterp.green, 560),
            (ColorInterp.blue, 450),
        ):
            assert file.colorinterp.index(colour) == HEADWALL_NANO.nearest(nm)


def test_every_metadata_layer_holds_full_precision(nano: Path) -> None:
    centres = HEADWALL_NANO.centres
    with rasterio.open(nano) as file:
        envi = file.tags(ns="ENVI")
        assert [float(v) for v in envi["wavelength"].strip("{}").split(",")] == centres.tolist()
        assert [float(v) for v in envi["fwhm"].strip("{}").split(",")] == [6.0] * 270
        assert envi["wavelength_units"] == "Nanometers"
        assert envi["data_ignore_value"] == "65535"
        red, green, blue = true_colour(HEADWALL_NANO) or (0, 0, 0)
        assert envi["default_bands"] == f"{{{red + 1}, {green + 1}, {blue + 1}}}"
        assert file.tags()["uavssr_version"] == "1"
        for number, centre in enumerate(centres.tolist(), start=1):
            assert float(file.tags(number)["wavelength"]) == centre
            assert file.tags(number)["wavelength_units"] == "nm"
            assert float(file.tags(number)["fwhm"]) == 6.0
            imagery = file.tags(number, ns="IMAGERY")
            assert float(imagery["CENTRAL_WAVELENGTH_UM"]) == pytest.approx(
                centre / 1000, abs=1e-15
            )
            assert imagery["FWHM_UM"] == "0.0060"
            assert file.descriptions[number - 1] == f"{centre:.1f} nm"
    assert list(nano.parent.glob("*.xml")) == []


def test_rioxarray_reads_values_and_wavelengths(nano: Path) -> None:
    with rioxarray.open_rasterio(nano, mask_and_scale=True) as cube:
        assert cube.shape == (270, 40, 50)
        assert float(cube[5, 7, 9]) == pytest.approx(scene(40, 50, 6)[5, 7, 9], abs=1e-6)
        assert bool(cube[:, 3, 4].isnull().all())
        assert cube.rio.crs == CRS.from_epsg(32650)
        assert cube.attrs["long_name"][0] == f"{HEADWALL_NANO.centres[0]:.1f} nm"


def test_envi_copy_opens_in_spectral_python(nano: Path, tmp_path: Path) -> None:
    rasterio_copy(nano, tmp_path / "copy.img", driver="ENVI")
    with rasterio.open(nano) as cube, rasterio.open(tmp_path / "copy.img", "r+") as copy:
        copy.update_tags(ns="ENVI", **cube.tags(ns="ENVI"))  # GDAL's copy leaves this domain out
    image = spectral.envi.open(str(tmp_path / "copy.hdr"), str(tmp_path / "copy.img"))
    assert image.shape == (40, 50, 270)
    assert image.bands.centers == HEADWALL_NANO.centres.tolist()
    assert image.bands.bandwidths == HEADWALL_NANO.fwhm.tolist()
    assert image.metadata["data ignore value"] == "65535"
    assert image[7, 9, 5] == round(float(scene(40, 50, 6)[5, 7, 9]) / SCALE)


def test_grid_without_visible_light_has_no_colours(tmp_path: Path) -> None:
    grid = WavelengthGrid.regular("nir", 750.0, 1000.0, 4)
    path = write_scene(tmp_path / "n.tif", scene(4, 4, 4), np.ones((4, 4), bool), grid=grid)
    with rasterio.open(path) as file:
        assert ColorInterp.red not in file.colorinterp
        assert "default_bands" not in file.tags(ns="ENVI")


def test_unwritten_windows_are_nodata_and_take_no_space(tmp_path: Path) -> None:
    with new_sink(tmp_path / "e.tif", height=600, width=600) as out:
        out.write(Window(64, 64, 32, 32), scene(32, 32), np.ones((32, 32), bool))
        path = out.finish()
    with rasterio.open(path) as file:
        assert file.overviews(1) == [4]
        read = file.read()
        assert (file.read(1, out_shape=(150, 150))[:16, :16] == NODATA).all()
        assert (file.read(1, out_shape=(150, 150))[16:24, 16:24] != NODATA).all()
    assert (read != NODATA).sum() == len(GRID) * 32 * 32
    assert path.stat().st_size < 150_000


@pytest.mark.parametrize(
    "window",
    [Window(1, 0, 32, 32), Window(0, 0, 31, 32), Window(0, 0, 32, 40), Window(64, 64, 32, 32)],
)
def test_window_of_broken_blocks_is_refused(tmp_path: Path, window: Window) -> None:
    shape = (window.height, window.width)
    with new_sink(tmp_path / "w.tif") as out, pytest.raises(ValueError, match=r"blocks|leaves"):
        out.write(window, scene(*shape), np.ones(shape, bool))
    assert list(tmp_path.iterdir()) == []


def test_not_finite_in_a_valid_pixel_names_the_window(tmp_path: Path) -> None:
    """Row 32."""
    cube = scene(32, 32)
    cube[4, 5, 6] = np.nan
    with new_sink(tmp_path / "f.tif") as out:
        with pytest.raises(IncompleteRun, match=r"row 32, column 64 .* 1 of 1024 valid") as caught:
            out.write(Window(32, 64, 32, 32), cube, np.ones((32, 32), bool))
        out.write(Window(0, 0, 32, 32), scene(32, 32), np.ones((32, 32), bool))
        path = out.finish()
    assert caught.value.exit_code == 6
    with rasterio.open(path) as file:
        assert (file.read()[:, 32:, 64:] == NODATA).all()


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, RuntimeError])
def test_leaving_without_finish_leaves_nothing(
    tmp_path: Path, error: type[BaseException] | None
) -> None:
    """Promise P1; row 26: an old output stays as it was."""
    old = tmp_path / "old.tif"
    old.write_bytes(b"precious")

    def leave() -> None:
        with new_sink(old, overwrite=True) as out:
            out.write(Window(0, 0, 32, 32), scene(32, 32), np.ones((32, 32), bool))
            if error:
                raise error

    with pytest.raises(error) if error else nullcontext():
        leave()
    assert old.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [old]


def test_sink_never_replaces_an_input(tmp_path: Path) -> None:
    """Row 26."""
    source = tmp_path / "in.tif"
    source.write_bytes(b"input")
    (tmp_path / "hard.tif").hardlink_to(source)
    with pytest.raises(OutputError, match="is the input"):
        new_sink(tmp_path / "hard.tif", overwrite=True, inputs=[source])


def test_overwrite_replaces_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "o.tif"
    path.write_bytes(b"old")
    write_scene(path, scene(8, 8), np.ones((8, 8), bool), overwrite=True)
    with rasterio.open(path) as file:
        assert file.count == len(GRID)


def test_silently_lost_block_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 25: a write that reports success and does nothing."""
    path = tmp_path / "lost.tif"
    path.write_bytes(b"old")
    with new_sink(path, overwrite=True) as out:
        out.write(Window(0, 0, 32, 32), scene(32, 32), np.ones((32, 32), bool))
        with monkeypatch.context() as patched:
            patched.setattr(block_file, "put_all", lambda *_: None)
            out.write(Window(0, 32, 32, 32), scene(32, 32), np.ones((32, 32), bool))
        out.write(Window(0, 64, 32, 32), scene(32, 32), np.ones((32, 32), bool))
        with pytest.raises(OutputError, match=r"row 0, column 32 not as written"):
            out.finish()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_failed_write_is_not_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows 24, 25: `finish` after an error that the caller swallowed."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with new_sink(tmp_path / "f.tif") as out:
        with monkeypatch.context() as patched:
            patched.setattr(block_file, "put_all", full)
            with pytest.raises(OutputError, match=r"No space left.*needs up to .* are free in"):
                out.write(Window(0, 0, 32, 32), scene(32, 32), np.ones((32, 32), bool))
        with pytest.raises(OutputError, match="not as written"):
            out.finish()
    assert list(tmp_path.iterdir()) == []


def test_other_failures_are_not_called_lack_of_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_codec, "_check_value", lambda *_: None)
    with pytest.raises(OutputError, match="PREDICTOR=3 is only supported") as caught:
        new_sink(tmp_path / "f.tif", creation_options={"PREDICTOR": "3"}).__enter__()
    assert "free" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_asked_for_where_gdal_drops_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 24: also where a quota is full though the disk is not."""

    def full(*_: object) -> int:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(output.os, "pwrite", full)
    error = output.write_failed(tmp_path / "c.tif", "TIFFAppendToStrip failed", needed_bytes=10)
    assert "TIFFAppendToStrip failed; Disk quota exceeded" in str(error)
    assert "free some space" in str(error)
    assert list(tmp_path.iterdir()) == []


def test_failed_read_back_names_space_only_where_little_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 25."""
    wrong = "size not as written when read back"
    assert "free" not in str(output.write_failed(tmp_path / "c.tif", wrong, needed_bytes=10**6))
    usage = output.shutil._ntuple_diskusage(10**9, 10**9 - 5000, 5000)
    monkeypatch.setattr(output.shutil, "disk_usage", lambda _: usage)
    error = output.write_failed(tmp_path / "c.tif", wrong, needed_bytes=10**6)
    assert "5.0 kB are free" in str(error)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("shape", [(600, 40), (70, 1100)])
def test_overviews_are_the_means_of_valid_pixels(
    tmp_path: Path, shape: tuple[int, int], dtype: str
) -> None:
    rng = np.random.default_rng(3)
    cube = rng.random((len(GRID), *shape), dtype=np.float32)
    valid = rng.random(shape) < 0.9
    valid[:48, :48] = False
    path = write_scene(tmp_path / "o.tif", cube, valid, dtype=dtype, block=48)
    numbers = np.where(valid, cube, np.nan).astype(float)
    with rasterio.open(path) as file:
        levels = file.overviews(1)
    for number, factor in enumerate(levels):
        with rasterio.open(path, OVERVIEW_LEVEL=number) as overview:
            read = overview.read(masked=True)
            assert set(overview.block_shapes) == {(48, 48)}
        step = factor if number == 0 else 2
        numbers = means(numbers, step)
        found = np.where(read.mask, np.nan, read.data * (SCALE if dtype == "uint16" else 1))
        assert found.shape == numbers.shape
        tolerance = 0.51 * SCALE * (number + 1) + SCALE / 2 if dtype == "uint16" else 1e-6
        assert np.array_equal(np.isnan(found), np.isnan(numbers))
        assert np.nanmax(np.abs(found - numbers)) < tolerance
    assert levels


def means(cube: np.ndarray, factor: int) -> np.ndarray:
    """Means of the finite numbers in squares, in float64."""
    margin = [(0, 0), *((0, -side % factor) for side in cube.shape[1:])]
    full = np.pad(cube, margin, constant_values=np.nan)
    bands, height, width = full.shape
    squares = full.reshape(bands, height // factor, factor, width // factor, factor)
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        return np.nanmean(squares, axis=(2, 4))


def test_overviews_are_those_of_gdal_to_a_count(tmp_path: Path) -> None:
    """The rounding is GDAL's, so that a copy made elsewhere looks the same."""
    cube, valid = scene(600, 520), np.random.default_rng(1).random((600, 520)) < 0.7
    path = write_scene(tmp_path / "o.tif", cube, valid)
    shutil.copy(path, tmp_path / "copy.tif")
    with rasterio.open(tmp_path / "copy.tif", "r+") as copy:
        copy.build_overviews([4], Resampling.average)
    read = []
    for each in (path, tmp_path / "copy.tif"):
        with rasterio.open(each, OVERVIEW_LEVEL=0) as overview:
            read.append(overview.read().astype(int))
    assert np.array_equal(read[0] == NODATA, read[1] == NODATA)
    assert np.abs(read[0] - read[1]).max() <= 1


@pytest.mark.parametrize("where", ["image", "overview", "table", "wavelength"])
def test_damage_before_the_end_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Row 25."""
    complete = GeoTiffWriter._complete

    def damage(self: GeoTiffWriter) -> None:
        complete(self)
        file = self._file
        if where == "wavelength":
            with rasterio.Env(GDAL_PAM_ENABLED="NO"), rasterio.open(self._part, "r+") as dataset:
                dataset.update_tags(3, wavelength="1")
            return
        level, row, col = key = (1, 0, 0) if where == "overview" else (0, 2, 3)
        (first, *_, offset), (*_, size) = file.tables[level][:, :6, row, col].tolist()
        if where == "table":
            file.tables[level][1, 5, row, col] += 1
            file.write_tables()
            file.tables[level][1, 5, row, col] -= 1
        else:
            place = offset + size // 2
            block_file.put(file._handle, bytes([file.read(key)[place - first] ^ 1]), place)

    monkeypatch.setattr(GeoTiffWriter, "_complete", damage)
    with new_sink(tmp_path / "m.tif", height=600, width=150) as out:
        for tile in TileGrid(height=600, width=150, tile=32):
            shape = tile.core.height, tile.core.width
            out.write(tile.core, scene(*shape), np.ones(shape, bool))
        said = {"wavelength": "band 3", "overview": "overview 1, block at row 0, column 0"}
        place = said.get(where, "block at row 64, column 96")
        with pytest.raises(OutputError, match=f"{place} not as written"):
            out.finish()
    assert list(tmp_path.iterdir()) == []


def test_block_that_gdal_decodes_otherwise_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that are as they were made, but were made wrongly."""
    made = BlockCodec.encode

    def wrong(self: BlockCodec, blocks: np.ndarray) -> list[Packed]:
        return made(self, blocks + 1)

    monkeypatch.setattr(BlockCodec, "encode", wrong)
    with new_sink(tmp_path / "m.tif") as out:
        out.write(Window(32, 32, 32, 32), scene(32, 32), np.ones((32, 32), bool))
        with pytest.raises(OutputError, match="row 32, column 32 not as written"):
            out.finish()


CHILD = """
import resource, sys
import numpy as np
sys.path.insert(0, {tests!r})
from test_geotiff import Path, Window, new_sink, scene
limit = int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
rng = np.random.default_rng(0)
with new_sink(Path(sys.argv[1]), height=512, width=512, overwrite=True) as out:
    for row in range(0, 512, 32):
        cube = rng.random((13, 32, 512), dtype=np.float32)
        out.write(Window(row, 0, 32, 512), cube, np.ones((32, 512), bool))
        print(row, flush=True)
    if sys.argv[3] == "wait":
        sys.stdin.read()
    out.finish()
"""


def child(path: Path, *, limit: int = 0, wait: bool = False) -> subprocess.Popen[str]:
    code = textwrap.dedent(CHILD).format(tests=str(Path(__file__).parent))
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path), str(limit), "wait" if wait else "go"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )


def test_kill_leaves_the_final_name_alone(tmp_path: Path) -> None:
    """Row 21, promise P1: kill -9 in the middle and at the end of the writing."""
    path = tmp_path / "k.tif"
    for last_row in ("96", "480"):
        with child(path, wait=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.strip() == last_row:
                    break
            process.send_signal(signal.SIGKILL)
            process.communicate()
        assert not path.exists()
    assert len(remove_stale_parts(path)) == 1  # the second run has removed those of the first
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> int:
    """Bytes of the child's file when nothing stops it."""
    path = tmp_path_factory.mktemp("whole") / "whole.tif"
    with child(path) as process:
        process.communicate()
    return path.stat().st_size


@pytest.mark.parametrize("share", [0.001, 0.5, 0.9999])
def test_full_disk_is_an_output_error_and_the_old_file_stays(
    tmp_path: Path, full_size: int, share: float
) -> None:
    """Row 24: at the start, in the middle, and while the metadata are written."""
    path = tmp_path / "full.tif"
    path.write_bytes(b"old")
    with child(path, limit=int(full_size * share)) as process:
        stderr = process.communicate()[1]
    assert process.returncode == 1
    assert "OutputError" in stderr.splitlines()[-1]
    assert "free in" in stderr
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_too_little_space_is_refused_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 24."""
    usage = output.shutil._ntuple_diskusage(10**9, 10**9 - 5000, 5000)
    monkeypatch.setattr(output.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match=r"needs up to 1\.\d MB, and 5\.0 kB are free") as caught:
        new_sink(tmp_path / "c.tif")
    assert caught.value.exit_code == 5
    assert list(tmp_path.iterdir()) == []


def test_stated_size_bounds_a_cube_of_noise(tmp_path: Path) -> None:
    cube = np.random.default_rng(0).random((13, 600, 600), dtype=np.float32) * 6
    path = write_scene(tmp_path / "n.tif", cube, np.ones((600, 600), bool))
    assert path.stat().st_size <= cube_bytes(600, 600, 13)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("interleave", ["BAND", "PIXEL"])
@pytest.mark.parametrize("compress", ["NONE", "DEFLATE", "ZSTD"])
def test_gdal_decodes_every_packing_to_what_was_written(
    tmp_path: Path, dtype: str, interleave: str, compress: str
) -> None:
    cube, valid = scene(70, 90), np.random.default_rng(0).random((70, 90)) < 0.9
    for predictor in ("1", "2") if dtype == "uint16" else ("1", "2", "3"):
        given = {"predictor": predictor, "compress": compress.lower(), "INTERLEAVE": interleave}
        given |= {"BIGTIFF": "NO", "NUM_THREADS": predictor, "BlockXSize": "32"}
        path = tmp_path / f"{predictor}.tif"
        write_scene(path, cube, valid, dtype=dtype, creation_options=given)
        assert path.read_bytes()[:4] == b"II\x2a\x00"
        with rasterio.open(path) as file:
            stored = quantise(cube, valid, dtype=dtype)
            assert np.array_equal(file.read(), stored, equal_nan=dtype == "float32")
            assert file.profile["interleave"] == interleave.lower()
            assert file.profile.get("compress", "none") == compress.lower()


@pytest.mark.parametrize("bands", [2, 3, 4])
def test_few_bands_keep_their_colours(tmp_path: Path, bands: int) -> None:
    """GDAL makes three bands RGB, and of four the last one alpha, unless it is told."""
    nm = np.array([450.0, 560.0, 650.0, 840.0])[4 - bands :]
    grid = WavelengthGrid("few", nm, np.full(bands, 6.0))
    path = write_scene(tmp_path / "f.tif", scene(8, 8, bands), np.ones((8, 8), bool), grid=grid)
    with rasterio.open(path) as file:
        assert file.count == bands
        assert ColorInterp.alpha not in file.colorinterp
        assert np.array_equal(file.read(), quantise(scene(8, 8, bands), np.ones((8, 8), bool)))
        assert file.read_masks(1).all()


def test_array_of_another_type_and_a_second_finish_are_refused(tmp_path: Path) -> None:
    with new_sink(tmp_path / "q.tif") as out:
        with pytest.raises(ValueError, match="float32"):
            out.write_quantised(Window(0, 32, 32, 32), scene(32, 32))
        out.finish()
        with pytest.raises(ValueError, match="not open"):
            out.finish()
    with pytest.raises(ValueError, match="not open"):
        out.write(Window(0, 0, 32, 32), scene(32, 32), np.ones((32, 32), bool))


def test_unreadable_crs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot read the CRS"):
        new_sink(tmp_path / "c.tif", crs_wkt="PROJCS[nonsense")


@pytest.mark.parametrize(
    ("dtype", "given", "level"),
    [
        ("uint16", {}, 1),
        ("float32", {}, -1),
        ("float32", {"ZSTD_LEVEL": "9"}, 9),
        ("uint16", {"COMPRESS": "DEFLATE"}, 6),
        ("uint16", {"COMPRESS": "DEFLATE", "ZLEVEL": "2"}, 2),
    ],
)
def test_levels_of_compression_suit_the_numbers_unless_one_is_given(
    dtype: CubeDtype, given: dict[str, str], level: int
) -> None:
    size = {"height": 8, "width": 8, "dtype": dtype, "grid": GRID}
    place = {"path": Path("c.tif"), "crs_wkt": UTM, "transform": TRANSFORM}
    target = CubeTarget(**place, **size, creation_options=given)
    assert BlockCodec.of(creation_options(target)).level == level
