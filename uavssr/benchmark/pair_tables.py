"""The table of real pairs: errors of methods by what is known of a flight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from uavssr.benchmark.records import BenchmarkResults, ScoredImage

PAIR_NOTES: Final = """\
Each flight is judged with all its plots, or with those that are not known. RMSE is the mean over
flights of the mean over draws of known plots. Then come the standard deviations over flights, and
over the draws of a flight. A method that uses no known plots has one row. *flights*: flights with
enough plots for so many known ones.
"""
"""What the columns of the table of pairs mean."""
_TITLES: Final = (
    *("known of the flight", "method", "flights", "RMSE", "± flights", "± draws", "SAM deg"),
    *("MRAE", "PSNR dB", "ERGAS", "in 90 % interval", "RMSE by flight"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlightErrors:
    """Errors of a method on the flights of a case, with one amount of known ground."""

    set: str
    method: str
    flights: tuple[str, ...]
    """Names, in the order of the images."""
    rmse_by_flight: tuple[float, ...]
    """Means over draws and seeds."""
    draw_deviation: float | None
    """Standard deviation of RMSE over the draws and seeds of a flight; None for one."""
    means: Mapping[str, float | None]
    """Mean over flights of each metric; None where it does not apply."""

    @property
    def flight_deviation(self) -> float | None:
        """Standard deviation of RMSE over flights; None for one."""
        return float(np.std(self.rmse_by_flight, ddof=1)) if len(self.flights) > 1 else None


def flight_errors(results: BenchmarkResults, case: str) -> list[FlightErrors]:
    """The rows of a case: by set, the least known first, and by method within it."""
    sets = sorted({image.set for run in results.of(case) for image in run.images}, key=known_count)
    rows = []
    for name in sets:
        for method in results.methods:
            images = [
                image
                for run in results.of(case, method)
                for image in run.images
                if image.set == name
            ]
            if images:
                rows.append(_row(name, method, images))
    return rows


def known_count(name: str) -> int:
    """The number of known plots or pixels in the name of a set; 0 for another name."""
    first = name.split(maxsplit=1)[0]
    return int(first) if first.isdigit() else 0


def _row(name: str, method: str, images: Sequence[ScoredImage]) -> FlightErrors:
    flights = tuple(dict.fromkeys(image.scene for image in images))
    groups = [[image for image in images if image.scene == flight] for flight in flights]
    several = [np.var([image.rmse for image in group], ddof=1) for group in groups if group[1:]]
    metrics = ("rmse", "sam", "mrae_no_epsilon", "psnr", "ergas", "coverage")
    return FlightErrors(
        set=name,
        method=method,
        flights=flights,
        rmse_by_flight=tuple(float(np.mean([i.rmse for i in group])) for group in groups),
        draw_deviation=float(np.sqrt(np.mean(several))) if several else None,
        means={metric: _mean(metric, groups) for metric in metrics},
    )


def _mean(metric: str, groups: Sequence[Sequence[ScoredImage]]) -> float | None:
    values = [[getattr(image, metric) for image in group] for group in groups]
    if any(value is None for row in values for value in row):
        return None
    return float(np.mean([np.mean(row) for row in values]))


def pair_table(results: BenchmarkResults, case: str) -> Iterator[str]:
    """The table of a case as lines of Markdown."""
    yield f"| {' | '.join(_TITLES)} |"
    yield f"|{'---|' * len(_TITLES)}"
    for row in flight_errors(results, case):
        means = row.means
        cells = [
            row.set,
            row.method,
            str(len(row.flights)),
            _text(means["rmse"], 4),
            _text(row.flight_deviation, 4),
            _text(row.draw_deviation, 4),
            _text(means["sam"], 2),
            _text(means["mrae_no_epsilon"], 3),
            _text(means["psnr"], 2),
            _text(means["ergas"], 2),
            "" if means["coverage"] is None else f"{means['coverage']:.0%}",
            " ".join(f"{value:.4f}" for value in row.rmse_by_flight),
        ]
        yield f"| {' | '.join(cells)} |"


def _text(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
