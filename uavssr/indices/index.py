"""The table of spectral indices, indices.yaml."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Literal

from uavssr.errors import UsageError
from uavssr.indices.formula import Formula, wavelength_of
from uavssr.io.bounded import parse_yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class SpectralIndex:
    """A spectral index: a formula with a name and a source."""

    name: str
    """Name, unique without regard to case: NDVI."""
    title: str
    """Name in words, with the unit if it has one."""
    formula: Formula
    """The formula."""
    source: str
    """Authors and year."""
    domain: str
    """Field of use: vegetation, water, soil or urban."""

    @property
    def kind(self) -> Literal["broad", "narrow"]:
        """Whether the formula is one of broad bands or of wavelengths."""
        return "broad" if wavelength_of(self.formula.terms[0]) is None else "narrow"


@cache
def load_indices() -> dict[str, SpectralIndex]:
    """The indices of indices.yaml by name, in its order."""
    text = files("uavssr.indices").joinpath("indices.yaml").read_text(encoding="utf-8")
    return {
        row["name"]: SpectralIndex(
            name=row["name"],
            title=row["title"],
            formula=Formula(row["formula"]),
            source=row["source"],
            domain=domain,
        )
        for domain, rows in parse_yaml(text).items()
        for row in rows
    }


def find_index(name: str) -> SpectralIndex:
    """The index of that name, without regard to case and to signs: `tcari/osavi` is TCARI_OSAVI.

    Raises:
        UsageError: there is none; the message names similar ones.
    """
    keys = {_key(other): index for other, index in load_indices().items()}
    if _key(name) in keys:
        return keys[_key(name)]
    similar = [keys[key].name for key in get_close_matches(_key(name), keys)]
    remedy = "list all with uavssr index --list, or give a formula"
    hint = f" (similar: {', '.join(similar)})" if similar else ""
    raise UsageError(f"no index {name!r}{hint}", remedy=remedy)


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())
