"""The files of a benchmark's results: results.md, results.csv, results.json and pictures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from uavssr.benchmark.pictures import Picture, write_pictures
from uavssr.benchmark.records import METRICS, BenchmarkResults, read_results
from uavssr.benchmark.summary import (
    JUDGED,
    MethodCost,
    MethodSummary,
    costs,
    sets_of,
    summarise,
    verdicts,
)
from uavssr.benchmark.tables import NOTES, results_markdown
from uavssr.io.writers import replacing


def write_benchmark_report(out: Path) -> list[Path]:
    """Write tables and pictures of the runs in the folder of a benchmark into it.

    Raises:
        InputRefused: see `read_results`.
        OutputError: a file cannot be written.
    """
    results = read_results(out)
    pictures = write_pictures(results, out)
    tables = write_tables(results, out, pictures=pictures)
    return [*tables, *(out / picture.name for picture in pictures)]


def write_tables(
    results: BenchmarkResults, folder: Path, *, pictures: Sequence[Picture] = ()
) -> list[Path]:
    """Write results.md, results.csv and results.json into a folder, replacing earlier ones."""
    text = f"{results_markdown(results, pictures=pictures)}\n## Notes\n\n{NOTES}"
    contents = {
        "results.md": text,
        "results.csv": _csv(results),
        "results.json": json.dumps(results_as_dict(results), indent=1) + "\n",
    }
    for name, content in contents.items():
        with replacing(folder / name, overwrite=True) as part:
            part.write_text(content, encoding="utf-8", newline="")
    return [folder / name for name in contents]


def results_as_dict(results: BenchmarkResults) -> dict[str, object]:
    """Facts, tables, costs and verdicts as plain values."""
    cases = {}
    for case, title in results.cases.items():
        rows = {group: summarise(results, case, group) for group in sets_of(results, case)}
        cases[case] = {
            "title": title,
            "sets": {group: [asdict(row) for row in table] for group, table in rows.items()},
            "verdicts": {
                group: [
                    asdict(verdict)
                    for verdict in verdicts(table, results.ours)
                    if verdict.ahead is not None
                ]
                for group, table in rows.items()
            },
            "costs": [asdict(row) | {"converged": row.converged} for row in costs(results, case)],
        }
    return {"facts": dict(results.facts), "cases": cases}


def _csv(results: BenchmarkResults) -> str:
    names = [*METRICS, *(f"{metric}_sd" for metric in METRICS)]
    names += [f"{metric}_p" for metric in JUDGED]
    cost_names = list(MethodCost.__dataclass_fields__)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(
        text,
        ["case", "set", "method", "knows", "converged", *names, *cost_names[1:]],
        restval="",
        lineterminator="\n",
    )
    writer.writeheader()
    for case in results.cases:
        cost = {row.method: asdict(row) for row in costs(results, case)}
        for group in sets_of(results, case):
            for row in summarise(results, case, group):
                writer.writerow(
                    {"case": case, "set": group, "knows": row.knows, "converged": row.converged}
                    | cost[row.method]
                    | _csv_errors(row)
                )
    return text.getvalue()


def _csv_errors(row: MethodSummary) -> dict[str, float]:
    means = {name: error.mean for name, error in row.errors.items()}
    spreads = {
        f"{name}_sd": error.deviation
        for name, error in row.errors.items()
        if error.deviation is not None
    }
    return means | spreads | {f"{name}_p": paired.p for name, paired in row.against_ours.items()}
