"""One run per output: a lock that ends with its process, however that ends."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from uavssr.errors import OutputError


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
            OutputError: another run holds it, and is named; or the file system has no locks.
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
        """Remove the file, then unlock it: whoever opened it meanwhile sees that it is gone."""
        self.path.unlink(missing_ok=True)
        self.file.close()


def _opened(path: Path, output: Path) -> FileIO:
    try:
        return path.open("a+b", buffering=0)
    except FileNotFoundError:
        raise
    except OSError as err:
        raise OutputError(f"cannot be locked ({err.strerror})", path=output) from err


def _lock(file: FileIO, path: Path, output: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
