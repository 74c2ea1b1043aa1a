"""Every format holds the same numbers, appears complete or not at all, and is read by others."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 - the .rio accessor
import spectral
import xarray as xr
from rasterio.crs import CRS

from uavssr.errors import IncompleteRun, OutputError, UsageError
from uavssr.io.hsi.cube import open_cube_source
from uavssr.io.writers.atomic import check_output
from uavssr.io.writers.encoding import NODATA, SCALE, quantise
from uavssr.io.writers.formats import check_format, open_writer
from uavssr.io.writers.metadata import true_colour
from uavssr.io.writers.part_folder import remove_stale_parts
from uavssr.io.writers.target import CubeTarget, Format
from uavssr.io.writers.tile_writer import TileWriter
from uavssr.sensors import WavelengthGrid
from uavssr.tiling import TileGrid, Window
from uavssr.viz.quicklook import read_preview

UTM = CRS.from_epsg(32650).to_wkt()
TRANSFORM = (0.1, 0.0, 500000.0, 0.0, -0.1, 3000000.0)
GRID = WavelengthGrid.regular("test", 400.0, 1000.0, 23)
BLOCK = 32
NAMES: dict[Format, str] = {
    "gtiff": "a.tif",
    "cog": "b.tif",
    "envi": "c.dat",
    "zarr": "d.zarr",
}
every_format = pytest.mark.parametrize("form", NAMES)


def scene(height: int, width: int, bands: int = len(GRID)) -> np.ndarray:
    """Reflectance whose value is its place, so that a misplaced tile shows."""
    band, row, col = np.ogrid[:bands, :height, :width]
    return ((band * 7 + row * 3 + col) % 5000 * np.float32(SCALE)).astype(np.float32)


def new_sink(path: Path, form: Format, *, height: int, width: int, **options: object) -> TileWriter:
    given = {"grid": GRID, "crs_wkt": UTM, "transform": TRANSFORM, "block": BLOCK} | options
    return open_writer(CubeTarget(path=path, format=form, height=height, width=width, **given))


def write_scene(path: Path, form: Format, cube: np.ndarray, valid: np.ndarray, **options) -> Path:
    """Tile by tile, in no order; tiles without a valid pixel are left out."""
    height, width = valid.shape
    tiles = list(TileGrid(height=height, width=width, tile=BLOCK))
    with new_sink(path, form, height=height, width=width, **options) as out:
        for index in np.random.default_rng(0).permutation(len(tiles)):
            rows, cols = tiles[index].core.rows, tiles[index].core.cols
            if valid[rows, cols].any():
                out.write(tiles[index].core, cube[:, rows, cols], valid[rows, cols])
        return out.finish()


def holed(height: int, width: int) -> np.ndarray:
    valid = np.random.default_rng(5).random((height, width)) < 0.8
    valid[:BLOCK, BLOCK : 2 * BLOCK] = False
    return valid


def read(path: Path, form: Format) -> np.ndarray:
    """The stored numbers as GDAL reads them."""
    name = f'ZARR:"{path}":/reflectance' if form == "zarr" else path
    with rasterio.open(name) as file:
        return file.read()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@every_format
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_gdal_reads_the_numbers_that_were_written(tmp_path: Path, form: Format, dtype: str) -> None:
    cube, valid = scene(70, 90), holed(70, 90)
    path = write_scene(tmp_path / NAMES[form], form, cube, valid, dtype=dtype)
    stored = quantise(cube, valid, dtype=dtype)
    assert np.array_equal(read(path, form), stored, equal_nan=dtype == "float32")
    assert files(tmp_path) == (["c.dat", "c.dat.hdr"] if form == "envi" else [NAMES[form]])


@every_format
def test_chosen_wavelengths_are_those_of_the_whole(tmp_path: Path, form: Format) -> None:
    chosen = [1, 5, 6, 17]
    cube, valid = scene(40, 50), np.ones((40, 50), bool)
    path = tmp_path / NAMES[form]
    write_scene(path, form, cube[chosen], valid, wavelengths=chosen)
    assert np.array_equal(read(path, form), quantise(cube, valid)[chosen])
    found = open_cube_source(path)
    assert np.array_equal(found.grid.centres, GRID.centres[chosen])
    assert np.array_equal(found.grid.fwhm, GRID.fwhm[chosen])


@every_format
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_our_own_reader_gets_reflectance_place_and_wavelengths(
    tmp_path: Path, form: Format, dtype: str
) -> None:
    cube, valid = scene(70, 90), holed(70, 90)
    path = write_scene(tmp_path / NAMES[form], form, cube, valid, dtype=dtype)
    found = open_cube_source(path)
    numbers, mask = found.read(Window(3, 20, 60, 65))
    part = (slice(3, 63), slice(20, 85))
    assert np.array_equal(mask, valid[part])
    assert np.nanmax(np.abs(numbers - cube[:, *part])) <= (1e-6 if dtype == "uint16" else 0)
    assert np.array_equal(np.isnan(numbers).all(0), ~mask)
    assert np.array_equal(found.grid.centres, GRID.centres)
    assert CRS.from_wkt(found.place.crs_wkt) == CRS.from_wkt(UTM)
    assert found.place.transform == pytest.approx(TRANSFORM, rel=1e-14)


@every_format
def test_threads_may_write_together(tmp_path: Path, form: Format) -> None:
    cube, valid = scene(192, 160), np.ones((192, 160), bool)
    tiles = list(TileGrid(height=192, width=160, tile=64))
    with new_sink(tmp_path / NAMES[form], form, height=192, width=160) as out:

        def work(part: list) -> None:
            for tile in part:
                c = tile.core
                out.write(c, cube[:, c.rows, c.cols], valid[c.rows, c.cols])

        threads = [threading.Thread(target=work, args=(tiles[i::3],)) for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        path = out.finish()
    assert np.array_equal(read(path, form), quantise(cube, valid))


@every_format
def test_same_window_again_replaces_it(tmp_path: Path, form: Format) -> None:
    valid = np.ones((32, 32), bool)
    with new_sink(tmp_path / NAMES[form], form, height=32, width=64) as out:
        out.write(Window(0, 0, 32, 32), scene(32, 32), valid)
        out.write(Window(0, 0, 32, 32), scene(32, 32) + np.float32(0.5), valid)
        with pytest.raises(ValueError, match="overlaps"):
            out.write(Window(0, 0, 32, 64), scene(32, 64), np.ones((32, 64), bool))
        path = out.finish()
    assert read(path, form)[0, 0, 0] == 5000


@every_format
def test_nothing_is_left_without_finish(tmp_path: Path, form: Format) -> None:
    """Promise P1."""
    with new_sink(tmp_path / NAMES[form], form, height=40, width=40) as out:
        out.write(Window(0, 0, 32, 32), scene(32, 32), np.ones((32, 32), bool))
        assert NAMES[form] not in files(tmp_path)
    assert files(tmp_path) == []


@every_format
def test_not_finite_in_a_valid_pixel_is_refused(tmp_path: Path, form: Format) -> None:
    """Row 32."""
    cube = scene(32, 32)
    cube[4, 5, 6] = np.nan
    with (
        new_sink(tmp_path / NAMES[form], form, height=32, width=32) as out,
        pytest.raises(IncompleteRun, match="row 0, column 0"),
    ):
        out.write(Window(0, 0, 32, 32), cube, np.ones((32, 32), bool))


@every_format
def test_flipped_bit_in_any_file_is_found_before_the_name_is_given(
    tmp_path: Path, form: Format
) -> None:
    """Row 25: whatever of the pixels is changed behind the writer's back."""
    rng, size = np.random.default_rng(4), {"height": 64, "width": 64}
    noise = rng.random((len(GRID), 64, 64), dtype=np.float32)
    for _ in range(6):
        with new_sink(tmp_path / NAMES[form], form, **size) as out:
            out.write(Window(0, 0, 64, 64), noise, np.ones((64, 64), bool))
            parts = [each for each in tmp_path.rglob("*") if each.is_file()]
            part = max(parts, key=lambda each: (each.stat().st_size, each.name))
            place = int(rng.uniform(0.5, 1) * part.stat().st_size)  # the rest is its header
            with part.open("r+b") as file:
                file.seek(place)
                byte = file.read(1)[0]
                file.seek(place)
                file.write(bytes([byte ^ 1 << int(rng.integers(8))]))
            with pytest.raises(OutputError, match="not as written when read back"):
                out.finish()
    assert files(tmp_path) == []


