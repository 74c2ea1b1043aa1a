"""Manifests: CSV tables with a header, read within bounds, whose problems are listed by line."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from uavssr.errors import InputRefused, printable
from uavssr.io.bounded import read_bytes, why_unread
from uavssr.io.checks import check_path_text

MAX_MANIFEST_BYTES: Final = 4 * 2**20
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
class ManifestTable:
    """The cells of a manifest."""

    names: tuple[str, ...]
    """Names of the columns in small letters."""
    rows: tuple[tuple[int, dict[str, str]], ...]
    """Line and filled cells, by column, of each row that has as many cells as the header."""
    problems: tuple[ManifestProblem, ...]
    """Rows with another number of cells."""


def read_manifest_table(path: Path) -> ManifestTable:
    """Read a manifest: UTF-8 with or without BOM, any line ends, commas, semicolons or tabs.

    Raises:
        InputRefused: not a file, not text, or too long.
        ManifestRefused: it is no CSV table.
    """
    names, table = _table(path, _text(path).split("\n"))
    rows: list[tuple[int, dict[str, str]]] = []
    problems: list[ManifestProblem] = []
    for line, cells in table:
        if len(cells) != len(names):
            count = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
            problems.append(ManifestProblem(line, f"has {count}, the header {len(names)}"))
            continue
        filled = {name: cell for name, cell in zip(names, cells, strict=True) if cell}
        rows.append((line, filled))
    return ManifestTable(names=tuple(names), rows=tuple(rows), problems=tuple(problems))


def header_problems(table: ManifestTable, known: Sequence[str]) -> Iterator[str]:
    """Columns that are unknown or appear twice, and a table without header or rows."""
    choices = ", ".join(known)
    if not table.names:
        yield f"is empty; write a header with columns of {choices}"
        return
    for name in dict.fromkeys(table.names):
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            remedy = f"did you mean {near[0]}? " if near else ""
            remedy += f"choose from {choices}"
            yield f"unknown column {name!r}; {remedy}"
        elif table.names.count(name) > 1:
            yield f"the column {name} appears {table.names.count(name)} times"


def _text(path: Path) -> str:
    check_path_text(str(path))
    try:
        text = read_bytes(path, MAX_MANIFEST_BYTES).decode("utf-8-sig")
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
