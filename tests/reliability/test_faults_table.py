"""The table of faults in docs/reliability.md and the tests that it names say the same."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROWS = range(1, 55)
_ROW = re.compile(r"^\| (\d+) \| (.+) \|$", re.MULTILINE)
_NAMED = re.compile(r"`(test_\w+)::(test_\w+)`")
_SAID = re.compile(r"\b[Rr]ows? (\d+(?:(?:,| and) \d+)*)")


def rows_of(docstring: str) -> set[int]:
    """The rows that a docstring says it shows."""
    return {int(n) for said in _SAID.findall(docstring) for n in re.findall(r"\d+", said)}


@pytest.fixture(scope="module")
def shown(repo: Path) -> dict[str, set[int]]:
    """The rows that each test says it shows, by `file::test`."""
    found = {}
    for path in sorted((repo / "tests").rglob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found[f"{path.stem}::{node.name}"] = rows_of(ast.get_docstring(node) or "")
    return found


@pytest.fixture(scope="module")
def table(repo: Path) -> dict[int, list[str]]:
    """The tests that the table names, by row."""
    text = (repo / "docs" / "reliability.md").read_text(encoding="utf-8")
    lines = text.partition("## Faults")[2]
    return {
        int(number): ["::".join(names) for names in _NAMED.findall(line)]
        for number, line in _ROW.findall(lines)
    }


def test_rows_are_read_from_docstrings() -> None:
    assert rows_of("Rows 5, 22 and 35, promise P1: row 4 too; 99 of 100.") == {4, 5, 22, 35}
    assert rows_of("At row 3.") == {3}
    assert rows_of("Nothing of 7.") == set()


@pytest.mark.parametrize("row", ROWS)
def test_every_fault_is_shown_by_a_test_that_names_it(
    row: int, table: dict[int, list[str]], shown: dict[str, set[int]]
) -> None:
    assert table[row]
    assert [name for name in table[row] if row not in shown.get(name, ())] == []


def test_table_has_no_other_rows(table: dict[int, list[str]]) -> None:
    assert list(table) == list(ROWS)
