"""The errors that a user can meet, each with its exit code."""

from __future__ import annotations

from os import PathLike


def printable(text: str) -> str:
    """`text` on one line for a terminal: control characters and bytes that are no text escaped."""
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte of a name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


class UavssrError(Exception):
    """Base of all errors raised on purpose; the message is one line with path, fact and remedy.

    Args:
        fact: the problem, with its number or name.
        path: the file or folder concerned.
        remedy: the way out, a command if there is one.
    """

    exit_code = 1
    """Exit code of the command line."""

    def __init__(
        self, fact: str, *, path: str | PathLike[str] | None = None, remedy: str | None = None
    ) -> None:
        self.fact, self.path, self.remedy = fact, path, remedy
        prefix = "" if path is None else f"{printable(str(path))}: "
        suffix = "" if remedy is None else f"; {remedy}"
        said = " ".join(line.strip() for line in f"{fact}{suffix}".splitlines())
        super().__init__(printable(f"{prefix}{said}"))

    def to_dict(self) -> dict[str, object]:
        """Class, exit code, path, fact and remedy, for JSON."""
        return {
            "error": type(self).__name__,
            "exit_code": self.exit_code,
            "path": None if self.path is None else str(self.path),
            "fact": self.fact,
            "remedy": self.remedy,
        }


class UsageError(UavssrError):
    """An option that is wrong for every input."""

    exit_code = 2


class InputRefused(UavssrError):
    """The input is damaged, unsafe or ambiguous, or contradicts the options."""

    exit_code = 3


class ModelRefused(UavssrError):
    """The model folder is damaged, was changed, or does not fit the task."""

    exit_code = 4


class OutputError(UavssrError):
    """The output cannot be written, or would replace something that must stay."""

    exit_code = 5


class IncompleteRun(UavssrError):
    """The run stopped before its end; the message names the results that remain, if any."""

    exit_code = 6


class BadVerdict(UavssrError):
    """The cube is complete but odd, and `--strict` asked to publish no such cube."""

    exit_code = 7


class OutputExists(OutputError):
    """The output exists, and nothing allows replacing it."""

    exit_code = 8


class Interrupted(UavssrError):
    """The user or the system stopped the command; finished work remains to resume from."""

    exit_code = 130