@every_format
def test_full_disk_is_an_output_error(
    tmp_path: Path, form: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 24."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with new_sink(tmp_path / NAMES[form], form, height=40, width=40) as out:
        with monkeypatch.context() as patched:
            for name in ("os.pwrite", "os.pwritev", "pathlib.Path.replace"):
                patched.setattr(name, full)
            with pytest.raises(OutputError, match=r"No space left on device.*free in"):
                out.write(Window(0, 0, 32, 32), scene(32, 32), np.ones((32, 32), bool))
        with pytest.raises(OutputError):
            out.finish()
    assert files(tmp_path) == []


@every_format
def test_output_that_appears_meanwhile_is_kept(tmp_path: Path, form: Format) -> None:
    """Row 27."""
    path = tmp_path / NAMES[form]
    with new_sink(path, form, height=40, width=40) as out:
        path.write_bytes(b"of another run")
        with pytest.raises(OutputError, match="exists"):
            out.finish()
    assert path.read_bytes() == b"of another run"
    assert files(tmp_path) == [path.name]


CHILD = """
import sys
import numpy as np
sys.path.insert(0, {tests!r})
from test_formats import Path, Window, new_sink, scene
path, form, last = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "finish"
with new_sink(path, form, height=512, width=512, overwrite=True) as out:
    cube = np.random.default_rng(0).random((23, 32, 512), dtype=np.float32)
    for row in range(0, 512, 32):
        out.write(Window(row, 0, 32, 512), cube, np.ones((32, 512), bool))
        if row == 256:
            print("half", flush=True)
    print("finish", flush=True)
    while True:
        out.finish() if last else sys.stdin.read()
        break
"""


@pytest.mark.parametrize("form", ["cog", "envi", "zarr"])
@pytest.mark.parametrize(("moment", "delay"), [("half", 0.0), ("finish", 0.0), ("finish", 0.03)])
def test_kill_leaves_the_name_absent_or_complete(
    tmp_path: Path, form: Format, moment: str, delay: float
) -> None:
    """Row 21, promise P1."""
    path = tmp_path / NAMES[form]
    code = textwrap.dedent(CHILD).format(tests=str(Path(__file__).parent))
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path), form, "finish"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == moment:
                break
        threading.Event().wait(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    if path.exists():
        cube = np.random.default_rng(0).random((23, 32, 512), dtype=np.float32)
        assert np.array_equal(read(path, form)[:, :32], quantise(cube, np.ones((32, 512), bool)))
    else:
        assert remove_stale_parts(path)
        assert files(tmp_path) == [] or files(tmp_path) == ["c.dat.hdr"]


# COG


def offsets(path: Path) -> list[np.ndarray]:
    """Offsets of the blocks of the image and of each overview, by band and place."""
    found = []
    with rasterio.open(path) as file:
        levels = len(file.overviews(1))
    for level in range(-1, levels):
        with rasterio.open(path, **({} if level < 0 else {"OVERVIEW_LEVEL": level})) as file:
            rows, cols = (-(-side // BLOCK) for side in file.shape)
            names = [f"BLOCK_OFFSET_{col}_{row}" for row in range(rows) for col in range(cols)]
            given = [
                [file.get_tag_item(name, "TIFF", bidx=band, ovr=None) for name in names]
                for band in file.indexes
            ]
            found.append(np.array([[int(each) for each in band if each] for band in given]))
    return found


def test_cog_has_the_order_that_its_validators_ask_for(tmp_path: Path) -> None:
    """Directories first, then the smallest overview, the next, and the image, each in its order."""
    cube, valid = scene(2100, 40), np.ones((2100, 40), bool)
    path = write_scene(tmp_path / "c.tif", "cog", cube, valid, tags={"uavssr_version": "1"})
    with rasterio.open(path) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.overviews(1) == [4, 8]
        assert file.profile["interleave"] == "band"
        assert file.tags()["uavssr_version"] == "1"
        assert file.tags(1, ns="IMAGERY")["CENTRAL_WAVELENGTH_UM"] == "0.4000"
        directories = [int(file.get_tag_item("IFD_OFFSET", "TIFF", bidx=1, ovr=n)) for n in (0, 1)]
        directories.insert(0, int(file.get_tag_item("IFD_OFFSET", "TIFF", bidx=1)))
    image, *overviews = offsets(path)
    assert directories == sorted(directories)
    assert all(np.all(np.diff(level, axis=1) > 0) for level in (image, *overviews))
    starts = [level.min() for level in (*overviews[::-1], image)]
    ends = [level.max() for level in (*overviews[::-1], image)]
    assert directories[-1] < starts[0]
    assert all(end < start for end, start in zip(ends, starts[1:], strict=False))
    raw = path.read_bytes()
    assert raw[16:].startswith(b"GDAL_STRUCTURAL_METADATA_SIZE=")
    first = int(image.min())
    size = int.from_bytes(raw[first - 4 : first], "little")  # the leader and the trailer
    assert raw[first + size - 4 : first + size] == raw[first + size : first + size + 4]


def test_cog_and_plain_file_hold_the_same_blocks(tmp_path: Path) -> None:
    cube, valid = scene(600, 70), holed(600, 70)
    for form in ("cog", "gtiff"):
        write_scene(tmp_path / NAMES[form], form, cube, valid)
    for options in ({}, {"OVERVIEW_LEVEL": 0}):
        with (
            rasterio.open(tmp_path / NAMES["cog"], **options) as cog,
            rasterio.open(tmp_path / NAMES["gtiff"], **options) as plain,
        ):
            assert np.array_equal(cog.read(), plain.read())


# ENVI


def test_spectral_python_reads_an_envi_cube(tmp_path: Path) -> None:
    cube, valid = scene(40, 50), np.ones((40, 50), bool)
    tags = {"uavssr_version": "1", "uavssr_input": "a {b}\n= c"}
    path = write_scene(tmp_path / "c.img", "envi", cube, valid, tags=tags)
    image = spectral.envi.open(str(tmp_path / "c.img.hdr"), str(path))
    assert image.shape == (40, 50, len(GRID))
    assert image.bands.centers == GRID.centres.tolist()
    assert image.bands.bandwidths == GRID.fwhm.tolist()
    assert image.scale_factor == 1 / SCALE
    assert image[7, 9, 5] == pytest.approx(cube[5, 7, 9], abs=1e-6)
    assert image.metadata["data ignore value"] == str(NODATA)
    assert image.metadata["interleave"] == "bsq"
    assert image.metadata["uavssr version"] == "1"
    assert image.metadata["uavssr input"] == "a b : c"
    shown = [str(index + 1) for index in true_colour(GRID) or ()]
    assert image.metadata["default bands"] == shown
    assert str(tmp_path) not in (tmp_path / "c.img.hdr").read_text()


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_gdal_reads_scale_nodata_and_place_of_an_envi_cube(tmp_path: Path, dtype: str) -> None:
    south_up = (0.2, 0, 7.0, 0, 0.2, 3.0)
    for number, transform in enumerate((TRANSFORM, south_up)):
        path = tmp_path / f"{number}.dat"
        cube, valid = scene(8, 9), np.ones((8, 9), bool)
        write_scene(path, "envi", cube, valid, transform=transform, dtype=dtype)
        with rasterio.open(path) as file:
            assert tuple(file.transform)[:6] == pytest.approx(transform, rel=1e-14, abs=1e-12)
            assert file.crs == CRS.from_wkt(UTM)
            assert file.scales[0] == (SCALE if dtype == "uint16" else 1)
            assert np.array_equal([file.nodata], [np.nan if dtype == "float32" else NODATA], True)
            nm = [float(file.tags(k)["wavelength"]) for k in file.indexes]
            assert nm == GRID.centres.tolist()


def test_geotransform_that_an_envi_header_cannot_hold_is_refused(tmp_path: Path) -> None:
    """Row 13."""
    sheared = (0.1, 0.02, 5.0, 0.05, -0.1, 7.0)
    sink = new_sink(tmp_path / "c.dat", "envi", height=40, width=40, transform=sheared)
    with pytest.raises(OutputError, match=r"cannot hold the geotransform.*--format gtiff"):
        sink.__enter__()
    assert files(tmp_path) == []


def test_header_of_an_envi_cube_is_an_output_too(tmp_path: Path) -> None:
    """Row 26."""
    header = tmp_path / "c.dat.hdr"
    header.write_text("precious")
    with pytest.raises(OutputError, match=r"c\.dat\.hdr: exists"):
        new_sink(tmp_path / "c.dat", "envi", height=40, width=40)
    (tmp_path / "in.tif").hardlink_to(header)
    inputs = {"overwrite": True, "inputs": [tmp_path / "in.tif"]}
    with pytest.raises(OutputError, match="is the input"):
        new_sink(tmp_path / "c.dat", "envi", height=40, width=40, **inputs)
    assert header.read_text() == "precious"
    cube, valid = scene(8, 8), np.ones((8, 8), bool)
    write_scene(tmp_path / "c.dat", "envi", cube, valid, overwrite=True)
    assert open_cube_source(tmp_path / "c.dat").height == 8


def test_envi_cubes_of_one_stem_keep_their_own_headers(tmp_path: Path) -> None:
    """GDAL and `open_cube_source` read both, although `c.hdr` describes a file of another size."""
    foreign = tmp_path / "c.hdr"
    foreign.write_text("ENVI\nsamples = 1\nlines = 1\nbands = 1\ndata type = 1\n")
    for name, size in (("c.dat", 8), ("c.img", 9)):
        cube, valid = scene(size, 9), np.ones((size, 9), bool)
        path = write_scene(tmp_path / name, "envi", cube, valid, dtype="float32")
        with rasterio.open(path) as file:
            assert np.array_equal(file.read(), cube.astype("f4"))
            assert float(file.tags(1)["wavelength"]) == GRID.centres[0]
        assert open_cube_source(path).grid.centres.tolist() == GRID.centres.tolist()
        image = spectral.envi.open(f"{path}.hdr")
        assert image.shape == (size, 9, len(GRID))
        assert image.bands.centers == GRID.centres.tolist()
    assert files(tmp_path) == ["c.dat", "c.dat.hdr", "c.hdr", "c.img", "c.img.hdr"]
    assert foreign.read_text().startswith("ENVI\nsamples = 1\n")


def test_header_of_another_envi_file_is_never_replaced(tmp_path: Path) -> None:
    """Row 26."""
    data, header = tmp_path / "c.bil", tmp_path / "c.hdr"
    data.write_bytes(b"1234")
    header.write_text("precious")
    with pytest.raises(OutputError, match=r"is the header of the input .*c\.bil"):
        check_output(header, overwrite=True, inputs=[data])
    with pytest.raises(OutputError, match=r"its header would replace that of c\.bil"):
        new_sink(tmp_path / "c", "envi", height=40, width=40, overwrite=True)
    assert header.read_text() == "precious"


# Zarr


def test_xarray_reads_a_zarr_cube_with_its_coordinates(tmp_path: Path) -> None:
    cube, valid = scene(70, 90), holed(70, 90)
    path = write_scene(tmp_path / "d.zarr", "zarr", cube, valid, tags={"uavssr_version": "1"})
    with warnings.catch_warnings(action="error"), xr.open_zarr(path, chunks=None) as found:
        assert found.reflectance.dims == ("wavelength", "y", "x")
        assert found.rio.crs == CRS.from_wkt(UTM)
        geotransform = found.spatial_ref.attrs["GeoTransform"].split()
        assert [float(each) for each in geotransform] == [500000, 0.1, 0, 3000000, 0, -0.1]
        assert found.wavelength.values.tolist() == GRID.centres.tolist()
        assert found.fwhm.values.tolist() == GRID.fwhm.tolist()
        assert found.x.values[:2] == pytest.approx([500000.05, 500000.15])
        assert found.attrs["uavssr_version"] == "1"
        numbers = found.reflectance.values
        assert found.reflectance.encoding["_FillValue"] == NODATA
    assert np.array_equal(np.isnan(numbers).all(0), ~valid)
    assert np.nanmax(np.abs(numbers - cube)) < 1e-6


def test_gdal_knows_the_place_of_a_zarr_cube(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "d.zarr", "zarr", scene(70, 90), holed(70, 90))
    with rasterio.open(f'ZARR:"{path}":/reflectance') as file:
        assert file.crs == CRS.from_wkt(UTM)
        assert tuple(file.transform)[:6] == pytest.approx(TRANSFORM, rel=1e-9, abs=1e-9)
        assert (file.nodata, file.scales[0]) == (NODATA, SCALE)


def test_rotated_zarr_cube_is_refused(tmp_path: Path) -> None:
    """Row 13: GDAL finds the place of a store by coordinates x and y, which need straight rows."""
    rotated = (0.1, 0.02, 5.0, 0.03, -0.1, 7.0)
    cube, valid = scene(8, 9), np.ones((8, 9), bool)
    with pytest.raises(OutputError, match="of a rotated image; use --format gtiff"):
        write_scene(tmp_path / "d.zarr", "zarr", cube, valid, transform=rotated)
    assert not list(tmp_path.iterdir())
    almost = (0.1, 1e-15, 5.0, -1e-15, -0.1, 7.0)
    path = write_scene(tmp_path / "d.zarr", "zarr", cube, valid, transform=almost)
    with xr.open_zarr(path, chunks=None) as found:
        assert found.x.size == 9


def test_lost_chunk_is_found(tmp_path: Path) -> None:
    """Row 25."""
    with new_sink(tmp_path / "d.zarr", "zarr", height=40, width=40) as out:
        out.write(Window(0, 0, 32, 32), scene(32, 32), np.ones((32, 32), bool))
        (out._part / "reflectance" / "1" / "0" / "0").unlink()
        with pytest.raises(OutputError, match="No such file"):
            out.finish()
    assert files(tmp_path) == []


def test_only_a_zarr_store_of_ours_is_replaced(tmp_path: Path) -> None:
    """Row 26."""
    cube, valid = scene(8, 8), np.ones((8, 8), bool)
    path = tmp_path / "d.zarr"
    size = {"height": 8, "width": 8}
    path.mkdir()
    with pytest.raises(OutputError, match="is no store of uavssr, or holds"):
        new_sink(path, "zarr", **size, overwrite=True)
    path.rmdir()
    write_scene(path, "zarr", cube, valid)
    with pytest.raises(OutputError, match="exists"):
        new_sink(path, "zarr", **size)
    write_scene(path, "zarr", cube + np.float32(0.1), valid, overwrite=True)
    assert read(path, "zarr")[0, 0, 0] == 1000
    note = path / "notes.txt"
    note.write_text("precious")
    with pytest.raises(OutputError, match="is no store of uavssr, or holds"):
        new_sink(path, "zarr", **size, overwrite=True)
    note.unlink()
    (tmp_path / "link.zarr").symlink_to(path)
    with pytest.raises(OutputError, match="is no store of uavssr, or holds"):
        new_sink(tmp_path / "link.zarr", "zarr", **size, overwrite=True)
    attributes = json.loads((path / ".zattrs").read_text())
    del attributes["uavssr_product"]
    (path / ".zattrs").write_text(json.dumps(attributes))
    with pytest.raises(OutputError, match="is no store of uavssr, or holds"):
        new_sink(path, "zarr", **size, overwrite=True)
    assert files(tmp_path) == ["d.zarr", "link.zarr"]


# Names and options


@pytest.mark.parametrize(
    ("name", "given", "meant"),
    [
        *(("a.tif", None, "gtiff"), ("a.TIFF", None, "gtiff"), ("a.zarr", None, "zarr")),
        *(("a.dat", None, "envi"), ("a.img", None, "envi"), ("a.tif", "cog", "cog")),
        ("a.tiff", "coefficients", "coefficients"),
    ],
)
def test_format_follows_from_the_name_or_the_option(
    name: str, given: str | None, meant: str
) -> None:
    assert check_format(name, given) == meant


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("a.png", None, r"no format is written under the suffix '\.png'"),
        ("a.hdr", None, "no format"),
        ("a", "gtiff", r"name it \.tif or \.tiff"),
        ("a.tif", "zarr", r"name it \.zarr"),
        ("a.zarr", "cog", "does not go with"),
        ("a.tif", "netcdf", "must be one of gtiff, cog, envi, zarr, coefficients"),
    ],
)
def test_name_of_another_format_is_refused(name: str, given: str | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_format(name, given)


@pytest.mark.parametrize("form", ["envi", "zarr"])
def test_creation_options_are_for_geotiff_files(tmp_path: Path, form: Format) -> None:
    options = {"creation_options": {"COMPRESS": "ZSTD"}}
    with pytest.raises(UsageError, match="--co sets options of GeoTIFF"):
        new_sink(tmp_path / NAMES[form], form, height=8, width=8, **options)


def test_needed_room_bounds_what_a_format_takes(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).random((len(GRID), 600, 600), dtype=np.float32) * 6
    for form, name in NAMES.items():
        with new_sink(tmp_path / name, form, height=600, width=600, block=64) as out:
            for tile in TileGrid(height=600, width=600, tile=64):
                rows, cols = tile.core.rows, tile.core.cols
                out.write(tile.core, noise[:, rows, cols], np.ones((600, 600), bool)[rows, cols])
            path = out.finish()
        inside = path.rglob("*") if path.is_dir() else [path]
        assert sum(each.stat().st_size for each in inside if each.is_file()) <= out.needed_bytes


# What is no store of ours


@every_format
def test_quicklook_sees_every_format(tmp_path: Path, form: Format) -> None:
    cube, valid = scene(40, 1200), np.ones((40, 1200), bool)
    valid[:, 600:660] = False
    path = write_scene(tmp_path / NAMES[form], form, cube, valid)
    preview = read_preview(path)
    assert preview.bands.shape == (4, 33, 1000)
    assert preview.metres_per_pixel == pytest.approx(0.12, rel=0.004)
    wanted = cube[list(preview.indices)].mean((1, 2))
    assert np.nanmean(preview.bands, axis=(1, 2)) == pytest.approx(wanted, rel=0.02)
    assert np.isnan(preview.bands[:, :, 510:540]).all()
    for spot in preview.spots(3):
        place = int((spot.y + 0.5) * 40 / 33), int((spot.x + 0.5) * 1.2)
        assert spot.spectrum == pytest.approx(cube[:, *place], abs=2e-3)
