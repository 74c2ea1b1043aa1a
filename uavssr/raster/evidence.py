"""Which stored band is which band of the camera: by evidence that agrees, never by band count.

The order of evidence is `--bands` or `--bidx`, descriptions, colour interpretation, wavelength
tags, file names. Must not read pixels or guess by elimination.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from uavssr.bands import Sensor
from uavssr.errors import InputRefused, UsageError
from uavssr.raster.facts import BandFacts
from uavssr.raster.request import Request
from uavssr.raster.roles import (
    OTHERS,
    Hint,
    allowed,
    plain_band,
    read_colour,
    read_stem,
    read_text,
)

SKIP: Final = "skip"
"""Name in `--bands` for a stored band that is not to be used."""
LISTED: Final = 16
"""Bands that a refusal lists one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The stored band of each of the sensor's bands."""

    bands: tuple[BandFacts, ...]
    """In the sensor's order."""
    evidence: tuple[str, ...]
    """Why, a text per band in the sensor's order."""
    alphas: tuple[BandFacts, ...]
    """Alpha bands, found by colour interpretation."""
    left_out: tuple[str, ...]
    """The other bands that are not used, each with the reason."""
    warnings: tuple[str, ...]
    """Evidence that was overruled by the caller's own words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Clue:
    """One piece of evidence for one band."""

    text: str
    """For messages and the card."""
    meant: frozenset[int]
    """The bands of the sensor it allows; empty where it names none of them."""
    hint: Hint
    """What it says."""
    weak: bool = False
    """Whether the caller's word overrules it: colours are often a writer's default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    """What one stored band was found to be."""

    fact: BandFacts
    """The stored band."""
    index: int | None
    """The sensor's band, or None."""
    text: str
    """The evidence."""
    other: bool = False
    """Whether it is known to be no band of a multispectral model: alpha, thermal, skipped ..."""
    warning: str = ""
    """Evidence overruled by the caller."""


def assign_roles(facts: Sequence[BandFacts], sensor: Sensor, request: Request) -> Assignment:
    """Find every band of `sensor` exactly once among `facts`.

    Raises:
        UsageError: `--bands` or `--bidx` make no sense for this sensor.
        InputRefused: evidence is missing or disagrees; the message holds found and expected.
    """
    named = _named_by_caller(facts, sensor, request)
    verdicts = [_judge(fact, name, sensor, request) for fact, name in named]
    _check_complete(verdicts, sensor, request)
    by_index = {v.index: v for v in verdicts if v.index is not None}
    used = [by_index[i] for i in range(len(sensor))]
    chosen, seen = {v.fact for v in used}, {v.fact for v in verdicts}
    alphas = tuple(f for f in facts if f.colour == "alpha" and f not in chosen)
    unselected = [f for f in facts if f not in seen and f not in alphas]
    others = [f"{v.fact.label} ({v.text})" for v in verdicts if v.index is None]
    return Assignment(
        bands=tuple(v.fact for v in used),
        evidence=tuple(v.text for v in used),
        alphas=alphas,
        left_out=(*others, *(f"{f.label} (not asked for)" for f in unselected)),
        warnings=tuple(v.warning for v in verdicts if v.warning),
    )


def _named_by_caller(
    facts: Sequence[BandFacts], sensor: Sensor, request: Request
) -> list[tuple[BandFacts, str | None]]:
    """The bands to look at, each with the role the caller gave it, if any."""
    if request.bidx is None:
        chosen = list(facts)
    else:
        chosen = [facts[i - 1] for i in _checked_bidx(request.bidx, len(facts), request)]
    if request.bands is None and request.bidx is None:
        return [(fact, None) for fact in chosen]
    names = sensor.roles if request.bands is None else _checked_names(request.bands, sensor)
    if len(names) != len(chosen) and request.bidx is None:
        chosen = [fact for fact in chosen if fact.colour != "alpha"]
    if len(names) != len(chosen):
        bands = (
            f"--bidx selects {len(chosen)}" if request.bidx else f"the input holds {len(chosen)}"
        )
        raise InputRefused(
            f"{len(names)} roles ({', '.join(names)}), but {bands} bands",
            path=request.paths[0],
            remedy=f"name every band in file order, with {SKIP!r} for those not to be used",
        )
    return list(zip(chosen, names, strict=True))


def _checked_bidx(bidx: Sequence[int], count: int, request: Request) -> Sequence[int]:
    if not bidx or len(set(bidx)) != len(bidx) or min(bidx) < 1:
        raise UsageError(f"--bidx {','.join(map(str, bidx))}: give band numbers from 1, each once")
    if max(bidx) > count:
        raise InputRefused(f"--bidx {max(bidx)}, but {count} bands", path=request.paths[0])
    return bidx


def _checked_names(names: Sequence[str], sensor: Sensor) -> tuple[str, ...]:
    """The caller's names as role names of the sensor, in the way descriptions are understood."""
    found = []
    for name in names:
        hint = read_text(name)
        index = _single(hint, sensor)
        if index is None and name.strip().lower() not in (*OTHERS, SKIP):
            raise UsageError(
                f"--bands: {name!r} is no band of {sensor.name}",
                remedy=f"its bands are {', '.join(sensor.roles)}; others: {', '.join(OTHERS)}, "
                f"{SKIP}",
            )
        found.append(name.strip().lower() if index is None else sensor.roles[index])
    twice = sorted({role for role in found if role in sensor.roles and found.count(role) > 1})
    if twice:
        raise UsageError(f"--bands names {', '.join(twice)} twice")
    return tuple(found)


