"""No output destroys an input, another run's file, or is left half done."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from uavssr.errors import OutputError
from uavssr.io.checks import size_text
from uavssr.io.writers import atomic as output
from uavssr.io.writers.atomic import (
    check_free_space,
    check_output,
    replacing,
    write_durably,
)


def test_existing_output_needs_overwrite(tmp_path: Path) -> None:
    """Row 26."""
    path = tmp_path / "a.tif"
    path.write_bytes(b"x")
    with pytest.raises(OutputError, match=r"a\.tif: exists; pass --overwrite"):
        check_output(path)
    check_output(path, overwrite=True)
    dangling = tmp_path / "dangling.tif"
    dangling.symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="exists"):
        check_output(dangling)


def test_output_that_is_an_input_is_always_refused(tmp_path: Path) -> None:
    """Row 26: itself, a hard link, a symbolic link."""
    source = tmp_path / "in.tif"
    source.write_bytes(b"input")
    (tmp_path / "hard.tif").hardlink_to(source)
    (tmp_path / "soft.tif").symlink_to(source)
    for name in ("in.tif", "hard.tif", "soft.tif", "../" + tmp_path.name + "/in.tif"):
        with pytest.raises(OutputError, match="is the input"):
            check_output(tmp_path / name, overwrite=True, inputs=[tmp_path / "gone", source])
    assert source.read_bytes() == b"input"


def test_unusable_places_are_refused(tmp_path: Path) -> None:
    """Row 26."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "file").write_bytes(b"")
    cases = {
        tmp_path: "is a folder",
        tmp_path / "missing" / "a.tif": "there is no folder",
        fifo: "neither a file",
        Path("/dev/null"): "neither a file",
        Path("/proc/a.tif"): "cannot write in /proc",
        tmp_path / "file" / "a.tif": "cannot be used|no folder",
        tmp_path / ("x" * 250 + ".tif"): "shorten the name of the output by 14 bytes",
        Path("/vsimem/a.tif"): "there is no folder",
        Path("https://example.org/a.tif"): "there is no folder",
        tmp_path / "nul\0.tif": "control character",
    }
    for path, fact in cases.items():
        with pytest.raises(OutputError, match=fact):
            check_output(path, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fifo", "file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder_is_refused(tmp_path: Path) -> None:
    """Row 26."""
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot write in"):
        check_output(tmp_path / "a.tif")
    tmp_path.chmod(0o700)


def test_too_little_space_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 24."""
    usage = output.shutil._ntuple_diskusage(10**9, 10**9 - 5000, 5000)
    monkeypatch.setattr(output.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match=r"needs up to 12\.0 GB, and 5\.0 kB are free") as caught:
        check_output(tmp_path / "c.tif", needed_bytes=12 * 10**9)
    assert caught.value.exit_code == 5
    check_output(tmp_path / "c.tif", needed_bytes=5000)
    assert list(tmp_path.iterdir()) == []


def test_replacing_leaves_the_old_file_on_error_and_no_litter(tmp_path: Path) -> None:
    """Promise P1."""
    path = tmp_path / "a.nc"
    path.write_bytes(b"old")

    def fail() -> None:
        with replacing(path, overwrite=True) as part:
            part.write_bytes(b"half")
            part.with_name(part.name + "-wal").write_bytes(b"sidecar")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == b"old"
    with replacing(path, overwrite=True) as part:
        part.write_bytes(b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_small_file_is_put_in_place_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 24: on a full disk the old one stays, and no temporary beside it."""
    path = tmp_path / "run.json"
    write_durably(path, b"one whole")
    assert path.read_bytes() == b"one whole"

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(output.os, "fsync", full)
    with pytest.raises(OutputError, match=r"run\.json: writing failed \(No space left on device"):
        write_durably(path, b"another")
    assert path.read_bytes() == b"one whole"
    assert list(tmp_path.iterdir()) == [path]


def test_room_is_asked_for_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 24."""
    usage = output.shutil._ntuple_diskusage(10**9, 0, 2 * 10**6)
    monkeypatch.setattr(output.shutil, "disk_usage", lambda _: usage)
    check_free_space(tmp_path / "c.tif", 2 * 10**6)
    with pytest.raises(OutputError, match=r"needs up to 3\.0 MB, and 2\.0 MB are free in"):
        check_free_space(tmp_path / "c.tif", 3 * 10**6)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (2.5e9, "2.5 GB")]
)
def test_sizes_are_told_in_units(count: float, text: str) -> None:
    assert size_text(count) == text
