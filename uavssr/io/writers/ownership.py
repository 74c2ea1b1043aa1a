"""Proof that a file is ours, before it is written, replaced or removed."""

from __future__ import annotations

import os
import shlex
import stat
from itertools import count
from pathlib import Path
from typing import Protocol


class ReplaceRule(Protocol):
    """Decides for each file whether it may be replaced."""

    def allows(self, path: Path) -> bool:
        """Whether the file at `path` may be replaced."""

    def record(self, part: Path, path: Path) -> None:
        """Remember the complete file `part`, just before it gets the name `path`."""


Replaceable = bool | ReplaceRule
"""Whether existing files may be replaced: all, none, or those that a rule allows."""


def may_replace(overwrite: Replaceable, path: Path) -> bool:
    """Whether a file at `path` may be replaced."""
    return overwrite if isinstance(overwrite, bool) else overwrite.allows(path)


def read_regular(path: Path) -> bytes | None:
    """Content of a regular file; None if it is absent, unreadable, a link, a FIFO or a folder."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(handle)


def move_away(path: Path) -> str:
    """The remedy for something that is not ours: a command that gives it a free name."""
    names = (f"{path}.old{number}" for number in count(1))
    free = next(name for name in names if not os.path.lexists(name))
    return f"move it away: {shlex.join(['mv', str(path), free])}"