def _single(hint: Hint, sensor: Sensor) -> int | None:
    return _narrow(allowed(hint, sensor) or frozenset(), [hint], sensor)


def _narrow(indices: frozenset[int], hints: Sequence[Hint], sensor: Sensor) -> int | None:
    """The one index left, where a colour alone means the band that bears just its name."""
    if len(indices) == 1:
        return next(iter(indices))
    plain = {plain_band(hint, sensor) for hint in hints} & indices
    return next(iter(plain)) if len(plain) == 1 else None


def _clues(fact: BandFacts, sensor: Sensor) -> list[_Clue]:
    """All that the file says of a band, without what says nothing."""
    hints = [
        (f"description {fact.description!r}", read_text(fact.description), False),
        (f"colour interpretation {fact.colour}", read_colour(fact.colour), True),
    ]
    if fact.wavelength is not None:
        text = f"{fact.wavelength_from} tag {fact.wavelength:g} nm"
        hints.append((text, Hint(nm=fact.wavelength), False))
    if fact.alone and fact.colour != "alpha":
        hints.append((f"file name {fact.file.name!r}", read_stem(fact.file.stem), True))
    clues = []
    for text, hint, weak in hints:
        meant = frozenset[int]() if hint.is_other else allowed(hint, sensor)
        if meant is not None:
            clues.append(_Clue(text=text, meant=meant, hint=hint, weak=weak))
    return clues


def _judge(fact: BandFacts, name: str | None, sensor: Sensor, request: Request) -> _Verdict:
    clues = _clues(fact, sensor)
    if name is not None:
        return _judge_named(fact, name, clues, sensor, request)
    _check_agreement(
        fact,
        clues,
        f"say which is right: {request.command(sensor=sensor.name, bands=sensor.roles)} "
        "(roles in file order)",
    )
    text = ", ".join(clue.text for clue in clues)
    if any(clue.hint.is_other for clue in clues):
        return _Verdict(fact=fact, index=None, text=text, other=True)
    left = frozenset(range(len(sensor))) if clues else frozenset[int]()
    left = left.intersection(*(clue.meant for clue in clues))
    index = _narrow(left, [clue.hint for clue in clues], sensor)
    return _Verdict(fact=fact, index=index, text=text)


def _judge_named(
    fact: BandFacts, name: str, clues: Sequence[_Clue], sensor: Sensor, request: Request
) -> _Verdict:
    """The caller's word wins over weak clues, with a warning; strong ones must agree with it."""
    option = "--bands" if request.bands else "--bidx"
    if name not in sensor.roles:
        return _Verdict(fact=fact, index=None, text=f"{name} by {option}", other=True)
    index = sensor.roles.index(name)
    said = _Clue(text=f"{option} {name}", meant=frozenset({index}), hint=Hint(kind=name))
    overruled = [clue for clue in clues if clue.weak and index not in clue.meant]
    agreeing = [said, *(clue for clue in clues if clue not in overruled)]
    _check_agreement(fact, agreeing, f"correct {option}, or what is wrong in the file")
    against = " and ".join(clue.text for clue in overruled)
    return _Verdict(
        fact=fact,
        index=index,
        text=", ".join(clue.text for clue in agreeing),
        warning=f"{fact.label} is {name} as asked, against its {against}" if against else "",
    )


def _check_agreement(fact: BandFacts, clues: Sequence[_Clue], remedy: str) -> None:
    for one, other in combinations(clues, 2):
        if (one.meant or other.meant) and not one.meant & other.meant:
            raise InputRefused(
                f"band {fact.index}: {one.text} disagrees with {other.text}",
                path=fact.file,
                remedy=remedy,
            )


def _check_complete(verdicts: Sequence[_Verdict], sensor: Sensor, request: Request) -> None:
    indices = [v.index for v in verdicts if v.index is not None]
    unknown = [v for v in verdicts if v.index is None and not v.other]
    if sorted(indices) == list(range(len(sensor))) and not unknown:
        return
    found = ", ".join(_described(v, sensor) for v in verdicts[:LISTED])
    if len(verdicts) > LISTED:
        found += f" and {len(verdicts) - LISTED} more"
    raise InputRefused(
        f"found {found}; expected each of {', '.join(sensor.roles)} of {sensor.name} once",
        path=request.paths[0],
        remedy="name the bands in file order: "
        + request.command(sensor=request.sensor or sensor.name, bands=_proposed(verdicts, sensor)),
    )


def _proposed(verdicts: Sequence[_Verdict], sensor: Sensor) -> Sequence[str]:
    """A `--bands` of the right length: what was found, the missing roles in the gaps, "skip"."""
    found = {v.index for v in verdicts}
    missing = [role for i, role in enumerate(sensor.roles) if i not in found]
    names = []
    for verdict in verdicts:
        if verdict.index is not None:
            names.append(sensor.roles[verdict.index])
        else:
            names.append(missing.pop(0) if missing and not verdict.other else SKIP)
    return sensor.roles if missing or len(names) > LISTED else names


def _described(verdict: _Verdict, sensor: Sensor) -> str:
    if verdict.index is not None:
        return f"{verdict.fact.label} = {sensor.roles[verdict.index]}"
    return f"{verdict.fact.label} = {verdict.text or 'unnamed'}"
