"""The protocols by name, and what a process needs to build one's cases again."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from uavssr.benchmark.case import Case
from uavssr.benchmark.cave import cave_cases
from uavssr.benchmark.ntire2022 import ntire2022_cases
from uavssr.benchmark.pairs import pairs_cases
from uavssr.benchmark.vnir import vnir_cases
from uavssr.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """A protocol with its data and options; it is small, so every process builds its cases."""

    name: str
    data: Path
    """Folder of the data, or a file of pairs."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the protocol alone, e.g. `split`."""

    def cases(self) -> list[Case]:
        """The cases.

        Raises:
            UsageError: there is no such protocol, or it has no such option.
            InputRefused: its data are not there.
        """
        if self.name not in PROTOCOLS:
            raise UsageError(f"protocol {self.name} is unknown; take one of {', '.join(PROTOCOLS)}")
        builder = PROTOCOLS[self.name]
        for key in self.options:
            if key not in inspect.signature(builder).parameters:
                raise UsageError(f"the protocol {self.name} has no option --{key}")
        return builder(self.data, **self.options)


PROTOCOLS: Final[dict[str, Callable[..., list[Case]]]] = {
    "cave": cave_cases,
    "ntire2022": ntire2022_cases,
    "vnir": vnir_cases,
    "pairs": pairs_cases,
}
"""What builds the cases of a protocol, given the folder of the data and its options."""
