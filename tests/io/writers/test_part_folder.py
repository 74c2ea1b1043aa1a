"""Part folders: only what a run has made is removed, and only what it has seen is replaced."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.places import REPO
from uavssr.errors import OutputError
from uavssr.io.writers import atomic
from uavssr.io.writers.atomic import check_names, check_output, publish, replacing
from uavssr.io.writers.part_folder import part_folder, remove_stale_parts

KILLED = """
import os, signal, sys
from uavssr.io.writers.part_folder import part_folder
with part_folder(sys.argv[1]) as part:
    part.write_bytes(b"half")
    part.with_name(part.name + "-journal").mkdir()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_part_folder_of_a_killed_run_is_removed_and_one_in_use_is_not(tmp_path: Path) -> None:
    """Row 21: whatever process number the next run has, and on whatever machine."""
    out = tmp_path / "k.tif"
    environment = os.environ | {"PYTHONPATH": str(REPO)}
    subprocess.run([sys.executable, "-c", KILLED, str(out)], env=environment, check=False)
    (stale,) = tmp_path.iterdir()
    assert {path.name for path in stale.iterdir()} == {"k.tif", "k.tif-journal", "uavssr-part"}
    with part_folder(out) as part:
        assert not stale.exists()
        part.write_bytes(b"mine")
        assert remove_stale_parts(out) == []
        assert part.read_bytes() == b"mine"
        with part_folder(out) as other:
            assert other != part
    assert list(tmp_path.iterdir()) == []


REPLACED = """
import os, signal, sys
from pathlib import Path
from uavssr.io.writers import part_folder, publish_folder
out, rename = Path(sys.argv[1]), Path.replace
def rename_and_die(self, target):
    rename(self, target)
    os.kill(os.getpid(), signal.SIGKILL)
Path.replace = rename_and_die
with part_folder(out) as part:
    part.mkdir()
    publish_folder(part, out)
"""


@pytest.mark.parametrize("name", ["free", "taken"])
def test_folder_is_not_lost_by_a_kill_just_before_it_is_replaced(tmp_path: Path, name: str) -> None:
    """Row 21: the next run gives it its name back before it looks what exists."""
    out = tmp_path / "cube.zarr"
    out.mkdir()
    (out / "chunk").write_text("old")
    environment = os.environ | {"PYTHONPATH": str(REPO)}
    subprocess.run([sys.executable, "-c", REPLACED, str(out)], env=environment, check=False)
    assert not out.exists()
    if name == "taken":
        out.mkdir()
    with pytest.raises(OutputError, match="is no store of uavssr"):
        check_output(out)
    assert [path.name for path in out.iterdir()] == (["chunk"] if name == "free" else [])


def test_stop_before_or_at_the_mark_leaves_what_the_next_run_removes(tmp_path: Path) -> None:
    empty, started = tmp_path / ".k.tif.abcdefgh.part", tmp_path / ".k.tif.abcd_123.part"
    for folder in (empty, started):
        folder.mkdir()
    (started / "uavssr-part").write_bytes(b"part fol")
    assert sorted(remove_stale_parts(tmp_path / "k.tif")) == sorted([empty, started])


