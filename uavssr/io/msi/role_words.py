"""Words and numbers that name a band, and the bands of a sensor that they can mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from uavssr.sensors import Band, Sensor

NEAR_NM: Final = 12.0
"""Largest distance in nm of a stated wavelength from the nominal centre of its band.

The closest bands of a known camera, 705 and 717 nm of the RedEdge-MX Dual, are that far apart.
"""

OTHERS: Final = ("alpha", "thermal", "pan")
"""Bands that hold no reflectance of a multispectral camera and are not used."""

_WORDS: Final = (
    # Longer names first: each takes its words away, so that "red edge" leaves no "red".
    ("alpha", r"\balpha\b"),
    ("thermal", r"\b(thermal|[lms]wir|tir)\b"),
    ("pan", r"\bpan(chro(matic)?)?\b"),
    ("rededge", r"\b(red ?edge|edge|re|vre)\b"),
    ("nir", r"\b(nir|(near ?)?infra ?red|near ir)\b"),
    ("coastal", r"\bcoastal( blue| aerosol)?\b"),
    ("blue", r"\bblue\b"),
    ("green", r"\bgreen\b"),
    ("red", r"\bred\b"),
)
_LETTERS: Final = {"b": "blue", "g": "green", "r": "red", "n": "nir"}
MAX_NM: Final = 1100.0
"""Wavelength in nm above which bands (thermal, short-wave infrared) are not used."""
_COLOUR_LIMITS: Final = (
    (448, "coastal"),
    (505, "blue"),
    (595, "green"),
    (692, "red"),
    (765, "rededge"),
)
"""Upper centre wavelength in nm of each colour; near infrared above the last."""
_NANOMETRES: Final = r"(?<![\d.])([3-9]\d\d|1[01]\d\d)(\.\d+)?(?![\d.]*\d)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """The meaning of a text or tag of a band."""

    kind: str | None = None
    """A colour (blue, rededge ...), one of `OTHERS`, "bad", or None."""
    nm: float | None = None
    """A centre wavelength in nm, or None."""
    word: str = ""
    """Letters and digits of the text in lower case, to compare with the names of roles."""
    tokens: tuple[str, ...] = ()
    """Words of the text in lower case."""

    @property
    def is_other(self) -> bool:
        """Whether it names a band that is not used."""
        return self.kind in (*OTHERS, "bad") or (self.nm is not None and self.nm > MAX_NM)


def read_text(text: str) -> Hint:
    """The hint in a band description or in an item of `--bands`."""
    numbers = {float("".join(parts)) for parts in re.findall(_NANOMETRES, text)}
    return Hint(
        kind=_kind(text),
        # Two numbers may be the edges of a band or anything else, so they name no centre.
        nm=numbers.pop() if len(numbers) == 1 else None,
        word=_compact(text),
        tokens=_tokens(text),
    )


def read_stem(stem: str) -> Hint:
    """The hint in a file's name, where only a number after a colour or before "nm" is a centre."""
    pattern = r"(?:blue|green|red|edge|nir|coastal)[ _-]?(\d{3})(?!\d)|(?<!\d)(\d{3}) ?nm"
    match = re.search(pattern, stem, re.IGNORECASE)
    nm = float(match[1] or match[2]) if match else None
    return Hint(kind=_kind(stem, letter_last=True), nm=nm, tokens=_tokens(stem))


def read_colour(colour: str) -> Hint:
    """The hint in GDAL's colour interpretation; gray and undefined give none."""
    return Hint(kind=_kind(colour))


def _compact(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _tokens(text: str) -> tuple[str, ...]:
    """The words of a text, with Sentinel-2's B02 as b2."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    return tuple(re.sub(r"^([a-z]+)0+(?=\d)", r"\1", word) for word in words)


def _kind(text: str, *, letter_last: bool = False) -> str | None:
    """The only colour that a text names; None for no colour or several.

    A single letter (B, G, R, N) is a colour if it is the whole text or, with `letter_last`, the
    last word.
    """
    coded = re.sub(r"(?<![A-Za-z])[A-Za-z]\d{1,2}[A-Za-z]?(?![A-Za-z0-9])", " ", text)  # B1, B8A
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])", " ", coded)
    words = " ".join(re.findall(r"[a-z]+|\d+", spaced.lower()))
    kinds = []
    for kind, pattern in _WORDS:
        words, count = re.subn(pattern, " ", words)
        kinds += [kind] if count else []
    if kinds:
        return kinds[0] if len(kinds) == 1 else None
    rest = re.sub(r"\b(band|channel|ch|nm|\d+)\b", " ", words).split()
    return _LETTERS.get(rest[-1]) if len(rest) == 1 or (rest and letter_last) else None


def kind_of(band: Band) -> str:
    """The colour of a sensor's band, by its name or else by its centre wavelength."""
    by_centre = (kind for limit, kind in _COLOUR_LIMITS if band.nominal_centre < limit)
    return _kind(band.role) or next(by_centre, "nir")


def bands_meant(hint: Hint, sensor: Sensor) -> frozenset[int] | None:
    """Indices of the bands of `sensor` that a hint can mean; None for a hint without content."""
    exact = _exact(hint, sensor)
    if exact is not None:
        return frozenset({exact})
    near = None
    if hint.nm is not None:
        distance, i = min(
            (abs(band.nominal_centre - hint.nm), i) for i, band in enumerate(sensor.bands)
        )
        near = frozenset({i} if distance <= NEAR_NM else ())
    if hint.kind is None:
        return near
    kinds = {"blue", "coastal"} if hint.kind == "blue" else {hint.kind}
    same = frozenset(i for i, band in enumerate(sensor.bands) if kind_of(band) in kinds)
    return same if near is None else same & near


def single_band(indices: frozenset[int], hints: Sequence[Hint], sensor: Sensor) -> int | None:
    """The only band left, where a mere colour means the band whose whole name it is.

    "Red" means the band "red", even in a sensor with "red650" too.
    """
    plain = {sensor.roles.index(hint.kind) for hint in hints if hint.kind in sensor.roles}
    left = indices if len(indices) == 1 else indices & plain
    return next(iter(left)) if len(left) == 1 else None


def _exact(hint: Hint, sensor: Sensor) -> int | None:
    """The band whose role the hint names, unless that is a mere colour that bands may share."""
    for i, role in enumerate(sensor.roles):
        compact, colour = _compact(role), re.fullmatch(r"[a-z]+", role)
        if hint.word == compact and not (colour and _kind(role)):
            return i
        if compact in hint.tokens and re.search(r"\d", compact) and hint.nm is None:
            return i
    return None
