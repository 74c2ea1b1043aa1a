"""One run per output: a lock that goes with its process, however that ends.

Must not know what is locked.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from uavssr.errors import OutputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A file that this process has locked.

    The system's own lock (flock) decides, and it ends with the process: one that a killed run or a
    power cut left behind is taken over without a word. What the file holds only names the holder.
    """

    path: Path
    """The file."""
    handle: int
    """Its descriptor, open as long as the lock is held."""

    @classmethod
    def take(cls, path: Path, *, output: Path) -> Lock:
        """Lock the file, which is made if need be, as is its folder.

        Args:
            path: the lock's file.
            output: what the lock is for, for the message.

        Raises:
            OutputError: another run holds it, and is named; or the file system knows no locks.
        """
        while True:
            _make_folder(path.parent)
            with suppress(FileNotFoundError):  # its holder has just removed the folder, too
                handle = _locked(path, output)
                if _still_there(handle, path):
                    break
                os.close(handle)  # its holder removed it while we opened it
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(_holder()).encode(), 0)
        return cls(path=path, handle=handle)

    def release(self) -> None:
        """Remove the file, then unlock it: whoever opened it meanwhile sees that it is gone."""
        self.path.unlink(missing_ok=True)
        os.close(self.handle)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as err:
        raise OutputError(f"cannot be made ({err.strerror})", path=folder) from err


def _locked(path: Path, output: Path) -> int:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except FileNotFoundError:
        raise
    except OSError as err:
        raise OutputError(f"cannot be locked ({err.strerror})", path=output) from err
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as err:
        said = _said_by(handle)
        os.close(handle)
        raise OutputError(
            f"another run is writing it: {said}",
            path=output,
            remedy="wait for it, stop it, or choose another name",
        ) from err
    except OSError as err:
        os.close(handle)
        raise OutputError(
            f"the file system of {path.parent.parent} has no locks ({err.strerror})",
            path=output,
            remedy="write to another disk",
        ) from err
    return handle


def _still_there(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _holder() -> dict[str, str | int]:
    since = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since}


def _said_by(handle: int) -> str:
    """Who holds the lock, as far as its file tells: it is empty for a moment after it is taken."""
    try:
        holder = json.loads(os.pread(handle, 4096, 0))
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "a process that has only just begun"
