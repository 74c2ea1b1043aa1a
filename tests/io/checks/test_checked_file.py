"""Only complete, local, regular TIFF and ENVI files of a plausible size are opened."""

from __future__ import annotations

import os
import resource
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.rasters import TRANSFORM, UTM, scene, shared, write
from uavssr.errors import InputRefused
from uavssr.io.checks.checked_file import check_raster
from uavssr.io.msi.source import open_msi

Tag = tuple[int, int, int, int]
SHORT, LONG = 3, 4


def tiff(tags: list[Tag], *, following: int = 0, body: bytes = b"") -> bytes:
    """A classic little-endian TIFF of one directory of (tag, type, count, value)."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)
    return b"II*\0" + struct.pack("<I", 8) + directory + body


def image_tags(width: int, height: int, *, bands: int = 1) -> list[Tag]:
    return [
        (256, LONG, 1, width),
        (257, LONG, 1, height),
        (258, SHORT, 1, 8),
        (259, SHORT, 1, 1),
        (277, LONG, 1, bands),
        (278, LONG, 1, 1),
    ]


def strip_tags() -> list[Tag]:
    return [(273, LONG, 1, 8), (279, LONG, 1, 1)]


def tile_tags(side: int) -> list[Tag]:
    return [(322, LONG, 1, side), (323, LONG, 1, side), (324, LONG, 1, 8), (325, LONG, 1, 1)]


@pytest.fixture
def field(tmp_path: Path) -> Path:
    """Where a test writes the file that it opens."""
    return tmp_path / "field.tif"


@pytest.fixture
def requests() -> Iterator[tuple[int, list[str]]]:
    """The port of a local web server, and the requests it has seen."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815 - the name http.server asks for

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port, seen
        server.shutdown()
        thread.join()


def test_virtual_file_named_tif_makes_no_request(
    field: Path, requests: tuple[int, list[str]]
) -> None:
    """RELIABILITY row 1."""
    port, seen = requests
    field.write_text(
        '<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Byte" band="1">'
        f"<SimpleSource><SourceFilename>/vsicurl/http://127.0.0.1:{port}/a.tif</SourceFilename>"
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(InputRefused, match=r"virtual file \(VRT\)"):
        open_msi(field, sensor="p4m")
    for name in (f"http://127.0.0.1:{port}/a.tif", f"/vsicurl/http://127.0.0.1:{port}/a.tif"):
        with pytest.raises(InputRefused):
            open_msi(name, sensor="p4m")
    assert seen == []


@pytest.mark.parametrize(
    "name",
    [
        "",
        "http://example.org/a.tif",
        "s3://bucket/a.tif",
        "zip://a.zip!b.tif",
        "/vsicurl/example.org/a.tif",
        "/VSIZIP/a.zip/b.tif",
        "//vsimem/a.tif",
        "GTIFF_DIR:1:field.tif",
        "GTIFF_RAW:field.tif",
        "NETCDF:a.nc:b",
        "<VRTDataset/>",
        "a\0.tif",
    ],
)
def test_path_that_gdal_would_interpret_is_refused(name: str) -> None:
    """RELIABILITY row 2."""
    with pytest.raises(InputRefused) as caught:
        open_msi(name, sensor="p4m")
    assert caught.value.exit_code == 3
    assert "no such file;" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["GTIFF_DIR:1:field.tif", "zip!field.tif", "-field.tif", "ñ é.tif"]
)
def test_unusual_name_of_a_real_file_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "plain.tif", scene()).rename(tmp_path / name)
    assert open_msi(name, sensor="p4m").width == 50


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"I",
        b"II*\0\x08\0\0",
        b"II*\0\x08\0\0\0",
        b"II*\0\0\0\0\0",
        b"MM\0*\0\0\0\x08",
        b"II+\0\x08\0\0\0" + bytes(8),
        b"just some text that is long enough",
        b"\x89PNG\r\n\x1a\n" + bytes(50),
        b"%PDF-1.7" * 9,
        b"PK\x03\x04" + bytes(60),
    ],
)
def test_file_that_is_no_tiff_is_refused(field: Path, content: bytes) -> None:
    """RELIABILITY row 3."""
    field.write_bytes(content)
    with pytest.raises(InputRefused, match=r"field\.tif: "):
        check_raster(field)


