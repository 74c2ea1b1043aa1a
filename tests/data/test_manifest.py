"""The manifest: every cell is parsed or refused with its line, whatever program wrote the file."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uavssr.data.manifest import file_sha256, read_manifest
from uavssr.data.manifest_row import COLUMNS, ManifestRow
from uavssr.errors import InputRefused
from uavssr.io.manifests import ManifestRefused
from uavssr.sensors import SENSORS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that manifests name."""
    for name in ("a.tif", "b.tif", "blue.tif", "red.tif", "cube", "other", "lib.npz"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "c.tif").write_bytes(b"c")
    return tmp_path


def manifest(folder: Path, text: str | bytes) -> Path:
    path = folder / "pairs.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def rows_of(folder: Path, text: str | bytes) -> tuple[ManifestRow, ...]:
    found = read_manifest(manifest(folder, text))
    assert found.problems == ()
    return found.rows


def problems_of(folder: Path, text: str | bytes) -> list[tuple[int, str]]:
    """Line and text of everything that is wrong."""
    path = manifest(folder, text)
    try:
        found = read_manifest(path).problems
    except ManifestRefused as err:
        found = err.problems
    return [(each.line, each.text) for each in found]


def only(folder: Path, text: str | bytes, line: int) -> str:
    """The only problem, which must be of this line."""
    found = problems_of(folder, text)
    assert [number for number, _ in found] == [line], found
    return found[0][1]


# --- accepted cells ---------------------------------------------------------------------------


def test_every_column_is_understood(folder: Path) -> None:
    text = (
        "msi,hsi,kind,split,group,sensor,bands,weight,msi_scale,hsi_scale\n"
        'a.tif,cube,pair,val,flight 1,P4M,"blue, green red|rededge nir",2.5,1/32768,0.0001\n'
    )
    (row,) = rows_of(folder, text)
    assert row == ManifestRow(
        line=2,
        kind="pair",
        msi=(folder / "a.tif",),
        hsi=folder / "cube",
        split="val",
        group="flight 1",
        sensor=SENSORS["p4m"],
        bands=("blue", "green", "red", "rededge", "nir"),
        weight=2.5,
        msi_scale="1/32768",
        hsi_scale="0.0001",
    )


def test_what_is_left_empty_has_its_default(folder: Path) -> None:
    cells = ",".join("" for _ in COLUMNS[2:])
    (row,) = rows_of(folder, f"{','.join(COLUMNS)}\na.tif,cube,{cells}\n")
    assert (row.kind, row.split, row.group, row.sensor, row.bands) == ("pair", None, "", None, None)
    assert (row.weight, row.msi_scale, row.hsi_scale) == (1.0, None, None)


def test_kinds_follow_from_the_cells_or_are_given(folder: Path) -> None:
    rows = rows_of(
        folder, "msi,hsi,kind\na.tif,cube,\n,other,\n,lib.npz,Spectra\nb.tif,cube,PAIR\n"
    )
    assert [row.kind for row in rows] == ["pair", "cube", "spectra", "pair"]
    assert [row.msi for row in rows[1:3]] == [(), ()]


def test_single_band_files_stand_in_one_cell(folder: Path) -> None:
    (row,) = rows_of(folder, "msi,hsi\nblue.tif | red.tif,cube\n")
    assert row.msi == (folder / "blue.tif", folder / "red.tif")


def test_files_of_a_row_are_those_named_and_the_headers_beside_them(folder: Path) -> None:
    (folder / "cube.hdr").write_text("ENVI")
    (row,) = rows_of(folder, "msi,hsi\na.tif,cube\n")
    assert row.files == (folder / "a.tif", folder / "cube", folder / "cube.hdr")


PLAIN = "msi,hsi,group\na.tif,cube,north\n,other,south\n"


@pytest.mark.parametrize(
    "raw",
    [
        PLAIN.encode("utf-8-sig"),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
        PLAIN.replace(",", ";").encode(),
        PLAIN.replace(",", "\t").encode(),
        PLAIN.replace(",", ";").replace("\n", "\r\n").encode("utf-8-sig"),
        PLAIN.rstrip("\n").encode(),
        PLAIN.replace("msi", " MSI ").replace("cube", ' "cube" ').replace('"', "").encode(),
    ],
    ids=["BOM", "CRLF", "CR", "semicolons", "tabs", "Excel", "no last newline", "blanks"],
)
def test_a_manifest_means_the_same_whatever_wrote_it(folder: Path, raw: bytes) -> None:
    """Row 37: BOM, CRLF and semicolons, as office programs write them, are understood."""
    assert rows_of(folder, raw) == rows_of(folder, PLAIN)


