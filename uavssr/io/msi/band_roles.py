"""Which stored band is which band of the camera: by evidence that agrees, never by band count.

The order of evidence is `--bands` or `--bidx`, descriptions, colour interpretation, wavelength
tags, file names. Must not read pixels or guess by elimination.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from uavssr.errors import InputRefused, UsageError
from uavssr.io.msi.role_words import (
    OTHERS,
    Hint,
    allowed,
    plain_band,
    read_colour,
    read_stem,
    read_text,
)
from uavssr.io.raster import BandMetadata, Request
from uavssr.sensors import SENSORS, Sensor

SKIP: Final = "skip"
"""Name in `--bands` for a stored band that is not to be used."""
LISTED: Final = 16
"""Bands that a refusal lists one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The stored band of each of the sensor's bands."""

    bands: tuple[BandMetadata, ...]
    """In the sensor's order."""
    evidence: tuple[str, ...]
    """Why, a text per band in the sensor's order."""
    alphas: tuple[BandMetadata, ...]
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
    """Whether it is often a mere default of the program that wrote it, such as colours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    """What one stored band was found to be."""

    fact: BandMetadata
    """The stored band."""
    index: int | None
    """The sensor's band, or None."""
    text: str
    """The evidence."""
    other: bool = False
    """Whether it is known to be no band of a multispectral model: alpha, thermal, skipped ..."""
    warning: str = ""
    """Evidence overruled by the caller."""
    conflict: str = ""
    """Evidence that disagrees; `index` is then what the best of it says."""


def assign_roles(facts: Sequence[BandMetadata], sensor: Sensor, request: Request) -> Assignment:
    """Find every band of `sensor` exactly once among `facts`.

    Raises:
        UsageError: `--bands` or `--bidx` make no sense for this sensor.
        InputRefused: evidence is missing or disagrees; the message holds found and expected.
    """
    named = _named_by_caller(facts, sensor, request)
    verdicts = [_judge(fact, name, sensor, request) for fact, name in named]
    _check_agreement(verdicts, facts, sensor, request)
    _check_complete(verdicts, facts, sensor, request)
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
    facts: Sequence[BandMetadata], sensor: Sensor, request: Request
) -> list[tuple[BandMetadata, str | None]]:
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
        remedy = f"name every band in file order, with {SKIP!r} for those not to be used"
        if request.bidx:
            remedy = f"give as many band numbers as roles, of {len(facts)} bands"
        raise InputRefused(
            f"{len(names)} roles ({', '.join(names)}), but {bands} bands",
            path=request.paths[0],
            remedy=remedy,
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


def _clues(fact: BandMetadata, sensor: Sensor) -> list[_Clue]:
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


def _judge(fact: BandMetadata, name: str | None, sensor: Sensor, request: Request) -> _Verdict:
    clues = _clues(fact, sensor)
    if name is not None:
        return _judge_named(fact, name, clues, sensor, request)
    conflict = next((f"{a.text} disagrees with {b.text}" for a, b in _disagreeing(clues)), "")
    if conflict:
        best = next((clue for clue in clues if not clue.weak), clues[0])
        index = _narrow(best.meant, [best.hint], sensor)
        return _Verdict(fact=fact, index=index, text=conflict, conflict=conflict)
    text = ", ".join(clue.text for clue in clues)
    if any(clue.hint.is_other for clue in clues):
        return _Verdict(fact=fact, index=None, text=text, other=True)
    left = frozenset(range(len(sensor))) if clues else frozenset[int]()
    left = left.intersection(*(clue.meant for clue in clues))
    index = _narrow(left, [clue.hint for clue in clues], sensor)
    return _Verdict(fact=fact, index=index, text=text)


def _judge_named(
    fact: BandMetadata, name: str, clues: Sequence[_Clue], sensor: Sensor, request: Request
) -> _Verdict:
    """The caller's word is the first evidence: it wins, with a warning where the file differs."""
    option = "--bands" if request.bands else "--bidx"
    if name not in sensor.roles:
        return _Verdict(fact=fact, index=None, text=f"{name} by {option}", other=True)
    index = sensor.roles.index(name)
    agreeing = [clue.text for clue in clues if index in clue.meant]
    against = " and ".join(clue.text for clue in clues if index not in clue.meant)
    return _Verdict(
        fact=fact,
        index=index,
        text=", ".join([f"{option} {name}", *agreeing]),
        warning=f"{fact.label} is {name} as asked, against its {against}" if against else "",
    )


def _disagreeing(clues: Sequence[_Clue]) -> Iterator[tuple[_Clue, _Clue]]:
    for one, other in combinations(clues, 2):
        if (one.meant or other.meant) and not one.meant & other.meant:
            yield one, other


def _check_agreement(
    verdicts: Sequence[_Verdict], facts: Sequence[BandMetadata], sensor: Sensor, request: Request
) -> None:
    odd = next((verdict for verdict in verdicts if verdict.conflict), None)
    if odd is not None:
        raise InputRefused(
            f"band {odd.fact.index}: {odd.conflict}",
            path=odd.fact.file,
            remedy=_how_to_name(verdicts, facts, sensor, request),
        )


def _check_complete(
    verdicts: Sequence[_Verdict], facts: Sequence[BandMetadata], sensor: Sensor, request: Request
) -> None:
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
        remedy=_how_to_name(verdicts, facts, sensor, request),
    )


