"""Options of an input, and the command line that gives them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from uavssr.sensors import Sensor

_MAX_STEM_BYTES: Final = 200
"""Bytes of a proposed stem; names of an output's companions and temporary files add up to 30."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options of `open_msi`, from which an error builds a command that works."""

    paths: tuple[Path, ...]
    """One file or a set of single-band files."""
    sensor: str | Path | Sensor | None = None
    """`--sensor`: name of a camera, a sensor file, or the camera itself."""
    bands: Sequence[str] | None = None
    """`--bands`: a role for each band, in file order."""
    bidx: Sequence[int] | None = None
    """`--bidx`: numbers of the bands in the file, from one."""
    scale: float | str | None = None
    """`--scale`: reflectance per stored number."""
    assume_crs: str | None = None
    """`--assume-crs`: AUTHORITY:CODE."""
    max_pixels: int | None = None
    """`--max-pixels`: limit for rows x columns."""

    def command(self) -> str:
        """The complete command with these options."""
        options = {
            "--sensor": self.sensor.name if isinstance(self.sensor, Sensor) else self.sensor,
            "--bands": ",".join(self.bands or ()),
            "--bidx": ",".join(map(str, self.bidx or ())),
            "--scale": self.scale,
            "--assume-crs": self.assume_crs,
            "--max-pixels": self.max_pixels,
            "--out": f"{_shortened(self.paths[0].stem)}_cube.tif",
        }
        words = [f"./{path}" if str(path).startswith("-") else str(path) for path in self.paths]
        for name, value in options.items():
            words += [name, str(value)] if value else []
        return shlex.join(["uavssr", "reconstruct", *words])


def _shortened(stem: str) -> str:
    """A stem from which every file of a run can have its name."""
    return os.fsencode(stem)[:_MAX_STEM_BYTES].decode(errors="ignore")