def test_what_is_not_provably_a_part_folder_is_left_as_it_is(tmp_path: Path) -> None:
    """Row 26, promise P8: names alone prove nothing."""
    out, home = tmp_path / "k.tif", tmp_path / "home"
    home.mkdir()
    (home / "thesis").write_text("mine")
    (tmp_path / ".k.tif.aaaaaaaa.part").symlink_to(home)
    (tmp_path / ".k.tif.bbbbbbbb.part").write_text("mine")
    (tmp_path / f".k.tif.{os.getpid()}.part.tif").write_text("mine")
    for name, mark in (("c", "mine"), ("d", ""), ("e", None)):
        folder = tmp_path / f".k.tif.{name * 8}.part"
        folder.mkdir()
        (folder / "thesis").write_text("mine")
        if mark is None:
            os.mkfifo(folder / "uavssr-part")
        else:
            (folder / "uavssr-part").write_text(mark)
    before = sorted(tmp_path.rglob("*"))
    with replacing(out, overwrite=False) as part:
        part.write_bytes(b"new")
    assert sorted(tmp_path.rglob("*")) == sorted([*before, out])
    assert (home / "thesis").read_text() == "mine"


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_file_that_appears_after_the_last_look_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Row 26, promise P8: the name is given by a link, which replaces nothing."""
    out, part, look = tmp_path / "a.tif", tmp_path / "part", atomic._check_existing
    part.write_bytes(b"ours")

    def look_and_lose(*arguments: object, **options: object) -> None:
        look(*arguments, **options)
        monkeypatch.setattr(atomic, "_check_existing", look)
        if kind == "file":
            out.write_bytes(b"mine")
        elif kind == "folder":
            out.mkdir()
        else:
            out.symlink_to("nowhere")

    monkeypatch.setattr(atomic, "_check_existing", look_and_lose)
    with pytest.raises(OutputError, match=r"exists|is a folder"):
        publish(part, out, overwrite=False)
    assert out.is_dir() if kind == "folder" else out.is_symlink() or out.read_bytes() == b"mine"


def test_name_is_given_on_a_file_system_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    with replacing(tmp_path / "a.tif", overwrite=False) as part:
        part.write_bytes(b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"new"]


@pytest.mark.parametrize("character", ["n", "光"])
def test_name_that_is_just_short_enough_works_and_one_byte_more_is_refused(
    tmp_path: Path, character: str
) -> None:
    """Row 45: with the number of bytes by which it must be shorter."""
    most = os.pathconf(tmp_path, "PC_NAME_MAX") - 15
    size = len(character.encode())
    names = {
        excess: stem + "x" * (most + excess - 4 - len(stem.encode())) + ".tif"
        for stem in (character * ((most - 4) // size - 3),)
        for excess in (0, 1, 7)
    }
    with replacing(tmp_path / names[0], overwrite=False) as part:
        part.with_name(f"{part.name}-journal").write_bytes(b"")
        part.write_bytes(b"new")
    for excess in (1, 7):
        with pytest.raises(OutputError, match=f"the name of the output by {excess} bytes"):
            atomic.check_output(tmp_path / names[excess])
    with pytest.raises(OutputError, match="by 2 bytes"):
        check_names([tmp_path / "a.tif", tmp_path / ("x" * (most + 2)), tmp_path / ("x" * most)])


def test_path_that_is_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 45: a relative name in a folder so deep that its absolute path is too long."""
    monkeypatch.chdir(tmp_path)
    while len(os.fsencode(Path.cwd())) < 4096 - 120:
        Path("d" * 60).mkdir()
        monkeypatch.chdir("d" * 60)
    with pytest.raises(OutputError, match=r"shorten the name of the output by \d+ bytes"):
        check_names([Path("a" * 40 + ".tif")])


@pytest.mark.parametrize("fate", ["moved", "removed", "replaced"])
def test_folder_that_goes_away_in_the_middle_is_named(tmp_path: Path, fate: str) -> None:
    """Row 44: the error names the folder, and nothing in one of the same name is touched."""
    folder, moved = tmp_path / "d", tmp_path / "e"
    folder.mkdir()

    def build() -> None:
        with replacing(folder / "a.tif", overwrite=False) as part:
            part.write_bytes(b"new")
            folder.rename(moved)
            if fate == "removed":
                shutil.rmtree(moved)
            elif fate == "replaced":
                folder.mkdir()
                (folder / "mine").touch()

    said = "cannot be completed" if fate == "replaced" else f"the folder {folder} was moved or"
    with pytest.raises(OutputError, match=said):
        build()
    if fate == "replaced":
        assert [path.name for path in folder.iterdir()] == ["mine"]
    assert fate == "removed" or remove_stale_parts(moved / "a.tif")
