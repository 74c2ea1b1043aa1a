"""Whether classes of ground differ in their STF, in plain words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from uavssr.io.stf import ClassStfs
from uavssr.model import FAMILY_WISE_ERROR

_MAX_NAMED: Final = 5
"""Most differences that are named."""


def class_verdict(classes: ClassStfs, roles: Sequence[str]) -> str:
    """One sentence: the differences that one common STF does not explain, or that there is none.

    `roles` are the names of the c bands.
    """
    named = [text for _, text in sorted(_significant(classes, roles))]
    if not named:
        return (
            f"classes do not differ beyond their standard errors (p = {classes.p_any:.2g}); "
            f"found in 4 of 5 cases: a difference of {_detectable(classes)}"
        )
    rest = len(named) - _MAX_NAMED
    return "; ".join(named[:_MAX_NAMED]) + (f"; and {rest} more" if rest > 0 else "")


def _significant(classes: ClassStfs, roles: Sequence[str]) -> Iterator[tuple[float, str]]:
    """The p-value and the words of each significant difference."""
    others = "class " + classes.names[1] if len(classes.names) == 2 else "the other classes"
    for quantity, of in classes.differences.items():
        for k, band in np.argwhere(of.p <= FAMILY_WISE_ERROR).tolist():
            if len(classes.names) == 2 and k:  # the same difference seen from the other class
                continue
            value, p = float(of.value[k, band]), float(of.p[k, band])
            size = f"{abs(math.expm1(value)):.1%}" if quantity == "gain" else f"{abs(value):.2g} nm"
            words = ("lower", "higher") if quantity == "gain" else ("shorter", "longer")
            where = f"{quantity} of {roles[band]} in class {classes.names[k]}"
            yield p, f"{where} is {size} {words[value > 0]} than in {others}, p = {p:.2g}"


def _detectable(classes: ClassStfs) -> str:
    """The sizes that would be found, by quantity."""
    sizes = []
    for quantity, of in classes.differences.items():
        low, high = float(of.detectable.min()), float(of.detectable.max())
        if quantity == "gain":
            sizes.append(f"gain of {math.expm1(low):.0%} to {math.expm1(high):.0%}")
        else:
            sizes.append(f"centre of {low:.2g} to {high:.2g} nm")
    return ", ".join(sizes) + ", by class and band"
