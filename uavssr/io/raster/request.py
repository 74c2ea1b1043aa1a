"""What the caller asked for, and the command line that would ask for it. Reads nothing."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options of `open_msi`, kept so that a refusal can print a command that works."""

    paths: tuple[Path, ...]
    """The input, one file or a set of single-band files."""
    sensor: str | None = None
    """`--sensor` as given."""
    bands: tuple[str, ...] | None = None
    """`--bands`: a role per band, in file order."""
    bidx: tuple[int, ...] | None = None
    """`--bidx`: the files' bands counted from one."""
    scale: str | None = None
    """`--scale` as given."""
    assume_crs: str | None = None
    """`--assume-crs` as given."""
    max_pixels: int | None = None
    """`--max-pixels` as given."""
    subcommand: str | None = None
    """The command that takes these options; None where none takes them all."""

    def command(
        self,
        *,
        sensor: str | None = None,
        bands: Sequence[str] | None = None,
        bidx: Sequence[int] | None = None,
        scale: str | None = None,
        assume_crs: str | None = None,
    ) -> str:
        """The complete command with the caller's own options and these added or replaced."""
        chosen_bands, chosen_bidx = bands or self.bands, bidx or self.bidx
        options = {
            "--sensor": sensor or self.sensor,
            "--bands": ",".join(chosen_bands) if chosen_bands else None,
            "--bidx": ",".join(map(str, chosen_bidx)) if chosen_bidx else None,
            "--scale": scale or self.scale,
            "--assume-crs": assume_crs or self.assume_crs,
            "--max-pixels": None if self.max_pixels is None else str(self.max_pixels),
            "--out": f"{self.paths[0].stem}_cube.tif",
        }
        paths = (f"./{path}" if str(path).startswith("-") else str(path) for path in self.paths)
        words = ["uavssr", self.subcommand or "reconstruct", *paths]
        for name, value in options.items():
            words += [] if value is None else [name, value]
        return shlex.join(words)
