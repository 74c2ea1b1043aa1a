"""One input after all checks: what is known of it, and the problems."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from uavssr.io.checks import CheckedFile
from uavssr.io.msi.band_roles import BandAssignment
from uavssr.io.msi.camera import CameraMatch
from uavssr.io.msi.problems import Problems
from uavssr.io.raster import (
    BandFacts,
    BandMetadata,
    BandReader,
    JudgedSample,
    Place,
    Scale,
    ValidityRule,
    ValueSample,
)


class InputFiles(NamedTuple):
    """The readable files of one input, which have one size, and their metadata."""

    checked: list[CheckedFile]
    places: list[Place]
    """Places of the files that have one."""
    bands: list[BandMetadata]
    tags: dict[Path, dict[str, str]]
    """Tags of each file, with keys in lower case."""


class Examined(NamedTuple):
    """One input after all checks; what is unknown is None and a problem."""

    files: InputFiles
    camera: CameraMatch | None
    assignment: BandAssignment
    """Its roles may be unknown."""
    reader: BandReader
    rule: ValidityRule
    sample: ValueSample | JudgedSample | None
    """Its valid pixels are judged once the scale is known."""
    scale: Scale | None
    problems: Problems
    facts: Sequence[BandFacts] = ()
    """(c,) level and range of the bands' reflectance; empty if the scale is unknown."""
    band_warnings: Sequence[str] = ()
    """Bands that are unlikely, a sentence each."""
