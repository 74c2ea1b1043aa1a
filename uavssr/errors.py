"""The errors a user can meet, each with its exit code. Must not import anything of the package."""

from __future__ import annotations

from os import PathLike


class UavssrError(Exception):
    """Base of every error raised on purpose: one line that says path, fact and remedy.

    Args:
        fact: what is wrong, with the number or name in it.
        path: the file or folder the fact is about.
        remedy: what to do about it, a command where there is one.
    """

    exit_code = 1

    def __init__(
        self, fact: str, *, path: str | PathLike[str] | None = None, remedy: str | None = None
    ) -> None:
        self.fact, self.path, self.remedy = fact, path, remedy
        where = "" if path is None else f"{path}: "
        then = "" if remedy is None else f"; {remedy}"
        super().__init__(" ".join(f"{where}{fact}{then}".split()))


class UsageError(UavssrError):
    """An option that makes no sense on its own, whatever the input holds."""

    exit_code = 2


class InputRefused(UavssrError):
    """The input is broken, unsafe, ambiguous, or not what the options say it is."""

    exit_code = 3


class ModelRefused(UavssrError):
    """The model folder is broken, tampered with, or does not fit the task."""

    exit_code = 4


class OutputError(UavssrError):
    """The output cannot be written, or would destroy something."""

    exit_code = 5


class IncompleteRun(UavssrError):
    """The run stopped before its end; the message says what was kept, if anything."""

    exit_code = 6


class Interrupted(UavssrError):
    """The user or the system stopped a command, which has left what can be gone on from."""

    exit_code = 130