def test_blank_lines_are_skipped_and_lines_are_counted_as_in_an_editor(folder: Path) -> None:
    text = "\nhsi,group\n\ncube,\n,,\n , \nother,x,y\n"
    found = problems_of(folder, text)
    assert [line for line, _ in found] == [7]
    quoted = 'hsi,group\ncube,"one\ngroup"\nmissing,\n'
    assert only(folder, quoted, 4) == "hsi: 'missing' does not exist"


# --- paths ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "fact"),
    [
        ("../cube", "leaves the manifest's folder"),
        ("deep/../../cube", "leaves the manifest's folder"),
        ("deep/../cube", "leaves the manifest's folder"),
        ("..\\cube", "leaves the manifest's folder"),
        ("/etc/passwd", "absolute path outside the manifest's folder"),
        ("http://host/cube.tif", "URLs are not opened"),
        ("https:/host/cube.tif", "URLs are not opened"),
        ("s3://bucket/cube.tif", "URLs are not opened"),
        ("/vsicurl/http/cube.tif", "GDAL's virtual file systems"),
        ("GTIFF_DIR:1:cube", "driver prefix"),
        ("C:\\cube", "driver prefix"),
        ("<VRTDataset/>", "XML in place of a path"),
        ("cu\0be", "NUL character"),
        ("missing.tif", "does not exist"),
        ("deep", "is not a file"),
    ],
)
def test_a_path_that_leads_elsewhere_is_refused_with_its_line(
    folder: Path, cell: str, fact: str
) -> None:
    """Row 37: ../, absolute paths outside the folder, URLs, NUL."""
    assert fact in only(folder, f"hsi\ncube\n{cell}\n", 3)
    assert fact in only(folder, f"msi,hsi\na.tif|{cell},cube\n", 2)


def test_an_absolute_path_inside_the_folder_is_taken(folder: Path) -> None:
    (row,) = rows_of(folder, f"hsi\n{folder.absolute() / 'deep' / 'c.tif'}\n")
    assert row.hsi == folder.absolute() / "deep" / "c.tif"


def test_a_sensor_file_lies_in_the_folder_too(folder: Path) -> None:
    (folder / "mine.csv").write_text("role,centre,fwhm\ngreen,560,30\n")
    (row,) = rows_of(folder, "hsi,sensor\ncube,mine.csv\n")
    assert row.sensor is not None
    assert row.sensor.roles == ("green",)
    assert "leaves the" in only(folder, "hsi,sensor\ncube,../mine.csv\n", 2)
    assert "unknown sensor 'p5m'" in only(folder, "hsi,sensor\ncube,p5m\n", 2)


# --- other cells ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "cells", "fact"),
    [
        ("hsi,kind", "cube,cubes", "kind: unknown kind 'cubes'; choose pair, plots, cube, spectra"),
        ("hsi,kind", "cube,pair", "msi: is empty; name the image"),
        ("msi,hsi", "a.tif,", "hsi: is empty"),
        ("msi,hsi,kind", "a.tif,cube,cube", "msi: not allowed for kind cube"),
        ("hsi,bands", "cube,blue", "bands: not allowed for kind cube"),
        ("hsi,msi_scale", "cube,1", "msi_scale: not allowed for kind cube"),
        ("hsi,kind,group", "lib.npz,spectra,a", "group: not allowed for kind spectra"),
        (
            "hsi,kind,split",
            "lib.npz,spectra,val",
            "split: a spectral library cannot",
        ),
        ("hsi", "lib.npz", "choose kind spectra"),
        ("hsi,split", "cube,test", "split: unknown split 'test'; choose train or val"),
        ("hsi,weight", "cube,0", "weight: '0' is not a positive number"),
        ("hsi,weight", "cube,nan", "weight: 'nan' is not a positive number"),
        ("hsi,weight", "cube,inf", "weight: 'inf' is not a positive number"),
        ("hsi,weight", "cube,much", "weight: 'much' is not a positive number"),
        ("hsi,hsi_scale", "cube,1/0", "must be positive and finite"),
        ("hsi,hsi_scale", "cube,ten", "'ten' is no number"),
        ("hsi", "cube,more", "has 2 cells, the header 1"),
        ("hsi,split", "cube", "has 1 cell, the header 2"),
    ],
)
def test_a_cell_that_makes_no_sense_is_refused_with_its_line(
    folder: Path, columns: str, cells: str, fact: str
) -> None:
    assert fact in only(folder, f"{columns}\n\n{cells}\n", 3)


def test_all_problems_are_reported_at_once(folder: Path) -> None:
    text = "msi,hsi,split,weight\na.tif,missing,val,-1\n,cube,,\n../b.tif,other,dev,\n"
    found = read_manifest(manifest(folder, text))
    assert [(p.line, p.text.partition(":")[0]) for p in found.problems] == [
        (2, "hsi"),
        (2, "weight"),
        (4, "msi"),
        (4, "split"),
    ]
    assert [row.line for row in found.rows] == [3]


