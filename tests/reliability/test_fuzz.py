"""A short run of scripts/fuzz.py: whatever a file holds, it is read or refused in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.fuzz import Kind, outcome, run
from tests.helpers.places import REPO
from uavssr.errors import InputRefused, UavssrError


def test_changed_files_of_every_kind_are_read_or_refused() -> None:
    """Row 5; `python scripts/fuzz.py --count 10000` is the long form."""
    command = [sys.executable, "scripts/fuzz.py", "--count", "144", "--seed", "1"]
    done = subprocess.run(command, cwd=REPO, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "144 files" in done.stdout


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, "read"),
        (InputRefused("no"), "refused"),
        (UavssrError("a bug"), "bad error UavssrError: a bug"),
        (KeyError("x"), "KeyError at "),
        (MemoryError(), "MemoryError at "),
    ],
)
def test_outcome_tells_a_refusal_from_a_fault(
    tmp_path: Path, error: Exception | None, said: str
) -> None:
    def read() -> None:
        if error is not None:
            raise error

    assert outcome(Kind(tmp_path / "any", read)).startswith(said)


def test_process_that_dies_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "any"
    path.write_bytes(b"some text")

    def read() -> None:
        if path.read_bytes() != b"some text":
            raise SystemExit(3)

    assert run({"any": Kind(path, read)}, [("any", 0), ("any", 1)]) == ["crashes with 3"] * 2
    assert path.read_bytes() == b"some text"
