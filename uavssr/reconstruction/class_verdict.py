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
            f"significant would be {_significant_sizes(classes)}"
        )
    rest = len(named) - _MAX_NAMED
    return "; ".join(named[:_MAX_NAMED]) + (f"; and {rest} more" if rest > 0 else "")


def _significant(classes: ClassStfs, roles: Sequence[str]) -> Iterator[tuple[float, str]]:
    """The p-value and the words of each significant difference."""
    pair, of = len(classes.names) == 2, classes.difference
    others = f"class {classes.names[1]}" if pair else "the other classes"
    for k, band in np.argwhere(of.p <= FAMILY_WISE_ERROR).tolist():
        if pair and k:  # the same difference seen from the other class
            continue
        value, p = float(of.value[k, band]), float(of.p[k, band])
        where = f"gain of {roles[band]} in class {classes.names[k]}"
        direction = "higher" if value > 0 else "lower"
        yield (
            p,
            f"{where} is {abs(math.expm1(value)):.1%} {direction} than in {others}, p = {p:.2g}",
        )


def _significant_sizes(classes: ClassStfs) -> str:
    """The sizes from which differences are significant, in words."""
    sizes = classes.difference.significant_from
    known = sizes[np.isfinite(sizes)]
    low, high = math.expm1(float(known.min())), math.expm1(float(known.max()))
    return f"a gain that differs by {low:.0%} to {high:.0%}, by class and band"
