"""One run per output: a lock that ends with its process, however that ends."""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Final

from uavssr.errors import OutputError
from uavssr.io.writers.flock import lock_file
from uavssr.io.writers.ownership import move_away, read_regular

_FIRST_BYTES: Final = b'{"pid": '
"""Start of every lock that names its holder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A file that this process has locked.

    The system's own lock (flock) decides, and it ends with the process: one that a killed run or a
    power cut left behind is taken over without a word. The text in the file only names the holder.
    """

    path: Path
    """The locked file."""
    file: FileIO
    """Open as long as the lock is held: if an interrupt loses it, the lock is gone as well."""

    @classmethod
    def take(cls, path: Path, *, output: Path) -> Lock:
        """Lock a file, which is made if need be, and its folder too; errors name the `output`.

        Raises:
            OutputError: another run holds it, and is named; the file is no lock, which is left as
                it is; or the file system has no locks.
        """
        while True:
            try:
                path.parent.mkdir(exist_ok=True)
            except OSError as err:
                raise OutputError(f"cannot be made ({err.strerror})", path=path.parent) from err
            with suppress(FileNotFoundError):  # its holder has just removed the folder, too
                file = _opened(path, output)
                try:
                    _lock(file, path, output)
                    # Unless its holder removed it while we opened it:
                    if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                        since = time.strftime("%Y-%m-%dT%H:%M:%S%z")
                        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
                        file.truncate(0)
                        file.write(json.dumps(holder).encode())
                        return cls(path=path, file=file)
                except BaseException:
                    file.close()
                    raise
                file.close()

    def release(self) -> None:
        """Remove the file, then unlock it: whoever opened it meanwhile sees that it is gone.

        If its folder was moved away it stays there, and the next run takes it over.
        """
        with suppress(OSError):
            if os.path.samestat(os.fstat(self.file.fileno()), self.path.lstat()):
                self.path.unlink()
        self.file.close()


def _opened(path: Path, output: Path) -> FileIO:
    try:
        if not _is_ours(path):
            raise OutputError("is not a lock of uavssr", path=path, remedy=move_away(path))
        return FileIO(path, "a+", opener=_open_unfollowed)
    except FileNotFoundError:
        raise
    except OSError as err:
        raise OutputError(f"cannot be locked ({err.strerror})", path=output) from err


def _is_ours(path: Path) -> bool:
    """Whether a file is absent, or a lock of ours: one name, and no text but a holder's."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return True
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        return False
    text = read_regular(path)
    if text is None:  # its holder has just removed it, or it cannot be read
        return True
    return text.startswith(_FIRST_BYTES) or not text.strip(b"\0")  # zeros: a power cut


def _open_unfollowed(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)


def _lock(file: FileIO, path: Path, output: Path) -> None:
    try:
        lock_file(file, wait=False)
    except BlockingIOError as err:
        raise OutputError(
            f"another run is writing it: {_holder_named_in(file)}",
            path=output,
            remedy="wait for it, stop it, or choose another name",
        ) from err
    except OSError as err:
        raise OutputError(
            f"the file system of {path.parent.parent} has no locks ({err.strerror})",
            path=output,
            remedy="write to another disk",
        ) from err


def _holder_named_in(file: FileIO) -> str:
    """The holder of the lock; the file is empty just after the lock was taken."""
    try:
        holder = json.loads(os.pread(file.fileno(), 4096, 0))
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "a process that has only just begun"