LAYOUTS: dict[str, dict[str, object]] = {
    "strips": {},
    "tiles": {"tiled": True, "blockxsize": 32, "blockysize": 32},
    "deflate": {"tiled": True, "blockxsize": 32, "blockysize": 32, "compress": "deflate"},
    "planes": {"interleave": "band", "compress": "lzw"},
    "bigtiff": {"BIGTIFF": "YES", "compress": "zstd"},
    "big-endian": {"ENDIANNESS": "BIG"},
    "cog": {"driver": "COG", "compress": "deflate"},
}


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75, 0.999])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_truncated_file_is_refused_at_open(tmp_path: Path, layout: str, share: float) -> None:
    """RELIABILITY row 4."""
    path = write(tmp_path / "field.tif", scene(height=100, width=90), **LAYOUTS[layout])
    assert open_msi(path, sensor="p4m").height == 100
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputRefused):
        open_msi(path, sensor="p4m")


def test_truncated_envi_file_is_refused(tmp_path: Path) -> None:
    """RELIABILITY row 4, for raw files."""
    path = write(tmp_path / "field.img", scene(), driver="ENVI")
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(InputRefused, match="truncated"):
        check_raster(path)


@given(data=st.data())
def test_any_flipped_byte_is_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """RELIABILITY row 5: never another error than a refusal."""
    folder = tmp_path_factory.mktemp("flip")
    path = write(folder / "field.tif", scene(height=16, width=16), compress="deflate")
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        open_msi(path, sensor="p4m")
    except InputRefused:
        return


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        (tiff(image_tags(2**31, 2**31) + strip_tags()), "2147483648 x 2147483648"),
        (tiff(image_tags(0, 9) + strip_tags()), "nothing to read"),
        (tiff(image_tags(9, 9, bands=65535) + strip_tags()), "65535 bands"),
    ],
)
def test_impossible_size_is_refused_quickly(field: Path, content: bytes, fact: str) -> None:
    """RELIABILITY row 6; the bounds are ten times generous for a busy machine."""
    field.write_bytes(content)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()
    with pytest.raises(InputRefused, match=fact):
        open_msi(field, sensor="p4m")
    assert time.monotonic() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 200_000


def test_huge_tile_of_a_tiny_image_is_refused(field: Path) -> None:
    """RELIABILITY row 7."""
    field.write_bytes(tiff(image_tags(1, 1) + tile_tags(32768)))
    with pytest.raises(InputRefused, match=r"32768 x 32768 pixels, 1\.1 GB to decode"):
        check_raster(field)


def write_sparse(path: Path, *, side: int, **options: object) -> None:
    """A tiled GeoTIFF of `side x side` pixels, none of which is stored."""
    options |= {"driver": "GTiff", "tiled": True, "compress": "deflate", "SPARSE_OK": True}
    size = {"height": side, "width": side}
    rasterio.open(path, "w", crs=UTM, transform=TRANSFORM, **size, **options).close()


def test_sparse_file_needs_max_pixels(field: Path) -> None:
    """RELIABILITY row 8: 400 GB claimed by a file of a few MB."""
    side = 640_000
    write_sparse(field, side=side, count=1, dtype="uint8", blockxsize=2048, blockysize=2048)
    with pytest.raises(InputRefused, match=r"409\.6 GB once decoded.*--max-pixels 409600000000"):
        check_raster(field)
    assert check_raster(field, max_pixels=side * side).layout.pixels == side * side


def test_mostly_absent_file_is_refused_below_the_limit_of_pixels(field: Path) -> None:
    """RELIABILITY row 8, by the ratio of what is claimed to what is there."""
    write_sparse(field, side=20_000, count=5, dtype="uint16")
    with pytest.raises(InputRefused, match=r"mostly absent.*4.0 GB once decoded"):
        check_raster(field)


def test_loop_of_directories_is_refused(field: Path) -> None:
    """RELIABILITY row 9."""
    field.write_bytes(tiff(image_tags(1, 1) + strip_tags(), following=8))
    with pytest.raises(InputRefused, match="loop"):
        check_raster(field)


def test_million_tags_are_refused(field: Path) -> None:
    """RELIABILITY row 9."""
    field.write_bytes(b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 1_000_000) + bytes(1000))
    with pytest.raises(InputRefused, match="1000000 tags"):
        check_raster(field)


@pytest.mark.parametrize(
    ("make", "fact"),
    [
        (Path.mkdir, "is a directory"),
        (os.mkfifo, "is a FIFO"),
        (lambda path: path.symlink_to("gone.tif"), "a link to .*gone.tif', which does not exist"),
        (lambda path: path.symlink_to(path), "symbolic links"),
        (Path.exists, "no such file"),
    ],
)
def test_other_than_a_regular_file_is_refused_at_once(
    field: Path, make: Callable[[Path], object], fact: str
) -> None:
    """RELIABILITY row 10; a FIFO would hang the test."""
    make(field)
    with pytest.raises(InputRefused, match=fact):
        open_msi(field, sensor="p4m")


