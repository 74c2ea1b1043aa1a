"""Print the words of each page and the share of its sentences that have over 25 words.

    python scripts/docs_words.py [--long] [PAGE ...]

Code, tables, headings and comments do not count as sentences. `--long` prints the long ones.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
LIMIT: Final = 25
"""Words of the longest good sentence."""


def sentences_of(markdown: str) -> list[str]:
    """The sentences of the running text of a page."""
    text = re.sub(r"<!--.*?-->", "", markdown, flags=re.DOTALL)
    text = re.sub(r"^[ ]*```.*?^[ ]*```", "\n", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"`[^`]*`", "Code", text)
    text = re.sub(r"^[ ]*(?:#|\||!!!).*$", "\n", text, flags=re.MULTILINE)
    text = re.sub(r"^[ ]*(?:[-*>]|\d+\.)[ ]+", "\n\n", text, flags=re.MULTILINE)
    paragraphs = (" ".join(part.split()) for part in re.split(r"\n\s*\n", text))
    end = r'(?<=[.!?:])[*_]*\s+(?=[A-Z0-9("*])|(?<=[.!?])\)\s+'
    parts = [re.split(end, part) for part in paragraphs if part]
    return [sentence for sentences in parts for sentence in sentences if sentence.strip("*_ ")]


def words_in(text: str) -> int:
    """Number of words; signs alone are none."""
    return len(re.findall(r"\S*\w\S*", text))


def main(arguments: list[str]) -> None:
    """Print a line for each page, and one for all."""
    show = "--long" in arguments
    names = [name for name in arguments if name != "--long"]
    pages = [Path(name) for name in names] or [
        *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
        *sorted(page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "tables"),
    ]
    words = total = many = 0
    for page in pages:
        text = page.read_text(encoding="utf-8")
        sentences = sentences_of(text)
        long = [sentence for sentence in sentences if words_in(sentence) > LIMIT]
        words, total, many = words + words_in(text), total + len(sentences), many + len(long)
        share = len(long) / max(len(sentences), 1)
        print(f"{words_in(text):6} words  {share:6.1%} of {len(sentences):3} sentences  {page}")
        if show:
            print(*(f"        {words_in(sentence)}: {sentence}" for sentence in long), sep="\n")
    print(f"{words:6} words  {many / total:6.1%} of {total} sentences over {LIMIT} words")


if __name__ == "__main__":
    main(sys.argv[1:])
