"""The manifest of training data: a CSV file whose rows name images, cubes and spectral libraries.

All rows are read before any problem is reported, so that one error lists all of them. The files
that the rows name are not opened here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from uavssr.data.manifest_row import COLUMNS, ManifestRow, parse_row
from uavssr.errors import InputRefused
from uavssr.io.bounded import open_regular, why_unread
from uavssr.io.manifests import (
    ManifestProblem,
    ManifestRefused,
    header_problems,
    read_manifest_table,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest that was read."""

    path: Path
    """The file."""
    rows: tuple[ManifestRow, ...]
    """The rows without a problem, in order."""
    problems: tuple[ManifestProblem, ...]
    """The problems of the other rows."""


def read_manifest(path: Path) -> Manifest:
    """Read a manifest: UTF-8 with or without BOM, any line ends, commas, semicolons or tabs.

    Raises:
        InputRefused: not a file, not text, or too long.
        ManifestRefused: the header is wrong, or there are no rows.
    """
    table = read_manifest_table(path)
    wrong = list(header_problems(table, COLUMNS))
    if table.names and "hsi" not in table.names:
        wrong.append("the column hsi is missing; it names the cube or the library of each row")
    if not wrong and not table.rows and not table.problems:
        wrong = ["no row follows the header"]
    if wrong:
        raise ManifestRefused(path, [ManifestProblem(1, text) for text in wrong])
    rows: list[ManifestRow] = []
    problems = list(table.problems)
    for line, filled in table.rows:
        row, wrong_cells = parse_row(path.parent, line, filled)
        problems += (ManifestProblem(line, text) for text in wrong_cells)
        rows += [] if wrong_cells else [row]
    return Manifest(path=path, rows=tuple(rows), problems=(*problems, *_duplicates(rows)))


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal.

    Raises:
        InputRefused: it cannot be read.
    """
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except OSError as err:
        raise InputRefused(why_unread(err, path), path=path) from err


def _duplicates(rows: Sequence[ManifestRow]) -> Iterator[ManifestProblem]:
    first: dict[tuple[Path, ...], int] = {}
    for row in rows:
        line = first.setdefault(tuple(path.resolve() for path in (*row.msi, row.hsi)), row.line)
        if line != row.line:
            text = f"names the same files as line {line}; use weight to draw a row more often"
            yield ManifestProblem(row.line, text)