def test_device_is_refused() -> None:
    """RELIABILITY row 10."""
    with pytest.raises(InputRefused, match="is a device"):
        open_msi("/dev/zero", sensor="p4m")


def test_file_without_permission_is_refused(tmp_path: Path) -> None:
    """RELIABILITY row 10; root may read everything, so the child gives that up first."""
    path = write(tmp_path / "field.tif", scene())
    path.chmod(0)
    code = f"""
        import os
        from uavssr.errors import InputRefused
        from uavssr.io.checks.checked_file import check_raster
        try:
            os.seteuid(65534)
        except PermissionError:
            pass  # not root, or root in a container that may not change users
        if os.access({str(path)!r}, os.R_OK, effective_ids=True):
            print("may read everything")
        try:
            check_raster({str(path)!r})
        except InputRefused as err:
            print(err)
    """
    shown = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    if "may read everything" in shown.stdout:
        pytest.skip("this user may read every file and cannot become another one")
    assert "no permission to read it" in shown.stdout


def test_envi_header_instead_of_its_data_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = write(tmp_path / "field.img", scene(), driver="ENVI")
    with pytest.raises(InputRefused, match="give the data file"):
        check_raster(path.with_suffix(".hdr"))


@pytest.mark.parametrize("old", ["data type = 4", "samples = 50", "ENVI"])
def test_broken_envi_header_is_refused(tmp_path: Path, old: str) -> None:
    path = write(tmp_path / "field.img", scene(), driver="ENVI")
    header = path.with_suffix(".hdr")
    header.write_text(header.read_text().replace(old, "broken = 1", 1))
    with pytest.raises(InputRefused, match="ENVI header"):
        check_raster(path)


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    """RELIABILITY row 16."""
    path = write(tmp_path / "field.tif", scene().astype(np.complex64))
    with pytest.raises(InputRefused, match="complex"):
        check_raster(path)


def test_input_replaced_after_the_check_is_refused(tmp_path: Path) -> None:
    """RELIABILITY row 20."""
    path = write(tmp_path / "field.tif", scene())
    checked = check_raster(path)
    write(path, scene(height=41))
    with pytest.raises(InputRefused, match="changed since"):
        checked.open()


@pytest.mark.parametrize("name", ["fields", "p4m_raw", "rededge_raw"])
def test_real_files_pass(name: str) -> None:
    for path in sorted(p for p in shared(name).iterdir() if p.suffix.lower() == ".tif"):
        assert check_raster(path).layout.bands >= 1


@pytest.mark.parametrize("fate", ["changed", "removed"])
def test_header_that_changes_while_its_cube_is_open_is_noticed(tmp_path: Path, fate: str) -> None:
    """RELIABILITY row 20: the numbers stay, and their wavelengths or scale may be others."""
    path = write(tmp_path / "field.dat", scene(), driver="ENVI", names=None)
    checked = check_raster(path)
    assert checked.header is not None
    checked.check_unchanged()
    if fate == "changed":
        checked.header.write_text(checked.header.read_text() + "; edited\n")
    else:
        checked.header.unlink()
    with pytest.raises(InputRefused, match=r"header changed since|gone since"):
        checked.check_unchanged()


@pytest.mark.parametrize(
    ("name", "value"), [("GTIFF_IGNORE_READ_ERRORS", "YES"), ("GTIFF_POINT_GEO_IGNORE", "YES")]
)
def test_environment_of_gdal_changes_neither_pixels_nor_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """Row 5: GDAL would give zeros for a damaged block, or shift the image by half a pixel."""
    path = write(tmp_path / "in.tif", scene(height=64, width=64), compress="deflate")
    with rasterio.open(path, "r+") as file:
        file.update_tags(AREA_OR_POINT="Point")
    before = check_raster(path).open().transform
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 300] = bytes(255 for _ in range(300))
    damaged = tmp_path / "damaged.tif"
    damaged.write_bytes(data)
    monkeypatch.setenv(name, value)
    assert check_raster(path).open().transform == before
    with pytest.raises(rasterio.errors.RasterioError):
        check_raster(damaged).open().read()


def test_a_tiff_with_a_megabyte_of_metadata_items_is_refused(tmp_path: Path) -> None:
    """GDAL takes a minute to read a hundred thousand of them."""
    items = {f"item{number}": "v" * 20 for number in range(20_000)}
    path = write(tmp_path / "many.tif", np.ones((5, 16, 16), "f4"), tags=items)
    with pytest.raises(InputRefused, match="MB of GDAL metadata items, more than 1 MB"):
        check_raster(path)
    fewer = dict(list(items.items())[:2000])
    check_raster(write(tmp_path / "some.tif", np.ones((5, 16, 16), "f4"), tags=fewer))
