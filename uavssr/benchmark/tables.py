"""The tables of a benchmark as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from uavssr.benchmark.cover_gains import cover_table, read_cover_gains
from uavssr.benchmark.pair_tables import PAIR_NOTES, pair_table
from uavssr.benchmark.pictures import Picture
from uavssr.benchmark.records import BenchmarkResults
from uavssr.benchmark.summary import (
    FLAT_HALF_SHARE,
    FLAT_SHARE,
    JUDGED,
    MethodCost,
    MethodSummary,
    PairedComparison,
    SeedStatistics,
    costs,
    sets_of,
    summarise,
    verdicts,
)


class _Column(NamedTuple):
    title: str
    digits: int
    largest_is_best: bool = False


_COLUMNS: Final = {
    "rmse": _Column("RMSE", 4),
    "sam": _Column("SAM deg", 2),
    "psnr": _Column("PSNR dB", 2, largest_is_best=True),
    "ssim": _Column("SSIM", 4, largest_is_best=True),
    "mrae_no_epsilon": _Column("MRAE", 3),
    "mrae": _Column("MRAE, denominator >= 0.001", 3),
    "ergas": _Column("ERGAS", 2),
    "stf_relative": _Column("STF error", 3),
    "stf_shape": _Column("STF shape", 3),
    "stf_centre_nm": _Column("STF centre nm", 2),
    "coverage": _Column("in 90 % interval", 2, largest_is_best=True),
}
_JUDGED_NAMES: Final = {"rmse": "RMSE", "sam": "SAM"}
_UNCONVERGED: Final = " †"
_HEADINGS: Final = (
    *("protocol", "options", "data", "machine", "budget", "budget_minutes", "threads"),
    *("command", "versions"),
)
_COST_TITLES: Final = (
    *("method", "seeds", "parameters", "GMAC, 256 x 256", "steps", "patches a step"),
    *("training s", "s per Mpx", "peak MB", "RMSE fell in the last half by", "last quarter"),
)
_LEAST_CASES: Final = 3
"""Cases with a set of the same name from which on there is a table over cases."""
_WIDE: Final = "mst++"
"""The baseline to whose multiply-adds ours are compared."""
NOTES: Final = f"""\
Mean ± standard deviation over the seeds of the mean over images; without ± there is one seed. The
best of the methods that are not given the true response is **bold**. *Given*: what a method is told
of the camera of a test image.

Ours is `pgunet`, or the released weights where no network is trained.

A method marked{_UNCONVERGED} is **unconverged**: its validation RMSE still fell by
{100 * FLAT_SHARE:g} % or more over the last quarter of its training, or by
{100 * FLAT_HALF_SHARE:g} % or more over the last half. Nothing is claimed of it, good or bad. The
last half counts because the learning rate falls to nothing, which flattens the end of any curve.
Even a flat curve does not show that ten times the training would give nothing.

MRAE is without a smallest denominator, as in NTIRE 2022. STF error: |R - R_true| / |R_true|; shape:
the same after the best factor of each band; centre: mean absolute error of the bands' centroids.

The STF of `wiener` is the data sheet's, so its row says how far cameras are from their data sheet.

