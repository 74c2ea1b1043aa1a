"""Assignment of stored bands to the bands of a camera; refused where the evidence disagrees.

Evidence is `--bands` or `--bidx`, descriptions, colour interpretation, wavelength tags and file
names. The number of bands and elimination are no evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from uavssr.errors import InputRefused, UsageError
from uavssr.io.msi.request import Request
from uavssr.io.msi.role_evidence import Verdict, judge, judge_named, stated_evidence
from uavssr.io.msi.role_words import OTHERS, bands_meant, read_text, single_band
from uavssr.io.raster import BandMetadata, OptionNeeded
from uavssr.sensors import SENSORS, Sensor

SKIP: Final = "skip"
"""Name in `--bands` for a stored band that is not used."""
UNKNOWN: Final = "ROLE"
"""Placeholder in a proposed `--bands` for a band that only the user can name."""
BAND_ORDERS: Final = (
    "Metashape writes blue, green, red, red edge, NIR; OpenDroneMap red, green, blue, NIR, red "
    "edge; MicaSense's imageprocessing blue, green, red, NIR, red edge; Pix4Dmapper and DJI Terra "
    "a file per band, named after it"
)
"""What common programs write, for a user who has to name bands.

Sources: MicaSense knowledge base 1500012483982; OpenDroneMap/ODM pull request 1701;
micasense/imageprocessing issue 176; Pix4D knowledge base 206455126.
"""
MAX_LISTED: Final = 16
"""Bands that an error lists one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BandAssignment:
    """The stored band for each of the sensor's c bands."""

    roles: tuple[str, ...]
    """(c,) roles of the bands; empty where unknown."""
    bands: tuple[BandMetadata, ...]
    """(c,) stored bands in the sensor's order, or in file order if a role is unknown."""
    evidence: tuple[str, ...]
    """(c,) reasons in words."""
    alphas: tuple[BandMetadata, ...]
    """Bands that are masks: alpha by colour, by description, or by the user's word."""
    left_out: tuple[str, ...]
    """Other bands that are not used, each with the reason."""
    warnings: tuple[str, ...]
    """Evidence that the user's options overrule, a sentence each."""


def assign_roles(bands: Sequence[BandMetadata], sensor: Sensor, request: Request) -> BandAssignment:
    """Find each band of `sensor` exactly once among the stored bands.

    Raises:
        UsageError: `--bands` or `--bidx` make no sense for this sensor.
        InputRefused: evidence is missing or disagrees; the message lists found and expected bands.
    """
    verdicts = _verdicts(bands, sensor, request)
    _check(verdicts, bands, sensor, request)
    by_index = {v.index: v for v in verdicts if v.index is not None}
    used = [by_index[i] for i in range(len(sensor))]
    used_bands, judged = {v.band for v in used}, {v.band for v in verdicts}
    called_alpha = {v.band for v in verdicts if v.is_alpha}
    alphas = tuple(b for b in bands if (b.is_alpha or b in called_alpha) and b not in used_bands)
    unselected = [b for b in bands if b not in judged and b not in alphas]
    unused = [f"{v.band.label} ({v.evidence})" for v in verdicts if v.index is None]
    return BandAssignment(
        roles=sensor.roles,
        bands=tuple(v.band for v in used),
        evidence=tuple(v.evidence for v in used),
        alphas=alphas,
        left_out=(*unused, *(f"{band.label} (not asked for)" for band in unselected)),
        warnings=tuple(v.warning for v in verdicts if v.warning),
    )


def unassigned(bands: Sequence[BandMetadata], sensor: Sensor | None) -> BandAssignment:
    """All bands that may hold reflectance, of an input whose bands could not be assigned.

    Args:
        bands: the stored bands.
        sensor: the camera, None if that is unknown too.
    """
    alphas = tuple(band for band in bands if band.colour == "alpha")
    others = [b for b in bands if b not in alphas and not read_text(b.description).is_other]
    verdicts = [judge(band, sensor) for band in others] if sensor else []
    roles = [sensor.roles[v.index] if sensor and v.index is not None else "" for v in verdicts]
    stated = [stated_evidence(band) for band in others]
    return BandAssignment(
        roles=tuple(roles) or ("",) * len(others),
        bands=tuple(others),
        evidence=tuple(v.conflict or v.evidence for v in verdicts) or tuple(stated),
        alphas=alphas,
        left_out=(),
        warnings=(),
    )


def proposed_roles(bands: Sequence[BandMetadata], sensor: Sensor) -> Sequence[str] | None:
    """Roles for `--bands` if as many bands are usable as `sensor` has; None if the counts differ.

    Bands without evidence get the placeholder ROLE: their order is never guessed.
    """
    verdicts = [judge(band, sensor) for band in bands]
    if sum(not verdict.unused for verdict in verdicts) != len(sensor):
        return None
    return _proposed(verdicts, sensor)


def _verdicts(bands: Sequence[BandMetadata], sensor: Sensor, request: Request) -> list[Verdict]:
    """Verdicts on the bands that the user selected, by default all."""
    selected = _selected(bands, request)
    if request.bands is None and request.bidx is None:
        return [judge(band, sensor) for band in selected]
    roles = sensor.roles if request.bands is None else _checked_roles(request.bands, sensor)
    if len(roles) != len(selected) and request.bidx is None:
        selected = [band for band in selected if not band.is_alpha]
    if len(roles) != len(selected):
        fact = f"{len(roles)} roles ({', '.join(roles)}), but "
        remedy = f"name every band in file order, with {SKIP!r} for those not to be used"
        if request.bidx:
            fact += "--bidx selects"
            remedy = f"give as many band numbers as roles, of {len(bands)} bands"
        else:
            fact += "the input holds"
        raise InputRefused(f"{fact} {len(selected)} bands", path=request.paths[0], remedy=remedy)
    option = "--bands" if request.bands else "--bidx"
    pairs = zip(selected, roles, strict=True)
    return [judge_named(band, role, sensor, option=option) for band, role in pairs]