def test_duplicates_are_refused_and_name_both_lines(folder: Path) -> None:
    """Row 37: duplicates, also through a link."""
    (folder / "link.tif").symlink_to(folder / "a.tif")
    text = "msi,hsi\na.tif,cube\nb.tif,cube\na.tif,other\nlink.tif,cube\n"
    assert "same files as line 2" in only(folder, text, 5)


# --- the file -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "line", "fact"),
    [
        (b"", 1, "is empty; write a header with columns of msi, hsi"),
        (b"\n \n", 1, "is empty"),
        (b"\xef\xbb\xbf", 1, "is empty"),
        (b"msi,hsi\n", 1, "no row follows the header"),
        (b"msi,his\na.tif,cube\n", 1, "unknown column 'his'; did you mean hsi?"),
        (b"hsi,colour\ncube,red\n", 1, "unknown column 'colour'; choose from msi, hsi"),
        (b"hsi,hsi\ncube,cube\n", 1, "the column hsi appears 2 times"),
        (b"msi\na.tif\n", 1, "the column hsi is missing"),
        ("hsi\ncube\n".encode("utf-16"), 1, "not UTF-8 text"),
        (b"hsi\ncube\n\xff\xfe\n", 3, "not UTF-8 text"),
        (b'hsi\ncube\n"cube\n', 3, "cannot be read as CSV"),
        (b"hsi\n" + b"c" * 200_000, 2, "cannot be read as CSV"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused_with_the_line(
    folder: Path, raw: bytes, line: int, fact: str
) -> None:
    """Row 37: an empty file, and one that is not a table."""
    assert fact in problems_of(folder, raw)[0][1]
    assert problems_of(folder, raw)[0][0] == line


def test_what_is_no_file_is_refused(folder: Path) -> None:
    for name, fact in (("none.csv", "no such file"), ("deep", "is a directory, not a file")):
        with pytest.raises(InputRefused, match=fact):
            read_manifest(folder / name)
    huge = manifest(folder, b"hsi\n" + b"cube\n" * 900_000)
    with pytest.raises(InputRefused, match="bytes, more than the 4194304 allowed"):
        read_manifest(huge)


def test_the_error_lists_problems_by_line(folder: Path) -> None:
    path = manifest(folder, "hsi,colour,colour\ncube,,\n")
    with pytest.raises(ManifestRefused) as caught:
        read_manifest(path)
    assert caught.value.exit_code == 3
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path}: 1 problem"
    assert lines[1].startswith("  line 1: unknown column 'colour'")
    assert len(lines) == 2


@given(st.binary(max_size=200))
def test_any_bytes_are_a_manifest_or_refused(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(raw)
    try:
        found = read_manifest(path)
    except InputRefused:
        return
    assert found.rows or found.problems


@given(
    st.lists(st.lists(st.text(max_size=12), min_size=2, max_size=2), min_size=1, max_size=4),
)
def test_any_cells_are_understood_or_refused(
    tmp_path_factory: pytest.TempPathFactory, cells: list[list[str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "cells.csv"
    lines = ["hsi,split", *(",".join(row) for row in cells)]
    path.write_bytes("\n".join(lines).encode(errors="replace"))
    try:
        found = read_manifest(path)
    except InputRefused:
        return
    assert len(found.rows) + len({p.line for p in found.problems}) <= len(lines)


def test_the_digest_is_that_of_the_bytes(folder: Path) -> None:
    assert file_sha256(folder / "a.tif") == hashlib.sha256(b"a.tif").hexdigest()
    with pytest.raises(InputRefused, match="no such file"):
        file_sha256(folder / "none")


def test_the_manifest_in_the_documents_is_one(repo: Path, folder: Path) -> None:
    text = (repo / "docs/formats/training-data.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"<!-- manifest: pairs.csv -->\n```csv\n(.*?)```", text, re.DOTALL)
    for place in ("june", "july", "elsewhere"):
        (folder / place).mkdir()
    for name in ("june/field", "july/field", "elsewhere/cube"):
        for ending in (".tif", "_cube"):
            (folder / f"{name}{ending}").touch()
    (folder / "library.npz").touch()
    rows = rows_of(folder, block)
    assert [row.kind for row in rows] == ["pair", "pair", "cube", "spectra"]
    table = re.findall(r"^\| (`.*?`) \|", text[text.index("| column | meaning |") :], re.MULTILINE)
    named = [name for cell in table for name in re.findall(r"`(\w+)`", cell)]
    assert set(COLUMNS) <= set(named)
