"""The files to which a run has given their names: a resumed run replaces these and no others."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from uavssr.io.bounded import parse_json
from uavssr.io.writers.atomic import write_durably
from uavssr.io.writers.journal import PUBLISHING, journal_path
from uavssr.io.writers.ownership import read_regular


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFiles:
    """Rule for the outputs of one run: which existing files it may replace.

    The journal holds inode, size and modification time of each file that got its name. Whatever
    else has that name, of another run or of the user, is not replaced without `overwrite`.
    """

    cube: Path
    """The output whose journal has the record."""
    overwrite: bool
    """Whether every existing output may be replaced."""
    resume: bool
    """Whether files that the stopped run published may be replaced."""

    def allows(self, path: Path) -> bool:
        """Whether the file at `path` may be replaced."""
        if self.overwrite or not self.resume:
            return self.overwrite
        try:
            return _identity(path) in self._recorded().get(str(path.absolute()), [])
        except OSError:
            return False

    def record(self, part: Path, path: Path) -> None:
        """Remember the complete file `part`, just before it gets the name `path`.

        Raises:
            OutputError: the system refused, a full disk most often.
        """
        recorded, name = self._recorded(), str(path.absolute())
        recorded[name] = [*recorded.get(name, []), _identity(part)]
        write_durably(journal_path(self.cube) / PUBLISHING, json.dumps(recorded).encode())

    def _recorded(self) -> dict[str, list[list[int]]]:
        """Identities of the files that got each name, by absolute path."""
        text = read_regular(journal_path(self.cube) / PUBLISHING)
        try:
            return {name: list(files) for name, files in parse_json(text or b"{}").items()}
        except (ValueError, TypeError, AttributeError):  # damaged
            return {}


def _identity(path: Path) -> list[int]:
    """Inode, size and modification time in ns; not the device, whose number a restart changes."""
    status = path.lstat()
    return [status.st_ino, status.st_size, status.st_mtime_ns]
