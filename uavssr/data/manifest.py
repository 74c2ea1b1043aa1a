"""The manifest of training data: a CSV file whose rows name images, cubes and spectral libraries.

All rows are read before any problem is reported, so that one error lists all of them. The files
that the rows name are not opened here.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from uavssr.data.manifest_row import COLUMNS, ManifestRow, parse_row
from uavssr.errors import InputRefused, printable
from uavssr.io.bounded import open_regular, read_bytes, why_unread
from uavssr.io.checks import check_path_text

MAX_BYTES: Final = 4 * 2**20
"""Largest manifest in bytes, since it is read whole."""


@dataclass(frozen=True, slots=True)
class ManifestProblem:
    """A problem in one line of the manifest."""

    line: int
    """Line of the file, counted from 1; the header is the first."""
    text: str
    """The fact and the remedy, one line."""


class ManifestRefused(InputRefused):
    """A manifest with one problem or more, a line each."""

    def __init__(self, path: Path, problems: Sequence[ManifestProblem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        count = len(self.problems)
        super().__init__(f"{count} problem{'s' if count > 1 else ''}", path=path)

    def __str__(self) -> str:
        lines = (f"\n  line {problem.line}: {printable(problem.text)}" for problem in self.problems)
        return super().__str__() + "".join(lines)


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
    names, table = _table(path, _text(path).split("\n"))
    wrong = list(_header_problems(names))
    if not wrong and not table:
        wrong = ["no row follows the header"]
    if wrong:
        raise ManifestRefused(path, [ManifestProblem(1, text) for text in wrong])
    rows: list[ManifestRow] = []
    problems: list[ManifestProblem] = []
    for line, cells in table:
        if len(cells) != len(names):
            count = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
            problems.append(ManifestProblem(line, f"has {count}, the header {len(names)}"))
            continue
        filled = {name: cell for name, cell in zip(names, cells, strict=True) if cell}
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


def _text(path: Path) -> str:
    check_path_text(str(path))
    try:
        text = read_bytes(path, MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = err.object[: err.start].count(b"\n") + 1
        fact = "not UTF-8 text; save it as CSV with UTF-8 encoding"
        raise ManifestRefused(path, [ManifestProblem(line, fact)]) from err
    except (OSError, ValueError) as err:
        raise InputRefused(why_unread(err, path), path=path) from err
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _table(path: Path, lines: list[str]) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the names of the columns, and the line and cells of each row that is not blank."""
    header = next((line for line in lines if line.strip()), "")
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=delimiter, strict=True)
    rows = []
    start = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((start, [cell.strip() for cell in cells]))
            start = reader.line_num + 1
    except csv.Error as err:
        text = f"cannot be read as CSV ({err})"
        raise ManifestRefused(path, [ManifestProblem(start, text)]) from err
    return [cell.lower() for cell in rows[0][1]] if rows else [], rows[1:]


def _header_problems(names: list[str]) -> Iterator[str]:
    choices = ", ".join(COLUMNS)
    if not names:
        yield f"is empty; write a header with columns of {choices}"
        return
    for name in dict.fromkeys(names):
        if name not in COLUMNS:
            near = difflib.get_close_matches(name, COLUMNS, 1)
            remedy = f"did you mean {near[0]}?" if near else f"choose from {choices}"
            yield f"unknown column {name!r}; {remedy}"
        elif names.count(name) > 1:
            yield f"the column {name} appears {names.count(name)} times"
    if "hsi" not in names:
        yield "the column hsi is missing; it names the cube or the library of each row"


def _duplicates(rows: Sequence[ManifestRow]) -> Iterator[ManifestProblem]:
    first: dict[tuple[Path, ...], int] = {}
    for row in rows:
        line = first.setdefault(tuple(path.resolve() for path in (*row.msi, row.hsi)), row.line)
        if line != row.line:
            text = f"names the same files as line {line}; use weight to draw a row more often"
            yield ManifestProblem(row.line, text)