def _selected(bands: Sequence[BandMetadata], request: Request) -> list[BandMetadata]:
    bidx = request.bidx
    if bidx is None:
        return list(bands)
    if not bidx or len(set(bidx)) != len(bidx) or min(bidx) < 1:
        raise UsageError(f"--bidx {','.join(map(str, bidx))}: give band numbers from 1, each once")
    if max(bidx) > len(bands):
        raise InputRefused(f"--bidx {max(bidx)}, but {len(bands)} bands", path=request.paths[0])
    return [bands[number - 1] for number in bidx]


def _checked_roles(names: Sequence[str], sensor: Sensor) -> tuple[str, ...]:
    """The names of `--bands` as roles of the sensor, read like band descriptions."""
    roles = []
    for name in names:
        hint, word = read_text(name), name.strip().lower()
        index = single_band(bands_meant(hint, sensor) or frozenset(), [hint], sensor)
        if index is None and word not in (*OTHERS, SKIP):
            raise UsageError(
                f"--bands: {name!r} is no band of {sensor.name}",
                remedy=f"its bands are {', '.join(sensor.roles)}; others: {', '.join(OTHERS)}, "
                f"{SKIP}",
            )
        roles.append(word if index is None else sensor.roles[index])
    twice = sorted({role for role in roles if role in sensor.roles and roles.count(role) > 1})
    if twice:
        raise UsageError(f"--bands names {', '.join(twice)} twice")
    return tuple(roles)


def _check(
    verdicts: Sequence[Verdict], bands: Sequence[BandMetadata], sensor: Sensor, request: Request
) -> None:
    """Refuse evidence that disagrees, and anything but each band of the sensor once."""
    path = request.paths[0]
    indices = [v.index for v in verdicts if v.index is not None]
    unknown = any(v.index is None and not v.unused for v in verdicts)
    conflicting = next((verdict for verdict in verdicts if verdict.conflict), None)
    if conflicting is not None:
        path = conflicting.band.file
        fact = f"band {conflicting.band.index}: {conflicting.conflict}"
    elif unknown or sorted(indices) != list(range(len(sensor))):
        listed = ", ".join(_described(v, sensor) for v in verdicts[:MAX_LISTED])
        if len(verdicts) > MAX_LISTED:
            listed += f" and {len(verdicts) - MAX_LISTED} more"
        fact = f"found {listed}; expected each of {', '.join(sensor.roles)} of {sensor.name} once"
    else:
        return
    raise _refusal(fact, path, verdicts, bands, sensor, request)


def _refusal(
    fact: str,
    path: Path,
    verdicts: Sequence[Verdict],
    bands: Sequence[BandMetadata],
    sensor: Sensor,
    request: Request,
) -> InputRefused:
    """The refusal with options that accept this input, for the user to correct or confirm."""
    roles = _proposed(verdicts, sensor)
    if roles is None:
        usable = sum(not verdict.unused for verdict in verdicts)
        alike = [s.name for s in SENSORS.values() if len(s) == usable]
        remedy = (
            f"{sensor.name} needs {len(sensor)} bands; found {usable} (cameras with {usable}: "
            f"{', '.join(alike) or 'none'}): give all bands, or --sensor with the camera's name "
            "or file"
        )
        return InputRefused(fact, path=path, remedy=remedy)
    options: dict[str, object] = {"sensor": request.sensor or sensor}
    remedy = "name the bands as they are, in file order, with --bands"
    if UNKNOWN in roles:
        remedy = f"{remedy} ({BAND_ORDERS})"
    if len(roles) > MAX_LISTED:
        used = [(role, v.band) for role, v in zip(roles, verdicts, strict=True) if role != SKIP]
        roles = [role for role, _ in used]
        options["bidx"] = [bands.index(band) + 1 for _, band in used]
    if len(roles) > MAX_LISTED:
        roles, options["bidx"] = [UNKNOWN] * len(sensor), ["NUMBER", "..."]
    return OptionNeeded(fact, path=path, remedy=remedy, options=options | {"bands": roles})


def _proposed(verdicts: Sequence[Verdict], sensor: Sensor) -> Sequence[str] | None:
    """A role, "skip" or a placeholder for each band; None if there are too few bands."""
    usable = [verdict for verdict in verdicts if not verdict.unused]
    if len(usable) < len(sensor):
        return None
    # Of two bands that claim one role, the one whose evidence agrees has it.
    sure = [verdict.index for verdict in usable if not verdict.conflict]
    claims = [verdict.index for verdict in usable if verdict.index not in sure] + sure
    roles = []
    for verdict in verdicts:
        index, role = verdict.index, UNKNOWN
        named = index is not None and claims.count(index) == 1
        if verdict.unused:
            role = SKIP
        elif index is not None and named and not (verdict.conflict and index in sure):
            role = sensor.roles[index]
        roles.append(role)
    complete = set(sensor.roles) <= set(roles)
    return [SKIP if complete and role == UNKNOWN else role for role in roles]


def _described(verdict: Verdict, sensor: Sensor) -> str:
    if verdict.index is not None:
        return f"{verdict.band.label} = {sensor.roles[verdict.index]}"
    return f"{verdict.band.label} = {verdict.evidence or 'unnamed'}"
