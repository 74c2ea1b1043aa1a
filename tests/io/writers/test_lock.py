"""One run per output, whatever becomes of the run before."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.places import REPO
from uavssr.errors import OutputError
from uavssr.io.writers import lock as module
from uavssr.io.writers.lock import Lock

HOLD = """
import sys
from pathlib import Path
from uavssr.io.writers.lock import Lock

lock = Lock.take(Path(sys.argv[1]), output=Path("c.tif"))
print("held", flush=True)
sys.stdin.read()
"""

COUNT = """
import sys
from pathlib import Path
from uavssr.errors import OutputError
from uavssr.io.writers.lock import Lock

path, counter, taken = Path(sys.argv[1]), Path(sys.argv[2]), 0
while taken < 100:
    try:
        lock = Lock.take(path, output=path)
    except OutputError:
        continue
    counter.write_text(str(int(counter.read_text()) + 1))  # loses counts if two do it at once
    taken += 1
    lock.release()
"""


def python(code: str, *arguments: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(REPO)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_lock_is_held_until_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held = Lock.take(path, output=tmp_path / "c.tif")
    with pytest.raises(OutputError, match=rf"c\.tif: another run .* process {os.getpid()} on "):
        Lock.take(path, output=tmp_path / "c.tif")
    held.release()
    assert not path.exists()
    Lock.take(path, output=tmp_path / "c.tif").release()


def test_other_process_is_named_and_its_death_frees_the_lock(tmp_path: Path) -> None:
    """Row 27: exit 5 with the pid; a lock that kill -9 leaves behind is taken over."""
    path = tmp_path / "lock"
    holder = python(HOLD, path)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match=f"process {holder.pid} on .* since") as caught:
            Lock.take(path, output=tmp_path / "c.tif")
        assert caught.value.exit_code == 5
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    assert path.exists()
    held = Lock.take(path, output=tmp_path / "c.tif")
    assert json.loads(path.read_text())["pid"] == os.getpid()
    held.release()


def test_no_two_processes_ever_hold_it(tmp_path: Path) -> None:
    """Though each removes the file while the others open it."""
    path, counter = tmp_path / "lock", tmp_path / "counter"
    counter.write_text("0")
    running = [python(COUNT, path, counter) for _ in range(3)]
    for process in running:
        process.communicate(timeout=60)
    assert [process.returncode for process in running] == [0, 0, 0]
    assert counter.read_text() == "300"


def test_lock_file_without_a_name_is_still_a_lock(tmp_path: Path) -> None:
    """Between taking the lock and writing the name there is a moment."""
    path = tmp_path / "lock"
    held = Lock.take(path, output=path)
    path.write_text("")
    with pytest.raises(OutputError, match="a process that has only just begun"):
        Lock.take(path, output=path)
    held.release()


def test_file_system_without_locks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.raises(OutputError, match=r"no locks \(Operation not supported\); write to"):
        Lock.take(tmp_path / "lock", output=tmp_path / "c.tif")


def test_place_that_takes_no_lock_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be made"):
        Lock.take(tmp_path / "file" / "lock", output=tmp_path / "c.tif")


def test_folder_that_another_run_removes_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 27: between its making and the opening of the lock."""
    real, path = module.FileIO, tmp_path / "folder" / "lock"

    def late(*arguments: object, **options: object) -> object:
        monkeypatch.setattr(module, "FileIO", real)
        path.parent.rmdir()
        return real(*arguments, **options)

    monkeypatch.setattr(module, "FileIO", late)
    Lock.take(path, output=tmp_path / "c.tif").release()
    assert path.parent.exists()


@pytest.mark.parametrize("kind", ["file", "empty hard link", "link", "FIFO", "folder"])
def test_file_that_is_no_lock_is_left_as_it_is(tmp_path: Path, kind: str) -> None:
    """Row 26: refused with a remedy that works."""
    path, precious = tmp_path / "lock", tmp_path / "precious"
    precious.write_text("" if kind == "empty hard link" else "precious")
    {
        "file": lambda: path.write_text("precious"),
        "empty hard link": lambda: path.hardlink_to(precious),
        "link": lambda: path.symlink_to(precious),
        "FIFO": lambda: os.mkfifo(path),
        "folder": path.mkdir,
    }[kind]()
    before = path.lstat(), precious.read_text()
    with pytest.raises(OutputError, match=r"lock: is not a lock of uavssr; move it ") as caught:
        Lock.take(path, output=tmp_path / "c.tif")
    assert (path.lstat().st_mode, path.lstat().st_mtime_ns) == (
        before[0].st_mode,
        before[0].st_mtime_ns,
    )
    subprocess.run(shlex.split(caught.value.remedy.partition(": ")[2]), check=True)
    Lock.take(path, output=tmp_path / "c.tif").release()
    assert precious.read_text() == before[1]


@pytest.mark.parametrize("text", [b"", bytes(80), b'{"pid": 1, "ho'])
def test_lock_that_a_power_cut_damaged_is_taken_over(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "lock"
    path.write_bytes(text)
    Lock.take(path, output=tmp_path / "c.tif").release()
    assert not path.exists()
