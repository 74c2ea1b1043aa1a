"""Proof that a file is ours, before it is written, replaced or removed."""

from __future__ import annotations

import os
import shlex
from itertools import count
from pathlib import Path
from typing import Final, Protocol

from uavssr.io.bounded import read_bytes

_MAX_BYTES: Final = 2**26
"""Largest record that is read; the scene's STF in `run.json` takes some hundred kilobytes."""


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
    """Content of a regular file; None if it is absent, unreadable, huge, or no regular file."""
    try:
        return read_bytes(path, _MAX_BYTES, follow=False)
    except (OSError, ValueError):
        return None


def move_away(path: Path) -> str:
    """The remedy for something that is not ours: a command that gives it a free name."""
    names = (f"{path}.old{number}" for number in count(1))
    free = next(name for name in names if not os.path.lexists(name))
    return f"move it away: {shlex.join(['mv', str(path), free])}"
