"""What a command printed, and how it ended; the fixture `run` of tests/cli/ gives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Ran(NamedTuple):
    """Exit code, stdout and stderr."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]