def _how_to_name(
    verdicts: Sequence[_Verdict], facts: Sequence[BandMetadata], sensor: Sensor, request: Request
) -> str:
    """The remedy, with a command that this very input passes, if the user finds it true."""
    names = _proposed(verdicts, sensor)
    if names is None:
        usable = sum(not verdict.other for verdict in verdicts)
        known = [s.name for s in SENSORS.values() if len(s) == usable] or ["none"]
        return (
            f"{usable} bands are too few for {sensor.name} (cameras of {usable} bands: "
            f"{', '.join(known)}): give all bands, or --sensor with the camera's name or file"
        )
    bidx = None
    if len(names) > LISTED:
        used = [(name, v.fact) for name, v in zip(names, verdicts, strict=True) if name != SKIP]
        names = [name for name, _ in used]
        bidx = [facts.index(fact) + 1 for _, fact in used]
    command = request.command(sensor=request.sensor or sensor.name, bands=names, bidx=bidx)
    return f"name the bands as they are, in file order: {command}"


def proposed_bands(
    facts: Sequence[BandMetadata], sensor: Sensor, request: Request
) -> Sequence[str] | None:
    """A `--bands` that makes all bands of the input those of `sensor`; None where numbers differ.

    What the file does not say is filled in the order of the data sheet, which proves nothing.
    """
    verdicts = [_judge(fact, None, sensor, request) for fact in facts]
    if sum(not verdict.other for verdict in verdicts) != len(sensor):
        return None
    return _proposed(verdicts, sensor)


def _proposed(verdicts: Sequence[_Verdict], sensor: Sensor) -> Sequence[str] | None:
    """A role or "skip" for each: what was found, else a missing role; None where one is left."""
    names: dict[int, str] = {k: SKIP for k, v in enumerate(verdicts) if v.other}
    missing = list(range(len(sensor)))
    # The sure ones choose first, then those whose evidence disagrees.
    for k, verdict in sorted(enumerate(verdicts), key=lambda item: bool(item[1].conflict)):
        if k not in names and verdict.index in missing:
            names[k] = sensor.roles[verdict.index]
            missing.remove(verdict.index)
    for k in range(len(verdicts)):
        if k not in names:
            names[k] = sensor.roles[missing.pop(0)] if missing else SKIP
    return None if missing else [names[k] for k in range(len(verdicts))]


def _described(verdict: _Verdict, sensor: Sensor) -> str:
    if verdict.index is not None:
        return f"{verdict.fact.label} = {sensor.roles[verdict.index]}"
    return f"{verdict.fact.label} = {verdict.text or 'unnamed'}"
