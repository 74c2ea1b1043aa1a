"""The status of each field, and the file of JSON lines that can be read while a batch runs."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TextIO

from uavssr._version import __version__
from uavssr.errors import OutputExists, UavssrError
from uavssr.io.bounded import open_regular
from uavssr.io.writers import move_away, output_locked, write_failed
from uavssr.reconstruction import RunVerdict

State = Literal["running", "done", "skipped", "failed", "stopped"]
"""`skipped`: an earlier run of the very same options had finished it."""

_FIRST_BYTES: Final = b'{"batch": "uavssr'
"""Start of every status file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldStatus:
    """How far a field is."""

    number: int
    """Place in the batch, from 1."""
    image: str
    """First file of the image."""
    state: State
    """What has become of it."""
    seconds: float = 0.0
    """Seconds from its begin."""
    outputs: Mapping[str, Path] = field(default_factory=dict)
    """Files that were written, by kind."""
    verdict: RunVerdict | None = None
    """The verdict on the run; None unless it has finished."""
    warnings: tuple[str, ...] = ()
    """Warnings on the image."""
    error: UavssrError | None = None
    """Why it failed."""

    def to_dict(self) -> dict[str, object]:
        """The fields for JSON, with the time of day; empty ones are left out."""
        facts = {
            "field": self.number,
            "image": self.image,
            "state": self.state,
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "seconds": round(self.seconds, 2),
            "outputs": {kind: str(path) for kind, path in self.outputs.items()},
            "verdict": None if self.verdict is None else self.verdict.to_dict(),
            "warnings": list(self.warnings),
            "error": None if self.error is None else self.error.to_dict(),
        }
        return {name: value for name, value in facts.items() if value not in (None, {}, [])}


def count_states(statuses: Iterable[FieldStatus]) -> dict[str, int]:
    """The number of fields in each state in which a field can end."""
    counts = Counter(status.state for status in statuses)
    return {state: counts[state] for state in ("done", "skipped", "failed", "stopped")}


class StatusFile:
    """JSON lines: one on the batch, one when a field begins and one when it ends, a summary.

    Made by `status_file`.
    """

    def __init__(self, path: Path, file: TextIO) -> None:
        self._path, self._file = path, file

    def write(self, facts: Mapping[str, object]) -> None:
        """Add a line, which is in the file when this returns.

        Raises:
            OutputError: the system refused, a full disk most often.
        """
        try:
            self._file.write(json.dumps(facts) + "\n")
            self._file.flush()
        except OSError as err:
            raise write_failed(self._path, err.strerror, needed_bytes=4096) from err


@contextmanager
def status_file(path: Path, *, fields: int) -> Iterator[StatusFile]:
    """A status file in the place of an earlier batch's, locked against other batches.

    Raises:
        OutputExists: something else has its name.
        OutputError: another batch writes it, or it cannot be written.
    """
    with output_locked(path):
        if path.exists() and not _is_ours(path):
            raise OutputExists("is no status file of a batch", path=path, remedy=move_away(path))
        try:
            file = path.open("w", encoding="utf-8")
        except OSError as err:
            raise write_failed(path, err.strerror, needed_bytes=4096) from err
        with file:
            status = StatusFile(path, file)
            status.write({"batch": f"uavssr {__version__}", "fields": fields})
            yield status


def _is_ours(path: Path) -> bool:
    """Whether a file is empty, or begins as the status file of a batch."""
    try:
        with open_regular(path) as file:
            return file.read(len(_FIRST_BYTES)) in (b"", _FIRST_BYTES)
    except OSError:
        return False
