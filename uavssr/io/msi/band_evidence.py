"""Evidence for the role of one stored band: its texts, colour and wavelength, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from uavssr.io.msi.role_words import (
    Hint,
    bands_meant,
    plain_band,
    read_colour,
    read_stem,
    read_text,
)
from uavssr.io.raster import BandMetadata
from uavssr.sensors import Sensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Clue:
    """One piece of evidence for one stored band."""

    text: str
    """The evidence in words, for messages and the input summary."""
    meant: frozenset[int]
    """Indices of the sensor's bands that it can mean; empty if it means none of them."""
    hint: Hint
    """The hint in it."""
    weak: bool = False
    """Whether programs often write it by default, such as colours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The role of one stored band, as far as the evidence tells."""

    band: BandMetadata
    """The stored band."""
    index: int | None
    """Index of the sensor's band, None if unknown or not of the sensor."""
    evidence: str
    """The evidence in words."""
    unused: bool = False
    """Whether it is certainly not to be used: alpha, thermal, skipped ..."""
    warning: str = ""
    """Evidence that the user's option overrules."""
    conflict: str = ""
    """Evidence that disagrees; `index` is then that of the strongest."""


def judge(band: BandMetadata, sensor: Sensor) -> Verdict:
    """The role of a band by all that the file says about it."""
    clues = _clues(band, sensor)
    conflict = _conflict(clues)
    if conflict:
        strongest = next((clue for clue in clues if not clue.weak), clues[0])
        index = single_band(strongest.meant, [strongest.hint], sensor)
        return Verdict(band=band, index=index, evidence=conflict, conflict=conflict)
    evidence = ", ".join(clue.text for clue in clues)
    if any(clue.hint.is_other for clue in clues):
        return Verdict(band=band, index=None, evidence=evidence, unused=True)
    meant = frozenset.intersection(*(clue.meant for clue in clues)) if clues else frozenset[int]()
    index = single_band(meant, [clue.hint for clue in clues], sensor)
    return Verdict(band=band, index=index, evidence=evidence)


def judge_named(band: BandMetadata, role: str, sensor: Sensor, *, option: str) -> Verdict:
    """The role of a band that the user named; warns of evidence against it.

    Args:
        band: the stored band.
        role: a role of the sensor, or a word for a band that is not used.
        sensor: the camera.
        option: `--bands` or `--bidx`.
    """
    if role not in sensor.roles:
        return Verdict(band=band, index=None, evidence=f"{role} by {option}", unused=True)
    index, clues = sensor.roles.index(role), _clues(band, sensor)
    agreeing = [clue.text for clue in clues if index in clue.meant]
    against = " and ".join(clue.text for clue in clues if index not in clue.meant)
    return Verdict(
        band=band,
        index=index,
        evidence=", ".join([f"{option} {role}", *agreeing]),
        warning=f"{band.label} is {role} as asked, against its {against}" if against else "",
    )


def single_band(indices: frozenset[int], hints: Sequence[Hint], sensor: Sensor) -> int | None:
    """The only band left, where a mere colour means the band whose whole name it is."""
    if len(indices) == 1:
        return next(iter(indices))
    plain = {plain_band(hint, sensor) for hint in hints} & indices
    return next(iter(plain)) if len(plain) == 1 else None


def _clues(band: BandMetadata, sensor: Sensor) -> list[Clue]:
    """All evidence of a band that says anything."""
    hints = [
        (f"description {band.description!r}", read_text(band.description), False),
        (f"colour interpretation {band.colour}", read_colour(band.colour), True),
    ]
    if band.wavelength is not None:
        text = f"{band.wavelength_from} tag {band.wavelength:g} nm"
        hints.append((text, Hint(nm=band.wavelength), False))
    if band.alone and band.colour != "alpha":
        hints.append((f"file name {band.file.name!r}", read_stem(band.file.stem), True))
    clues = []
    for text, hint, weak in hints:
        meant = frozenset[int]() if hint.is_other else bands_meant(hint, sensor)
        if meant is not None:
            clues.append(Clue(text=text, meant=meant, hint=hint, weak=weak))
    return clues


def _conflict(clues: Sequence[Clue]) -> str:
    """The first two clues that disagree, in words; empty if all agree."""
    for one, other in combinations(clues, 2):
        if (one.meant or other.meant) and not one.meant & other.meant:
            return f"{one.text} disagrees with {other.text}"
    return ""
