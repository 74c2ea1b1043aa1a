"""The journal gives back what it was given, or says that it has nothing: never something else."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uavssr.errors import OutputError
from uavssr.io.writers import atomic as output
from uavssr.io.writers.journal import Journal, _checksum, journal_path
from uavssr.io.writers.published import PublishedFiles
from uavssr.io.writers.tile_record import TileRecord

IDENTITY = {"version": "1", "--tile": "32", "input content": "abc"}
SCENE = {"stf": np.array([[0.1, 1 / 3]]), "condition": np.array(1e12), "flag": np.array([True])}


def record(
    index: int = 3, shape: tuple[int, int] = (5, 7), *, maps: int = 2, seed: int = 0
) -> TileRecord:
    rng = np.random.default_rng(seed)
    return TileRecord(
        index=index,
        valid=rng.random(shape) > 0.3,
        maps={"coefficients": rng.random((maps, *shape)).astype("f4")} if maps else {},
        stf={
            "stf": rng.random((2, 9)).astype("f4"),
            "condition": np.array(1 / 3),
            "prior_driven": np.array([True, False]),
        },
    )


def assert_same(one: TileRecord | None, two: TileRecord) -> None:
    assert one is not None
    assert one.index == two.index
    assert np.array_equal(one.valid, two.valid)
    for ours, theirs in ((one.maps, two.maps), (one.stf, two.stf)):
        assert list(ours) == list(theirs)
        for name, array in theirs.items():
            assert ours[name].dtype == array.dtype
            assert ours[name].shape == array.shape
            assert np.array_equal(ours[name], array)


def begun(out: Path, **options: bool) -> Journal:
    journal = Journal(out, **options).__enter__()
    if not journal.begun:
        journal.begin(IDENTITY, SCENE)
    return journal


def close(journal: Journal) -> None:
    journal.__exit__(None, None, None)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The output of a run that was stopped after tile 3."""
    out = tmp_path / "c.tif"
    journal = begun(out)
    journal.store("tile", record())
    close(journal)
    return out


# --- tiles ---------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    shape=st.tuples(st.integers(0, 20), st.integers(0, 20)),
    maps=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_records_come_back_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, int], maps: int, seed: int
) -> None:
    """Any size, none at all included, and scalars."""
    with Journal(tmp_path_factory.mktemp("j") / "c.tif") as journal:
        journal.begin(IDENTITY, SCENE)
        stored = record(7, shape, maps=maps, seed=seed)
        journal.store("tile", stored)
        assert_same(journal.load("tile", 7), stored)
        assert journal.finished("tile") == {7}
        assert journal.finished("stf") == set()
        assert journal.load("tile", 8) is None
        assert journal.load("stf", 7) is None
        journal.clear()


def test_stf_is_read_without_the_maps(kept: Path) -> None:
    """However large they are: damage to them is not even seen."""
    journal = begun(kept, resume=True)
    path = journal_path(kept) / "tile-0000003.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    assert journal.load("tile", 3) is None
    found = journal.load("tile", 3, maps=False)
    assert_same(found, TileRecord(index=3, valid=record().valid, stf=record().stf))
    close(journal)


def test_tile_file_cut_at_any_byte_counts_as_absent(kept: Path) -> None:
    """Row 22."""
    journal = begun(kept, resume=True)
    path = journal_path(kept) / "tile-0000003.npz"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert journal.load("tile", 3) is None, length
        assert journal.load("tile", 3, maps=False) is None, length
    path.write_bytes(whole + b"\0")
    assert journal.load("tile", 3) is None
    path.write_bytes(whole)
    assert_same(journal.load("tile", 3), record())
    close(journal)


def test_any_flipped_bit_counts_as_absent(kept: Path) -> None:
    """Row 22: one bit of every byte."""
    journal = begun(kept, resume=True)
    path = journal_path(kept) / "tile-0000003.npz"
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        assert journal.load("tile", 3) is None, place
    close(journal)


