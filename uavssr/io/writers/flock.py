"""The operating system's own lock on an open file, where it has one."""

from __future__ import annotations

import errno
from io import FileIO

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]


def lock_file(file: FileIO, *, wait: bool) -> None:
    """Lock an open file for this process alone; the lock ends with the file or the process.

    Raises:
        BlockingIOError: another process holds it, and `wait` is false.
        OSError: the system or the file system has no such lock.
    """
    if fcntl is None:
        raise OSError(errno.ENOLCK, "this operating system has no flock")
    fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
