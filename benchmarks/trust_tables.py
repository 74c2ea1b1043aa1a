"""The tables of a trust.json as Markdown: docs/tables/trust.md.

    python benchmarks/trust_tables.py models/p4m-nano/trust.json

Rank correlations with the truth; of vegetation indices over vegetation, of soil indices over soil,
of others over all ground.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from uavssr.indices import Ground, Knowledge, SpectralIndex, TrustTable, load_indices, load_trust
from uavssr.sensors import SENSORS, Sensor

SUMMARY = ("NDVI", "CIgreen", "CIre", "NDRE", "TCARI", "MCARI", "REIP", "ARI1", "PRI", "WBI")
"""Indices of the short table."""
HEAD = (
    *("index", "own bands", "blind", "profile", "ten spectra", "worst scene, blind"),
    *("all ground, blind", "RMSE blind", "RMSE ten spectra", "spread of the truth", "blind"),
)


def main() -> int:
    """Print the tables; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="a model's trust.json, by that name")
    file = parser.parse_args().file
    facts = json.loads(file.read_text(encoding="utf-8"))
    table = load_trust(file.parent, sha256=facts["sha256"])
    if table is None:
        print(f"skipped: not here: {file}")
        return 0
    print(f"Model {facts['model']} ({facts['sha256'][:12]}), simulated flights over")
    print(f"{', '.join(table.scenes)}, {facts['images_per_scene']} random cameras a scene,")
    print(f"seed {facts['seed']}.")
    for name in table.cameras:
        print_camera(table, SENSORS[name])
    return 0


def print_camera(table: TrustTable, camera: Sensor) -> None:
    """A short table, and that of every index by falling rank correlation."""
    indices = load_indices()
    judged = {
        name: row for name, index in indices.items() if (row := table.of(camera, index)) is not None
    }
    ordered = sorted(judged, key=lambda name: -judged[name].rank)
    for title, names in (("ten indices", SUMMARY), ("all indices", ordered)):
        print(f"\n## {camera.name}: {title}\n")
        print(f"| {' | '.join(HEAD)} |")
        print(f"|{'---|' * len(HEAD)}")
        for name in names:
            print(line(table, camera, indices[name]))
    levels = Counter(judged[name].level for name in ordered)
    counted = ", ".join(f"{count} {level}" for level, count in levels.items())
    print(f"\nOf {len(ordered)} indices of a blind cube: {counted}.")


def line(table: TrustTable, camera: Sensor, index: SpectralIndex) -> str:
    """The row of an index."""

    def rank(knowledge: Knowledge, ground: Ground | None = None) -> str:
        row = table.of(camera, index, ground=ground, knowledge=knowledge)
        return "" if row is None else f"{row.rank:.2f}"

    blind, calibrated = (
        table.of(camera, index, knowledge=knowledge) for knowledge in ("blind", "calibrated")
    )
    if blind is None or calibrated is None:
        return f"| {index.name} |{' |' * (len(HEAD) - 1)}"
    ranks = [rank(knowledge) for knowledge in ("bands", "blind", "profile", "calibrated")]
    numbers = [f"{number:.3g}" for number in (blind.rmse, calibrated.rmse, blind.spread)]
    worst = f"{blind.worst_rank:.2f}"
    cells = [index.name, *ranks, worst, rank("blind", "all"), *numbers, blind.level]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    raise SystemExit(main())
