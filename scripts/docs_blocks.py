"""The code blocks of Markdown pages: which of them run, and what runs them.

In README.md and on pages of RUN_FOLDERS every block of shell or Python runs, in order, in a folder
with examples/. A block of text after one is what it prints, where `...` stands for anything and
numbers may differ by a tenth, as they do from machine to machine. A block that cannot run has the
reason in a comment before it; a page without blocks that run has it under its title:

    <!-- not run: REASON -->
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

RUN_FOLDERS: Final = ("start", "how-to", "tutorials")
"""Folders of docs/ whose pages run."""

_FENCE: Final = re.compile(
    r"(?:^[ ]*<!-- (?P<mark>[^\n]+) -->\n+)?^(?P<indent>[ ]*)```(?P<language>\w*)[^\n]*\n"
    r"(?P<text>.*?)^(?P=indent)```[ ]*$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    """Line of the fence, from 1."""
    language: str
    text: str
    """Content without the indentation of the fence."""
    mark: str | None
    """Comment before the block or, for all blocks of a page, under its title."""

    @property
    def runs(self) -> bool:
        """Whether the block is code that the page's test executes."""
        return self.language in ("sh", "python") and self.mark is None

    @property
    def commands(self) -> list[list[str]]:
        """The arguments of each `uavssr` command of a shell block."""
        return [words[1:] for words in map(split_words, self.shell_lines) if words[0] == "uavssr"]

    @property
    def shell_lines(self) -> list[str]:
        """Lines of a shell block, with continued lines and `&&` resolved, without comments."""
        if self.language != "sh":
            return []
        joined = re.sub(r"\\\n\s*", " ", self.text)
        parts = (part.strip() for line in joined.splitlines() for part in line.split("&&"))
        return [part for part in parts if part and not part.startswith("#")]


def split_words(line: str) -> list[str]:
    """Words of a line of shell, without its comment."""
    return shlex.split(line, comments=True)


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    under_title = re.match(r"# [^\n]+\n\n?<!-- (not run: [^\n]+) -->\n", text)
    whole_page = under_title and under_title[1]
    return [
        Block(
            page=page,
            line=text.count("\n", 0, match.start("indent")) + 1,
            language=match["language"],
            text=textwrap.dedent(match["text"]),
            mark=whole_page or match["mark"],
        )
        for match in _FENCE.finditer(text)
    ]


def pages_that_run(docs: Path) -> list[Path]:
    """README.md and pages of docs/ with blocks that run, in order of their names."""
    pages = [docs.parent / "README.md"]
    pages += [page for name in RUN_FOLDERS for page in sorted((docs / name).glob("*.md"))]
    return [page for page in pages if any(block.runs for block in blocks_of(page))]


@dataclass(kw_only=True)
class PageRun:
    """Executes the blocks of one page in one folder; Python blocks share their names."""

    folder: Path
    names: dict[str, object] = field(default_factory=lambda: {"__name__": "__main__"})

    def run_page(self, page: Path) -> None:
        """Run all blocks of a page, and compare what they print with the text after them."""
        printed: str | None = None
        for block in blocks_of(page):
            where = f"{page}, line {block.line}"
            if block.runs:
                printed = self.run(block, where)
            elif block.language == "text" and printed is not None:
                if not _matches(block.text, printed):
                    raise AssertionError(f"{where}: the page says\n{block.text}\nbut\n{printed}")
                printed = None

    def run(self, block: Block, where: str) -> str:
        """Run one block; returns what it printed on stdout and stderr."""
        printed = io.StringIO()
        with contextlib.chdir(self.folder), _captured(printed):
            try:
                if block.language == "python":
                    exec(compile(block.text, where, "exec"), self.names)  # noqa: S102 - own pages
                else:
                    for line in block.shell_lines:
                        self._run_line(line, printed)
            except Exception as err:
                raise AssertionError(f"{where}: {err}\n{printed.getvalue()}") from err
        return printed.getvalue()

    def _run_line(self, line: str, printed: io.StringIO) -> None:
        """One line of shell; `uavssr` runs in this process, which has loaded torch already."""
        from uavssr import cli

        words = split_words(line)
        if words[0] == "uavssr" and not {"|", ">", "<", ";"} & set(words):
            code = cli.main([name for word in words[1:] for name in _expanded(word)])
        else:
            shell = ["bash", "-euo", "pipefail", "-c", line]
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
            done = subprocess.run(
                shell, capture_output=True, text=True, check=False, env=os.environ | {"PATH": path}
            )
            printed.write(done.stdout + done.stderr)
            code = done.returncode
        if code:
            raise RuntimeError(f"exit code {code} of: {line}")


def _expanded(word: str) -> list[str]:
    """The files that a pattern of the shell stands for, or the word itself."""
    return sorted(map(str, Path().glob(word))) if "*" in word else [word]


@contextlib.contextmanager
def _captured(printed: io.StringIO) -> Iterator[None]:
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        yield
        sys.stdout.flush()


def _matches(expected: str, printed: str) -> bool:
    """Whether the text was printed; numbers to a tenth, or to their last digit."""
    pattern, numbers = [], []
    for part in re.split(r"(\.\.\.|\s+|\d+\.?\d*)", expected.strip()):
        if part[:1].isdigit():
            numbers.append(part)
            pattern.append(r"(\d+\.?\d*)")
        elif part == "...":
            pattern.append(".*?")
        else:
            pattern.append(r"\s+" if part.isspace() else re.escape(part))
    match = re.search("".join(pattern), printed, re.DOTALL)
    return match is not None and all(map(_close, numbers, match.groups()))


def _close(expected: str, printed: str) -> bool:
    last_digit = 10.0 ** -len(expected.partition(".")[2])
    tolerance = max(0.1 * abs(float(expected)), 1.01 * last_digit)
    return abs(float(expected) - float(printed)) <= tolerance