Against ours: the difference of mean errors (positive where ours is better), p of a
two-sided sign-flip test over the images (errors averaged over seeds), and the images and scenes on
which ours is better. Images of a scene are not independent: p is about cameras and seeds on
these scenes, not about other scenes. It is not corrected for the number of methods.
"""
"""What the columns of the tables mean."""


def results_markdown(
    results: BenchmarkResults,
    *,
    title: str | None = None,
    pictures: Sequence[Picture] = (),
    level: int = 1,
) -> str:
    """All tables of a benchmark, its facts first.

    Args:
        results: the records.
        title: by default the name of the protocol.
        pictures: shown with their cases, those of no case at the end.
        level: of the first heading.
    """
    hashes = "#" * level
    lines = [f"{hashes} {title or results.protocol}", "", *_facts(results.facts), ""]
    for case in results.cases:
        lines += _case(results, case, hashes)
        lines += [_image(picture) for picture in pictures if picture.case == case]
    for group in dict.fromkeys(group for case in results.cases for group in sets_of(results, case)):
        lines += _overview(results, group, hashes)
    lines += [_image(picture) for picture in pictures if picture.case is None]
    if gains := read_cover_gains(results.folder):
        lines += [f"{hashes}# Gains of classes of ground", "", *cover_table(gains), ""]
    return "\n".join(lines).rstrip() + "\n"


def _case(results: BenchmarkResults, case: str, hashes: str) -> Iterator[str]:
    """A case: errors, verdict and comparison of each set, then the cost."""
    title, ours, cost = results.cases[case], results.ours, costs(results, case)
    yield f"{hashes}# {title}\n"
    by_flight = results.protocol == "pairs"
    if by_flight:
        yield from (*pair_table(results, case), "", PAIR_NOTES)
    for group in () if by_flight else sets_of(results, case):
        rows = summarise(results, case, group)
        yield from (f"{hashes}## {group}\n", _images_of(results, case, group), "")
        yield from (*_error_table(rows), "")
        yield from (*_verdict_lines(rows, ours), "", *_comparison_table(rows, ours), "")
    yield from (f"{hashes}## Cost: {title}\n", *_cost_table(cost), "", *_cost_verdict(cost, ours))


def _images_of(results: BenchmarkResults, case: str, group: str) -> str:
    """What the set consists of."""
    images = [i for run in results.of(case) for i in run.images if i.set == group]
    scenes = dict.fromkeys(image.scene for image in images)
    pairs = {(image.scene, image.camera) for image in images}
    return f"{len(pairs)} images of {len(scenes)} scenes: {', '.join(scenes)}."


def _overview(results: BenchmarkResults, group: str, hashes: str) -> Iterator[str]:
    """A set that several cases have: the means of each case, and over cases."""
    cases = [case for case in results.cases if group in sets_of(results, case)]
    if len(cases) < _LEAST_CASES:
        return
    rows = {case: {row.method: row for row in summarise(results, case, group)} for case in cases}
    for metric in JUDGED:
        digits = _COLUMNS[metric].digits
        yield f"{hashes}# All cases: {group}, {_COLUMNS[metric].title}\n"
        yield from _head(["method", *cases, "mean ± deviation over cases"])
        for method in results.methods:
            found = [rows[case].get(method) for case in cases]
            means = [None if row is None else row.errors[metric].mean for row in found]
            cells = ["" if mean is None else f"{mean:.{digits}f}" for mean in means]
            known = [mean for mean in means if mean is not None]
            mean = SeedStatistics.of(known) if len(known) == len(cases) else None
            if known:
                converged = all(row is None or row.converged for row in found)
                last = _error_cell(mean, metric, is_best=False)
                yield _line([_name(method, converged=converged), *cells, last])
        yield ""


def _image(picture: Picture) -> str:
    return f"![{picture.caption}]({picture.name})\n"


def _facts(facts: Mapping[str, object]) -> Iterator[str]:
    for name in _HEADINGS:
        if value := facts.get(name):
            text = value
            if isinstance(value, Mapping):
                text = ", ".join(f"{key} {item}" for key, item in value.items())
            label = name.replace("_", ", ")
            yield f"* {label}: `{text}`" if name == "command" else f"* {label}: {text}"


def _error_table(rows: Sequence[MethodSummary]) -> Iterator[str]:
    present = [name for name in _COLUMNS if any(name in row.errors for row in rows)]
    best = {name: _best(rows, name) for name in present}
    yield from _head(["method", "given", *(_COLUMNS[name].title for name in present)])
    for row in rows:
        cells = [
            _error_cell(row.errors.get(name), name, is_best=row.method == best[name])
            for name in present
        ]
        yield _line([_name(row.method, converged=row.converged), row.knows, *cells])


def _best(rows: Sequence[MethodSummary], metric: str) -> str | None:
    """The best converged method that is not given the true response."""
    if metric == "coverage":
        return None
    sign = -1 if _COLUMNS[metric].largest_is_best else 1
    known = [
        (sign * row.errors[metric].mean, row.method)
        for row in rows
        if metric in row.errors and row.converged and row.knows != "true response"
    ]
    return min(known)[1] if known else None


def _error_cell(error: SeedStatistics | None, metric: str, *, is_best: bool) -> str:
    if error is None:
        return ""
    digits = _COLUMNS[metric].digits
    text = f"{error.mean:.{digits}f}"
    text = f"**{text}**" if is_best else text
    return text if error.deviation is None else f"{text} ± {error.deviation:.{digits}f}"


def _comparison_table(rows: Sequence[MethodSummary], ours: str) -> Iterator[str]:
    compared = [row for row in rows if row.against_ours]
    if not compared:
        return
    heads = ("- ours", "p", "images", "scenes")
    titles = [f"{_JUDGED_NAMES[metric]} {head}" for metric in JUDGED for head in heads]
    yield from _head([f"against `{ours}`", *titles])
    for row in compared:
        cells = [
            cell
            for metric in JUDGED
            for cell in _comparison_cells(row.against_ours[metric], _COLUMNS[metric].digits)
        ]
        yield _line([_name(row.method, converged=row.converged), *cells])


def _comparison_cells(paired: PairedComparison, digits: int) -> tuple[str, ...]:
    return (
        f"{paired.difference:+.{digits}f}",
        f"{paired.p:.4f}",
        f"{paired.better_images}/{paired.images}",
        f"{paired.better_scenes}/{paired.scenes}",
    )


def _verdict_lines(rows: Sequence[MethodSummary], ours: str) -> Iterator[str]:
    found = verdicts(rows, ours)
    for verdict in found:
        if verdict.ahead is None:
            continue
        name, digits = _JUDGED_NAMES[verdict.metric], _COLUMNS[verdict.metric].digits
        kind = "given the true response" if verdict.given_response else "without the true response"
        yield (
            f"* `{ours}` ahead in {name} of every converged baseline {kind}, by more than the "
            f"deviation over seeds: {'**yes**' if verdict.ahead else '**no**'} (closest: "
            f"{verdict.closest}, {verdict.lead:+.{digits}f} ± {verdict.deviation:.{digits}f})"
        )
    if all(verdict.ahead is None for verdict in found):
        yield f"* No verdict: it needs `{ours}`, converged and with several seeds, and a baseline."
    if left_out := [row.method for row in rows if not row.converged]:
        yield f"* unconverged, nothing claimed: {', '.join(left_out)}"


def _cost_table(rows: Sequence[MethodCost]) -> Iterator[str]:
    yield from _head(_COST_TITLES)
    for row in rows:
        yield _line(
            [
                _name(row.method, converged=row.converged),
                str(row.seeds),
                "" if row.parameters is None else f"{row.parameters:,}",
                "" if row.gmac is None else f"{row.gmac:.2f}",
                f"{row.steps:,}" if row.steps else "",
                str(row.batch or ""),
                f"{row.fit_seconds:.0f}",
                f"{row.predict_seconds_per_mpx:.2f}",
                "" if row.peak_mb is None else f"{row.peak_mb:.0f}",
                "" if row.half_improvement is None else f"{row.half_improvement:.1%}",
                "" if row.late_improvement is None else f"{row.late_improvement:.1%}",
            ]
        )


def _cost_verdict(rows: Sequence[MethodCost], ours: str) -> Iterator[str]:
    gmac = {row.method: row.gmac for row in rows}
    own, wide = gmac.get(ours), gmac.get(_WIDE)
    if own and wide:
        yield f"`{ours}` takes {own / wide:.2f} of the multiply-adds of {_WIDE}.\n"


def _name(method: str, *, converged: bool) -> str:
    return f"{method}{'' if converged else _UNCONVERGED}"


def _head(titles: Sequence[str]) -> Iterator[str]:
    yield _line(titles)
    yield _line(["---"] * len(titles))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
