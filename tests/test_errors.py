"""Errors are one line each, with the exit codes of docs/errors.md."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uavssr import errors
from uavssr.errors import InputRefused, UavssrError

CLASSES = [
    cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, Exception)
]


def documented_codes(repo: Path) -> dict[str, int]:
    """Class name to exit code, from the table in docs/errors.md."""
    text = (repo / "docs" / "errors.md").read_text(encoding="utf-8")
    return {
        name: int(code) for code, name in re.findall(r"^\| (\d+) \| `(\w+)` \|", text, re.MULTILINE)
    }


def test_documented_exit_codes_are_those_of_the_classes(repo: Path) -> None:
    assert documented_codes(repo) == {cls.__name__: cls.exit_code for cls in CLASSES}


def test_exit_codes_differ_and_leave_room_for_success_and_signals() -> None:
    codes = [cls.exit_code for cls in CLASSES]
    assert len(set(codes)) == len(codes)
    assert errors.Interrupted.exit_code == 128 + signal.SIGINT
    assert sum(1 <= code < 128 for code in codes) == len(codes) - 1


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_is_caught_by_its_base(cls: type[UavssrError]) -> None:
    with pytest.raises(UavssrError, match="a fact"):
        raise cls("a fact")


def test_message_contains_path_fact_and_remedy() -> None:
    error = InputRefused("no CRS", path=Path("field.tif"), remedy="pass --assume-crs EPSG:32650")
    assert str(error) == "field.tif: no CRS; pass --assume-crs EPSG:32650"
    assert (error.fact, error.path) == ("no CRS", Path("field.tif"))


@pytest.mark.parametrize(
    ("path", "remedy", "expected"),
    [
        (None, None, "no CRS"),
        ("a.tif", None, "a.tif: no CRS"),
        (None, "pass one", "no CRS; pass one"),
    ],
)
def test_message_without_path_or_remedy_has_no_extra_punctuation(
    path: str | None, remedy: str | None, expected: str
) -> None:
    assert str(InputRefused("no CRS", path=path, remedy=remedy)) == expected


@given(st.text(), st.text(), st.text())
def test_message_of_any_text_is_one_line(fact: str, path: str, remedy: str) -> None:
    assert len(str(InputRefused(fact, path=path, remedy=remedy)).splitlines()) <= 1
