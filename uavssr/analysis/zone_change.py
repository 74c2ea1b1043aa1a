"""The change of an index over zones between two dates, and which changes are significant."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Final

import numpy as np

from uavssr.analysis.change import same_stf
from uavssr.analysis.index_maps import IndexRequest
from uavssr.analysis.spectral_source import SpectralSource
from uavssr.analysis.zone_statistics import ZoneRow, zone_statistics
from uavssr.analysis.zone_table import number_text, write_text
from uavssr.analysis.zones import ZoneSet
from uavssr.io.checks import PathLike
from uavssr.tiling import Progress

FALSE_DISCOVERIES: Final = 0.05
"""Share of false discoveries among the zones that are called significant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneChange:
    """The change of an index over a zone."""

    zone: str
    """Its identifier."""
    mean_a: float
    """Mean of the index in A."""
    mean_b: float
    """Mean of the index in B."""
    change: float
    """mean_b - mean_a."""
    change_se: float
    """Its standard error; NaN where errors are not known."""
    p: float
    """Probability of a change as large, or larger, where there is none."""
    q: float
    """Least share of false discoveries with which the zone is one (Benjamini and Hochberg 1995)."""


def false_discovery_rates(p: Sequence[float]) -> list[float]:
    """q_i = min over j with p_j >= p_i of n p_j / rank_j, at most 1; NaN for NaN.

    Benjamini and Hochberg, J. R. Stat. Soc. B 57, 1995.
    """
    values = np.asarray(p, float)
    rates = np.full(len(values), np.nan)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known])]
    scaled = values[order] * len(order) / np.arange(1, len(order) + 1)
    rates[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return rates.tolist()


def two_sided_p(z: float) -> float:
    """Probability that a standard normal number is as far from 0 as z, or farther."""
    return math.erfc(abs(z) / math.sqrt(2))


def zone_changes(
    a: SpectralSource,
    b: SpectralSource,
    zones: tuple[ZoneSet, ZoneSet],
    request: IndexRequest,
    *,
    progress: Progress | None = None,
) -> list[ZoneChange]:
    """The changes of the zones that lie in both, in the order of A; each on its own grid.

    The variance of a change is that of both means (`zone_statistics`), whose errors are
    independent. Where A and B were made with one STF, the errors of its parameters are subtracted
    before they are squared.

    Args:
        a: the first date or field.
        b: the second.
        zones: in the pixels of A, and of B.
        request: the index.
        progress: called with each tile that was read.
    """
    tables = [
        zone_statistics(source, found.zones, [request], progress=progress)
        for source, found in zip((a, b), zones, strict=True)
    ]
    later, joint = {row.zone: row for row in tables[1]}, same_stf(a, b)
    pairs = [(row, later[row.zone]) for row in tables[0] if row.zone in later]
    changes = [_change(*pair, request.name, joint=joint) for pair in pairs]
    rates = false_discovery_rates([change.p for change in changes])
    return [replace(change, q=q) for change, q in zip(changes, rates, strict=True)]


def _change(a: ZoneRow, b: ZoneRow, name: str, *, joint: bool) -> ZoneChange:
    first, second = a.indices[name], b.indices[name]
    difference, nan = second.mean - first.mean, float("nan")
    variance = first.value_se**2 + second.value_se**2
    if joint and a.shared is not None and b.shared is not None:
        # |s_a|^2 + |s_b|^2 - |s_a - s_b|^2 = 2 s_a s_b; the last is of each flight
        variance -= 2 * float(a.shared[name][:-1] @ b.shared[name][:-1])
    error = math.sqrt(variance) if variance >= 0 else nan
    p = two_sided_p(difference / error) if error > 0 else nan
    return ZoneChange(
        zone=a.zone,
        mean_a=first.mean,
        mean_b=second.mean,
        change=difference,
        change_se=error,
        p=p,
        q=nan,
    )


def write_zone_changes(
    rows: Sequence[ZoneChange],
    path: PathLike,
    *,
    overwrite: bool = False,
    inputs: Sequence[Path] = (),
) -> Path:
    """Write a row per zone as .csv: the fields of `ZoneChange`, and `significant`.

    That is -1 or 1 where q is below `FALSE_DISCOVERIES`, else 0. An unknown number is empty.

    Raises:
        OutputError: something stands in the way of the file.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*(column.name for column in fields(ZoneChange)), "significant"])
    for row in rows:
        zone, *numbers = astuple(row)
        writer.writerow([zone, *map(number_text, numbers), _verdict(row)])
    return write_text(text.getvalue(), path, overwrite=overwrite, inputs=inputs)


def _verdict(row: ZoneChange) -> str:
    if math.isnan(row.q):
        return ""
    return str(int(math.copysign(1, row.change))) if row.q < FALSE_DISCOVERIES else "0"