def test_damage_is_said_once_a_tile(kept: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = begun(kept, resume=True)
    path = journal_path(kept) / "tile-0000003.npz"
    path.write_bytes(b"")
    assert journal.load("tile", 3) is None
    assert (
        "tile-0000003.npz: damaged (not as written), so the tile is computed again" in caplog.text
    )
    close(journal)


def test_tile_of_another_run_or_place_counts_as_absent(kept: Path, tmp_path: Path) -> None:
    """Row 28: though it is whole."""
    other = tmp_path / "d.tif"
    with Journal(other) as journal:
        journal.begin(IDENTITY | {"--tile": "64"}, SCENE)
        journal.store("tile", record(4))
        shutil.copy(
            journal_path(other) / "tile-0000004.npz", journal_path(kept) / "tile-0000004.npz"
        )
        journal.clear()
    journal = begun(kept, resume=True)
    shutil.copy(journal_path(kept) / "tile-0000003.npz", journal_path(kept) / "tile-0000005.npz")
    assert journal.finished("tile") == {3, 4, 5}
    assert_same(journal.load("tile", 3), record(3))
    assert journal.load("tile", 4) is None
    assert journal.load("tile", 5) is None
    close(journal)


def test_full_disk_is_told_and_leaves_no_half_tile(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 24."""
    journal = begun(kept, resume=True)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(output.os, "fsync", full)
        with pytest.raises(OutputError, match=r"tile-0000009\.npz: writing failed \(No space left"):
            journal.store("tile", record(9))
    assert journal.finished("tile") == {3}
    assert {path.name for path in journal.folder.iterdir()} == {
        "uavssr-journal",
        "run.json",
        "lock",
        "tile-0000003.npz",
    }
    close(journal)


# --- the run -------------------------------------------------------------------------------------


def test_folder_stays_only_with_a_finished_tile(tmp_path: Path) -> None:
    out = tmp_path / "c.tif"
    with Journal(out) as journal:
        journal.begin(IDENTITY, SCENE)
        assert journal_path(out).is_dir()
    assert list(tmp_path.iterdir()) == []
    with Journal(out) as journal:
        journal.begin(IDENTITY, SCENE)
        journal.store("stf", record())
    names = {path.name for path in journal_path(out).iterdir()}
    assert names == {"uavssr-journal", "run.json", "stf-0000003.npz"}
    with Journal(out, resume=True) as journal:
        journal.clear()
    assert list(tmp_path.iterdir()) == []


def test_kept_run_needs_a_word(kept: Path) -> None:
    """It is neither gone on with nor thrown away unasked."""
    with pytest.raises(OutputError, match=r"kept in \.c\.tif\.uavssr; pass --resume .*--overwrite"):
        Journal(kept).__enter__()
    journal = begun(kept, resume=True)
    assert journal.begun
    assert journal.identity == IDENTITY
    assert {name: array.tolist() for name, array in journal.scene.items()} == {
        name: array.tolist() for name, array in SCENE.items()
    }
    close(journal)
    with Journal(kept, overwrite=True) as anew:
        assert not anew.begun
        assert anew.finished("tile") == set()


def test_resume_and_overwrite_together_go_on(kept: Path) -> None:
    journal = begun(kept, resume=True, overwrite=True)
    assert journal.finished("tile") == {3}
    close(journal)


def test_resume_without_a_run_begins_one(tmp_path: Path) -> None:
    with Journal(tmp_path / "c.tif", resume=True) as journal:
        assert not journal.begun


@pytest.mark.parametrize("name", IDENTITY)
def test_other_identity_is_refused_by_name_and_both_values(kept: Path, name: str) -> None:
    """Row 28."""
    journal = begun(kept, resume=True)
    fact = f"had {name} {IDENTITY[name]}, and this one has other; give the same again, or"
    with pytest.raises(OutputError, match=fact) as caught:
        journal.check(IDENTITY | {name: "other"})
    assert caught.value.exit_code == 5
    with pytest.raises(OutputError, match=f"had {name} {IDENTITY[name]}, and this one has unkn"):
        journal.check({key: value for key, value in IDENTITY.items() if key != name})
    journal.check(dict(reversed(IDENTITY.items())))
    close(journal)


def test_record_of_the_run_that_is_damaged_is_refused(kept: Path) -> None:
    """Row 22: cut at any byte, or changed by hand; only --overwrite goes on."""
    path = journal_path(kept) / "run.json"
    whole = path.read_bytes()
    by_hand = json.loads(whole)
    by_hand["identity"]["--tile"] = "64"
    newer = json.loads(whole) | {"format": 3}
    cuts = [whole[:length] for length in range(0, len(whole) - 1, 7)]
    changed = [json.dumps(run).encode() for run in (by_hand, newer, [])]
    for content in (*cuts, *changed, b"\xff"):
        path.write_bytes(content)
        with pytest.raises(OutputError, match=r"run\.json: the record .*; pass --overwrite"):
            Journal(kept, resume=True).__enter__()
    path.write_bytes(whole)
    close(begun(kept, resume=True))


@pytest.mark.parametrize("options", [{"resume": True}, {}])
def test_journal_of_0_1_0_is_refused_by_name(kept: Path, options: dict[str, bool]) -> None:
    """Its records had another format; --overwrite starts anew."""
    record_of_run = {"format": 1, "identity": IDENTITY, "scene": {}}
    text = json.dumps({"checksum": _checksum(record_of_run)} | record_of_run)
    (journal_path(kept) / "run.json").write_text(text)
    (journal_path(kept) / "tile-0000003.npz").rename(journal_path(kept) / "tile-0000003")
    (journal_path(kept) / "uavssr-journal").unlink()
    with pytest.raises(OutputError, match=r"begun by 0\.1\.0, .*; pass --overwrite to start anew"):
        Journal(kept, **options).__enter__()
    with Journal(kept, overwrite=True) as journal:
        assert not journal.begun
    assert not journal_path(kept).exists()


def test_what_a_killed_write_leaves_is_removed(kept: Path) -> None:
    """Row 21."""
    litter = journal_path(kept) / f"tile-0000008.npz{output.UNFINISHED}"
    litter.write_bytes(b"half")
    close(begun(kept, resume=True))
    assert not litter.exists()


def test_journal_is_for_one_run_at_a_time(kept: Path) -> None:
    """Row 27."""
    journal = begun(kept, resume=True)
    for options in ({"resume": True}, {"overwrite": True}, {}):
        with pytest.raises(OutputError, match="another run is writing it"):
            Journal(kept, **options).__enter__()
    assert_same(journal.load("tile", 3), record())
    close(journal)


# --- what is not ours ----------------------------------------------------------------------------

FOREIGN = {
    "a file": lambda path: path.write_bytes(b"a file"),
    "a FIFO": os.mkfifo,
    "a link to a journal": lambda path: path.symlink_to(journal_path(a_kept_run(path, "other"))),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a folder with a file": lambda path: fill(path, "thesis.txt"),
    "a folder with names like ours": lambda path: fill(path, "run.json", "tile-0000001.npz"),
    "a folder with a false mark": lambda path: fill(path, "uavssr-journal"),
    "a folder with a part of a mark": lambda path: fill(path, "uavssr-journal.unfinished"),
    "a lock that is a link": lambda path: link(fill(path), "lock"),
    "a lock that is a FIFO": lambda path: os.mkfifo(fill(path) / "lock"),
    "a record that is a FIFO": lambda path: os.mkfifo(fill(path) / "run.json"),
    "a journal with a record that is a FIFO": lambda path: journal_with(path, "publishing"),
    "a journal with a lock that is a link": lambda path: link(journal_with(path), "lock"),
    "a journal with a tile that is a link": lambda path: link(journal_with(path), "tile-1"),
    "a journal with a temporary that is a link": lambda path: link(
        journal_with(path), "uavssr-journal.unfinished"
    ),
}


def a_kept_run(beside: Path, name: str) -> Path:
    out = beside.with_name(name)
    with Journal(out) as journal:
        journal.begin(IDENTITY, SCENE)
        journal.store("tile", record())
    return out


def fill(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        (folder / name).write_text("mine")
    return folder


def link(folder: Path, name: str) -> None:
    target = folder.with_name("precious")
    target.write_text("precious")
    (folder / name).symlink_to(target)


def journal_with(folder: Path, fifo: str | None = None) -> Path:
    a_kept_run(folder, "c.tif")
    if fifo:
        os.mkfifo(folder / fifo)
    return folder


def contents(folder: Path) -> dict[str, object]:
    """Kind, content and time of all below a folder, without following links."""
    return {
        str(path): (
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else None,
        )
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_not_provably_a_journal_is_left_as_it_is(tmp_path: Path, kind: str) -> None:
    """Row 26: refused at once with a remedy that works, whatever was asked."""
    folder = journal_path(tmp_path / "c.tif")
    FOREIGN[kind](folder)
    before = contents(tmp_path)
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(OutputError, match=r"journal of uavssr.*; move it away: ") as caught:
            Journal(tmp_path / "c.tif", **options).__enter__()
        assert contents(tmp_path) == before
    assert caught.value.exit_code == 5
    subprocess.run(shlex.split(caught.value.remedy.partition(": ")[2]), check=True)
    with Journal(tmp_path / "c.tif") as journal:
        journal.begin(IDENTITY, SCENE)


def test_file_that_another_added_to_a_journal_stays(kept: Path) -> None:
    added = journal_path(kept) / "notes.txt"
    added.write_text("mine")
    with Journal(kept, overwrite=True) as journal:
        journal.begin(IDENTITY, SCENE)
    assert [*journal_path(kept).iterdir()] == [added]


@pytest.mark.parametrize("damaged", ["uavssr-journal", "run.json"])
def test_mark_or_record_alone_proves_a_journal(kept: Path, damaged: str) -> None:
    """Row 22: one of them may be damaged."""
    (journal_path(kept) / damaged).write_bytes(b"")
    with Journal(kept, overwrite=True):
        pass
    assert not journal_path(kept).exists()


def test_only_the_very_file_that_a_run_published_may_be_replaced(kept: Path) -> None:
    """Row 26: by the run that resumes it; neither an edited file nor another of that name."""
    rule, file = PublishedFiles(cube=kept, overwrite=False, resume=True), kept.with_name("s.tif")
    journal = begun(kept, resume=True)
    file.write_text("mine")
    assert not rule.allows(file)
    part = kept.with_name("part")
    part.write_text("ours")
    rule.record(part, file)
    assert not rule.allows(file)
    part.replace(file)
    assert rule.allows(file)
    assert not PublishedFiles(cube=kept, overwrite=False, resume=False).allows(file)
    assert not PublishedFiles(cube=kept.with_name("d.tif"), overwrite=False, resume=True).allows(
        file
    )
    copy = shutil.copy2(file, kept.with_name("copy"))
    assert not rule.allows(copy)
    Path(copy).replace(file)
    assert not rule.allows(file)
    rule.record(file, file)
    with file.open("a") as text:
        text.write(", edited")
    assert not rule.allows(file)
    close(journal)
    (journal_path(kept) / "publishing").write_bytes(b"{damaged")
    assert not rule.allows(file)
