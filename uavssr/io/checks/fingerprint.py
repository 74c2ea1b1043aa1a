"""What an input file was when a run began, to know it again. Must not decode it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from uavssr.errors import InputRefused

_PIECE: Final = 2**14
_PIECES: Final = 256


class Fingerprint(NamedTuple):
    """One file."""

    name: str
    """Without its folder: a file may be moved."""
    size: int
    """Bytes."""
    mtime_ns: int
    """When it was last written to."""
    sha256: str
    """Of at most 256 pieces of 16 kB, evenly spread, the first and the last among them."""


def fingerprint(paths: Sequence[Path]) -> list[Fingerprint]:
    """Each file by its name, size, time and samples of its content: read in a blink at any size.

    Raises:
        InputRefused: a file cannot be read any more.
    """
    return [_one(Path(path)) for path in paths]


def _one(path: Path) -> Fingerprint:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            status = path.stat()
            count = min(_PIECES, -(-status.st_size // _PIECE))
            for i in range(count):
                file.seek(max(status.st_size - _PIECE, 0) * i // max(count - 1, 1))
                digest.update(file.read(_PIECE))
    except OSError as err:
        raise InputRefused(f"cannot be read ({err.strerror})", path=path) from err
    return Fingerprint(path.name, status.st_size, status.st_mtime_ns, digest.hexdigest())
