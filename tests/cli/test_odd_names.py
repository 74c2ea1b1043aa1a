"""Names that a terminal, rich or GDAL would misread: refused before any work, or they work."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

import pytest

from tests.helpers.commands import Run
from tests.helpers.models import P4M, tiny_model, tiny_msi
from tests.helpers.rasters import write
from uavssr.errors import InputRefused, printable


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scene in the folder `in`; the work takes place in an empty one beside it."""
    (tmp_path / "in").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    image = tiny_msi(P4M, 24, 32)[0].numpy()
    return write(tmp_path / "in" / "field.tif", image, tags={"sensor": "p4m"})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 正射 [red]", "plain ü 正射 [red]"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nb\tc\x7f", "a\\nb\\tc\\x7f"),
        (os.fsdecode(b"a\xff"), "a\\xff"),
        ("\u202efit.exe", "\\u202efit.exe"),
    ],
)
def test_text_is_shown_without_what_a_terminal_obeys(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert str(InputRefused("no CRS", path=text)) == f"{shown}: no CRS"


BAD = {
    "a\x1b]0;PWNED\x07.tif": "control character '\\\\x1b'",
    "a\nb.tif": "control character '\\\\n'",
    "a\u2028b.tif": "control character",
    os.fsdecode(b"a\xff.tif"): "bytes that are not UTF-8",
}


@pytest.mark.parametrize("name", BAD)
def test_name_that_not_every_library_can_use_is_refused_first(
    field: Path, model: Path, run: Run, name: str
) -> None:
    """Row 45: as input and as output; nothing is made."""
    options = ("--model", model, "--tile", 32)
    for ran in (
        run("reconstruct", field, "-o", name, *options),
        run("reconstruct", field, "-o", "o.tif", "--uncertainty", name, *options),
    ):
        assert ran.code == 5
        assert re.fullmatch(rf"uavssr: error: .*{BAD[name]}.*; choose another name.*\n", ran.err)
    assert not list(Path().iterdir())
    field.rename(name)
    for command in (("inspect", name), ("reconstruct", name, "-o", "o.tif", *options)):
        ran = run(*command)
        assert (ran.code, ran.out) == (3, "")
        assert re.fullmatch(rf"uavssr: error: .*{BAD[name]}.*; rename it\n", ran.err)
    assert list(Path().iterdir()) == [Path(name)]


@pytest.mark.parametrize(
    ("stem", "suffix"),
    [
        ("[red]x[b]:smile: %20 #1?a=b", ".tif"),
        ("~root$a'b\"c^", ".tif"),
        ("NETCDF:x", ".tif"),
        ("vrt::y", ".tif"),
        ("a!b.zip;{z}", ".tif"),
        ("HDF5:'[red]%20#?a;b!{z}", ".dat"),
        ("zip::~[red]%20#?a;b!{z}", ".zarr"),
    ],
)
def test_markup_prefixes_and_quotes_are_parts_of_a_name(
    field: Path, model: Path, run: Run, stem: str, suffix: str
) -> None:
    """Row 45: as input, as output of each format, and in figures; JSON holds them as they are."""
    image = field.rename(f"{stem}-in.tif")
    more = ("--quicklook", f"{stem}.png") if suffix == ".tif" else ()
    options = ("--model", model, "--tile", 32, "--wavelengths", "450,560,650,850", "--json", *more)
    ran = run("reconstruct", image, "-o", f"{stem}{suffix}", *options)
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["cube"] == f"{stem}{suffix}"
    made = {suffix, ".stf.nc", ".tiles.gpkg", *([".png"] if more else [])}
    made |= {".tif": {".qml"}, ".dat": {".dat.hdr", ".qml"}}.get(suffix, set())
    assert {path.name for path in Path().iterdir()} == {
        image.name,
        *(f"{stem}{end}" for end in made),
    }
    assert f"{stem}-in.tif" in run("inspect", image).out
    assert run("evaluate", f"{stem}{suffix}", f"{stem}{suffix}").code == 0


@pytest.mark.parametrize("mark", ["Blue [/b]", "Blue [red]", "Blue \x1b[31m", "Blue :smile:"])
def test_description_of_a_band_is_shown_literally(field: Path, run: Run, mark: str) -> None:
    image = tiny_msi(P4M, 24, 32)[0].numpy()
    names = (mark, "Green", "Red", "RedEdge", "NIR")
    write(field, image, names=names, tags={"sensor": "p4m"})
    ran = run("inspect", field, "--bands", "blue,green,red,rededge,nir")
    assert ran.code == 0
    assert "\x1b" not in ran.out + ran.err


def test_input_whose_name_is_nearly_too_long_is_read(field: Path, model: Path, run: Run) -> None:
    """Row 45: sidecars and headers, looked for by longer names, are just not there."""
    name = "正射影像_" + "多光谱" * 26 + ".tif"
    field.rename(name)
    assert len(name.encode()) == 251
    command = json.loads(run("inspect", name, "--json").out)["command"]
    assert run(*shlex.split(command)[1:], "--model", model, "--tile", "32", "--dry-run").code == 0
    ran = run("inspect", name, "--sensor", "s" * 300 + ".yaml")
    assert (ran.code, ran.err.count("\n")) == (2, 1)


def test_path_that_the_system_refuses_is_no_bug(
    field: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", "d\n")

    monkeypatch.setattr("uavssr.io.msi.inspect_msi", gone)
    ran = run("inspect", field)
    assert ran.code == 5
    assert ran.err.startswith("uavssr: error: d\\n: No such file or directory; ")
