"""Options of an input, and the command line that gives them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options of `open_msi`, from which an error builds a command that works."""

    paths: tuple[Path, ...]
    """One file or a set of single-band files."""
    sensor: str | None = None
    """`--sensor`: name of a camera, or a sensor file."""
    bands: tuple[str, ...] | None = None
    """`--bands`: a role for each band, in file order."""
    bidx: tuple[int, ...] | None = None
    """`--bidx`: numbers of the bands in the file, from one."""
    scale: str | None = None
    """`--scale`: reflectance per stored number."""
    assume_crs: str | None = None
    """`--assume-crs`: AUTHORITY:CODE."""
    max_pixels: int | None = None
    """`--max-pixels`: limit for rows x columns."""
    subcommand: str | None = None
    """Subcommand that takes all these options, None if there is none."""

    def command(
        self,
        *,
        sensor: str | None = None,
        bands: Sequence[str] | None = None,
        bidx: Sequence[int] | None = None,
        scale: str | None = None,
        assume_crs: str | None = None,
    ) -> str:
        """The complete command with the user's own options and these added or replaced."""
        options = {
            "--sensor": sensor or self.sensor or "",
            "--bands": ",".join(bands or self.bands or ()),
            "--bidx": ",".join(map(str, bidx or self.bidx or ())),
            "--scale": scale or self.scale or "",
            "--assume-crs": assume_crs or self.assume_crs or "",
            "--max-pixels": "" if self.max_pixels is None else str(self.max_pixels),
            "--out": f"{self.paths[0].stem}_cube.tif",
        }
        paths = (f"./{path}" if str(path).startswith("-") else str(path) for path in self.paths)
        words = ["uavssr", self.subcommand or "reconstruct", *paths]
        for name, value in options.items():
            words += [name, value] if value else []
        return shlex.join(words)
