"""Tables of field spectra and panels are read, and refused by messages that name the fault."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.places import REPO
from uavssr.errors import InputRefused
from uavssr.spectra.field_table import read_field_table, read_spectra_table

SPECTRA = "x,y,400,500.5,600\n10,20,0.1,0.2,0.3\n11,21,0.4,0.5,0.6\n"
PANELS = "name,x,y,radius,reflectance\ngrey,10,20,0.3,0.25\nwhite,11,21,0.3,0.75\n"


def table(folder: Path, text: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_spectra_have_a_column_per_wavelength(tmp_path: Path) -> None:
    found = read_field_table(table(tmp_path, SPECTRA))
    assert found.kind == "spectra"
    assert not found.geographic
    assert found.places.tolist() == [[10, 20], [11, 21]]
    assert found.radius.tolist() == [0, 0]
    assert found.nm.tolist() == [400, 500.5, 600]
    assert found.spectra.tolist() == [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]
    assert found.skipped == 0


def test_panels_are_alike_at_all_wavelengths(tmp_path: Path) -> None:
    found = read_field_table(table(tmp_path, PANELS))
    assert found.kind == "panels"
    assert found.radius.tolist() == [0.3, 0.3]
    assert found.nm[0] < 400
    assert found.nm[-1] > 1000
    assert found.spectra.tolist() == [[0.25, 0.25], [0.75, 0.75]]


def test_order_of_columns_case_and_bom_do_not_matter(tmp_path: Path) -> None:
    text = "﻿400 , LAT,500,Lon\r\n0.1,2,0.2,7\r\n\r\n"
    found = read_field_table(table(tmp_path, text))
    assert found.geographic
    assert found.places.tolist() == [[7, 2]]
    assert found.spectra.tolist() == [[0.1, 0.2]]


def test_scale_turns_per_cent_into_reflectance(tmp_path: Path) -> None:
    text = PANELS.replace("0.25", "25").replace("0.75", "75")
    assert read_field_table(table(tmp_path, text), scale=0.01).spectra[:, 0].tolist() == [
        0.25,
        0.75,
    ]


@pytest.mark.parametrize("cell", ["", " ", "nan", "7.5", "-0.2", "inf"])
def test_rows_without_a_possible_reflectance_are_left_out_and_counted(
    tmp_path: Path, cell: str
) -> None:
    text = SPECTRA + f"12,22,0.1,{cell},0.1\n"
    found = read_field_table(table(tmp_path, text))
    assert found.skipped == 1
    assert found.places.tolist() == [[10, 20], [11, 21]]


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("", "a header and a row"),
        ("x,y,reflectance\n", "a header and a row"),
        ("x,y,reflectance\n1,2\n", "row 1 has 2 cells, the header 3"),
        ("x;y;reflectance\n1;2;0,5\n", "row 1 has 2 cells, the header 1"),
        ("x,y\n1,2\n", "neither wavelengths nor the column 'reflectance'; its columns are x, y"),
        ("x,y,reflectance,500\n1,2,.5,.5\n", "both wavelengths and the column 'reflectance'"),
        ("reflectance\n0.5\n", "neither x,y nor lon,lat; its columns are reflectance"),
        ("x,lat,reflectance\n1,2,.5\n", "neither x,y nor lon,lat"),
        ("x,y,lon,lat,reflectance\n1,2,3,4,.5\n", "both x,y and lon,lat"),
        ("x,y,reflectance,albedo\n1,2,.5,.5\n", "column 'albedo' is unknown"),
        ("x,y,x,reflectance\n1,2,3,.5\n", "column 'x' comes twice"),
        ("x,y,500,600,550\n1,2,.1,.1,.1\n", "do not increase"),
        ("x,y,500,500.0\n1,2,.1,.1\n", "do not increase"),
        ("x,y,500\n1,2,.1\n", "1 wavelengths from 500 to 500 nm"),
        ("x,y,0.5,0.6\n1,2,.1,.1\n", "wavelengths from 0.5 to 0.6"),
        ("x,y,reflectance\n1,here,.5\n", "row 1 holds 'here'"),
        ("x,y,reflectance\n1,,.5\n", "row 1 has no coordinates"),
        ("x,y,radius,reflectance\n1,2,,.5\n", "row 1 has no radius"),
        ("x,y,radius,reflectance\n1,2,-1,.5\n", "a radius of -1 m"),
        ("x,y,reflectance\n1,2,50\n3,4,0.5\n", "1 of 2 rows miss a reflectance"),
        ("x,y,reflectance\n1,2,\n", "1 of 1 rows miss a reflectance"),
    ],
)
def test_ambiguous_table_is_refused(tmp_path: Path, text: str, fact: str) -> None:
    path = table(tmp_path, text)
    with pytest.raises(InputRefused) as refused:
        read_field_table(path)
    assert fact in refused.value.fact
    assert refused.value.path == path
    assert refused.value.remedy


@pytest.mark.parametrize("content", [b"\xff\xfe\x00x", b"x,y,reflectance\n1,2,\x00\n", b"\x89PNG"])
def test_files_that_are_no_tables_are_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputRefused):
        read_field_table(table(tmp_path, content))


def test_missing_files_folders_and_urls_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path, Path("/vsicurl/http://localhost/a.csv")):
        with pytest.raises(InputRefused):
            read_field_table(path)


def test_long_lists_of_columns_are_cut_in_the_message(tmp_path: Path) -> None:
    names = ",".join(f"{nm}" for nm in range(400, 900))
    text = f"x,{names}\n1,{','.join(['0.1'] * 500)}\n"
    with pytest.raises(InputRefused) as refused:
        read_field_table(table(tmp_path, text))
    assert len(str(refused.value)) < 400


def test_wavelengths_are_exact(tmp_path: Path) -> None:
    nm = np.linspace(397.865, 1001.51, 270)
    text = "x,y," + ",".join(map(repr, nm.tolist())) + "\n1,2," + ",".join(["0.5"] * 270) + "\n"
    assert np.array_equal(read_field_table(table(tmp_path, text)).nm, nm)


def test_tables_in_the_documentation_are_read(tmp_path: Path) -> None:
    formats = REPO / "docs/formats/references.md"
    text = formats.read_text(encoding="utf-8")
    found = re.findall(r"<!-- reference: (\S+) -->\n```csv\n(.*?)```", text, flags=re.DOTALL)
    kinds = {name: read_field_table(table(tmp_path, content, name)).kind for name, content in found}
    assert kinds == {"spectra.csv": "spectra", "panel.csv": "panels"}


@pytest.mark.parametrize(
    "heading", ["Wavelength", "wavelength (nm)", "nm", "Wavelengths", "", "WL"]
)
@pytest.mark.parametrize("plots", ["301,314,1068", "1,2,3", "A,B,400"])
def test_spectra_in_columns_are_refused_and_the_remedy_turns_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heading: str, plots: str
) -> None:
    """Field trials number their plots; such numbers are no wavelengths."""
    monkeypatch.chdir(tmp_path)
    path = Path("plots.csv")
    path.write_text(f"{heading},{plots}\n400,0.1,0.2,0.3\n410,0.2,0.3,0.4\n420.5,0.3,0.4,0.5\n")
    with pytest.raises(InputRefused, match="so its other columns are spectra") as caught:
        read_spectra_table(path)
    exec(str(caught.value.remedy).partition("as in Python: ")[2], {})  # noqa: S102 - our own text
    nm, spectra = read_spectra_table(Path("plots_rows.csv"))
    assert nm.tolist() == [400, 410, 420.5]
    np.testing.assert_allclose(spectra, [[0.1, 0.2, 0.3], [0.2, 0.3, 0.4], [0.3, 0.4, 0.5]])


@pytest.mark.parametrize("heading", ["plot", "name", "", "nm of the laser"])
def test_rows_of_spectra_with_numbers_of_plots_are_read(tmp_path: Path, heading: str) -> None:
    first = (1, 2) if heading in ("", "nm of the laser") else (301, 314)
    path = table(tmp_path, f"{heading},400,410\n{first[0]},0.1,0.2\n{first[1]},0.3,0.4\n")
    nm, spectra = read_spectra_table(path)
    assert nm.tolist() == [400, 410]
    assert spectra.tolist() == [[0.1, 0.2], [0.3, 0.4]]
