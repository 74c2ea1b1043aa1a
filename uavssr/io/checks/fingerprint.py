"""Fingerprints of input files, by which a resumed run knows that they are the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from uavssr.errors import InputRefused
from uavssr.io.bounded import open_regular, why_unread

_PIECE_BYTES: Final = 2**14
_MAX_PIECES: Final = 256


class Fingerprint(NamedTuple):
    """Identity of one file: name, size, time and samples of its content."""

    name: str
    """File name without its folder, as a file may be moved."""
    size: int
    """Bytes."""
    mtime_ns: int
    """Time of the last modification in nanoseconds since 1970."""
    sha256: str
    """SHA-256 of at most 256 evenly spread pieces of 16 kB, the first and the last among them."""


def fingerprint(paths: Sequence[Path]) -> list[Fingerprint]:
    """The fingerprints of some files; each takes at most 4 MB of reading.

    Raises:
        InputRefused: a file cannot be read any more.
    """
    return [_fingerprint_of(Path(path)) for path in paths]


def _fingerprint_of(path: Path) -> Fingerprint:
    digest = hashlib.sha256()
    try:
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
            count = min(_MAX_PIECES, -(-status.st_size // _PIECE_BYTES))
            for i in range(count):
                file.seek(max(status.st_size - _PIECE_BYTES, 0) * i // max(count - 1, 1))
                digest.update(file.read(_PIECE_BYTES))
    except OSError as err:
        raise InputRefused(why_unread(err, path), path=path) from err
    return Fingerprint(path.name, status.st_size, status.st_mtime_ns, digest.hexdigest())
