"""The table of plots as a part of a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element

from uavssr.analysis import IndexOfZone, ZoneRow
from uavssr.report.markup import node

MAX_ROWS: Final = 2000
"""Most plots of a page; the .csv has all."""
_WIDTH: Final = 110
"""Width of the drawing of a mean."""


def plot_section(rows: Sequence[ZoneRow]) -> Element:
    """A row per plot: mean and standard error of each index, drawn on one scale."""
    shown, names = rows[:MAX_ROWS], list(rows[0].indices)
    scales = {name: _scale([row.indices[name] for row in shown]) for name in names}
    header = ["Plot", *(f"{name} ± error" for name in names)]
    header += [f"{name}: ± to compare" for name in names]
    header += ["Pixels", "With data", "Unlike training"]
    head = node("tr", *(node("th", text, scope="col") for text in header))
    body = [_row(row, scales) for row in shown]
    whole = node("table", node("thead", head), node("tbody", *body))
    words = (
        "Mean of each plot with its standard error, and the error that counts when two plots of "
        "this image are compared: what shifts all plots alike is left out of it. "
    )
    if len(rows) > len(shown):
        words += f"The first {len(shown)} of {len(rows)} plots are shown. "
    scroll = node("div", whole, class_="scroll tall", tabindex="0", role="region")
    scroll.set("aria-label", "table of plots")
    note = node("p", words, class_="small soft")
    return node("section", node("h2", "Plots"), note, scroll, id="plots", class_="long")


def _row(row: ZoneRow, scales: dict[str, tuple[float, float]]) -> Element:
    cells = [node("th", row.zone, scope="row", data_value=row.zone)]
    for name, scale in scales.items():
        index = row.indices[name]
        text = _with_error(index.mean, index.value_se)
        cells.append(node("td", text, _whisker(index, scale), data_value=_plain(index.mean)))
    for name in scales:
        error = row.indices[name].compare_se
        cells.append(node("td", _short(error), data_value=_plain(error)))
    cells.append(node("td", f"{row.pixels:.0f}", data_value=_plain(row.pixels)))
    shares = row.valid, row.outlier
    cells += [node("td", _percent(share), data_value=_plain(share)) for share in shares]
    return node("tr", *cells, data_zone=row.zone)


def _scale(column: Sequence[IndexOfZone]) -> tuple[float, float]:
    """The least and the largest end of the error bars of a column."""
    ends = [
        mean + sign * (error if math.isfinite(error) else 0)
        for mean, error in ((index.mean, index.value_se) for index in column)
        if math.isfinite(mean)
        for sign in (-1, 1)
    ]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _whisker(index: IndexOfZone, scale: tuple[float, float]) -> Element | str:
    """A dot at the mean, and a line of one standard error to each side."""
    if not math.isfinite(index.mean):
        return ""
    low, high = scale
    error = index.value_se if math.isfinite(index.value_se) else 0.0
    left, middle, right = (
        f"{5 + (_WIDTH - 10) * (index.mean + sign * error - low) / (high - low):.1f}"
        for sign in (-1, 0, 1)
    )
    return node(
        "svg",
        node("line", class_="rail", x1="0", x2=str(_WIDTH), y1="8", y2="8"),
        node("line", x1=left, x2=right, y1="8", y2="8"),
        node("circle", cx=middle, cy="8", r="4"),
        class_="whisker",
        viewBox=f"0 0 {_WIDTH} 16",
        aria_hidden="true",
    )


def _with_error(value: float, error: float) -> str:
    if not math.isfinite(value):
        return "no data"
    if not error > 0:
        return f"{value:.3g}"
    digits = _digits(error)
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def _short(number: float) -> str:
    return f"{number:.{_digits(number)}f}" if math.isfinite(number) and number > 0 else ""


def _digits(error: float) -> int:
    """Decimals that show two digits of an error."""
    return max(0, min(6, 1 - math.floor(math.log10(error))))


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if math.isfinite(share) else ""


def _plain(number: float) -> str:
    return f"{number:.6g}" if math.isfinite(number) else "-1e99"
