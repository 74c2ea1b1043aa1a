"""The refusal of an input that its reader could take with one more option."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from uavssr.errors import InputRefused


class OptionNeeded(InputRefused):
    """An input that leaves something open which an option of the user settles.

    Args:
        fact: what is open.
        path: the file.
        remedy: what the user has to tell, in words.
        options: arguments of the reader that settle it; what only the user knows is a word in
            capitals, such as NUMBER.
    """

    def __init__(
        self, fact: str, *, path: Path, remedy: str, options: Mapping[str, object]
    ) -> None:
        super().__init__(fact, path=path, remedy=remedy)
        self.options = options
