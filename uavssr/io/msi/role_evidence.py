"""Evidence for the role of one stored band: its texts, colour and wavelength, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from uavssr.io.msi.role_words import (
    Hint,
    bands_meant,
    read_colour,
    read_stem,
    read_text,
    single_band,
)
from uavssr.io.raster import BandMetadata
from uavssr.sensors import Sensor


class Clue(NamedTuple):
    """One piece of evidence for one stored band."""

    text: str
    """The evidence in words, for messages and the input summary."""
    hint: Hint
    """The hint in it."""
    meant: frozenset[int]
    """Indices of the sensor's bands that it can mean; empty if it means none of them."""


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
    is_alpha: bool = False
    """Whether it is unused because it is an alpha band."""
    warning: str = ""
    """Evidence that the user's option overrules."""
    conflict: str = ""
    """Evidence that disagrees; `index` is then that of the strongest."""


def judge(band: BandMetadata, sensor: Sensor) -> Verdict:
    """The role of a band by all that the file says about it."""
    clues = _clues(band, sensor)
    evidence, unused = ", ".join(clue.text for clue in clues), False
    is_alpha = any(clue.hint.kind == "alpha" for clue in clues)
    conflict = _conflict(clues)
    if conflict:
        evidence, clues = conflict, clues[:1]
    elif any(clue.hint.is_other for clue in clues):
        clues, unused = [], True
    meant = frozenset.intersection(*(clue.meant for clue in clues)) if clues else frozenset[int]()
    index = single_band(meant, [clue.hint for clue in clues], sensor)
    return Verdict(
        band=band,
        index=index,
        evidence=evidence,
        unused=unused,
        is_alpha=unused and is_alpha,
        conflict=conflict,
    )


def judge_named(band: BandMetadata, role: str, sensor: Sensor, *, option: str) -> Verdict:
    """The role of a band that the user named; warns of evidence against it.

    Args:
        band: the stored band.
        role: a role of the sensor, or a word for a band that is not used.
        sensor: the camera.
        option: `--bands` or `--bidx`.
    """
    if role not in sensor.roles:
        evidence, is_alpha = f"{role} by {option}", role == "alpha"
        return Verdict(band=band, index=None, evidence=evidence, unused=True, is_alpha=is_alpha)
    index, clues = sensor.roles.index(role), _clues(band, sensor)
    agreeing = [clue.text for clue in clues if index in clue.meant]
    against = " and ".join(clue.text for clue in clues if index not in clue.meant)
    return Verdict(
        band=band,
        index=index,
        evidence=", ".join([f"{option} {role}", *agreeing]),
        warning=f"{band.label} is {role} as asked, against its {against}" if against else "",
    )


def stated_evidence(band: BandMetadata) -> str:
    """All that a file says about a band, for an input whose camera is unknown."""
    hints = _hints(band)
    said = [text for text, hint in hints[1:] if hint.kind or hint.nm]
    return ", ".join([hints[0][0], *said] if band.description else said)


def _clues(band: BandMetadata, sensor: Sensor) -> list[Clue]:
    """All evidence of a band that says anything to a sensor, the strongest first."""
    hints = _hints(band)
    meant = [frozenset[int]() if hint.is_other else bands_meant(hint, sensor) for _, hint in hints]
    return [
        Clue(text, hint, indices)
        for (text, hint), indices in zip(hints, meant, strict=True)
        if indices is not None
    ]


def _hints(band: BandMetadata) -> list[tuple[str, Hint]]:
    """The texts and tags of a band with what they mean, the strongest first.

    Colours and names of files are weak, because programs often write them by default.
    """
    hints = [(f"description {band.description!r}", read_text(band.description))]
    if band.wavelength is not None:
        text = f"{band.wavelength_from} tag {band.wavelength:g} nm"
        hints.append((text, Hint(nm=band.wavelength)))
    hints.append((f"colour interpretation {band.colour}", read_colour(band.colour)))
    if band.bad:
        hints.append(("0 in the list of bad bands (bbl)", Hint(kind="bad")))
    if band.alone and not band.is_alpha:
        hints.append((f"file name {band.file.name!r}", read_stem(band.file.stem)))
    return hints


def _conflict(clues: Sequence[Clue]) -> str:
    """The first two clues that disagree, in words; empty if all agree."""
    for one, other in combinations(clues, 2):
        if (one.meant or other.meant) and not one.meant & other.meant:
            return f"{one.text} disagrees with {other.text}"
    return ""
