"""Start-up: what a command on a small image costs beyond importing torch, rasterio and xarray.

    python benchmarks/startup.py [--image examples/field.tif] [--runs 5] [--json FILE]

The commands and the import alone take turns, each in a process of its own, and the least of each
counts: seconds by the clock, and CPU seconds, which tell more on a machine that is busy otherwise.
The second table shows what the imports of `reconstruct` cost, by library, from
`python -X importtime`. Nothing is random.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
BASE: Final = ["-c", "import torch, rasterio, xarray"]
AIMS: Final = {"reconstruct": 1.7, "estimate-stf": 1.5}
"""Most times the import alone that a command may take."""
IMPORT_TIME: Final = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")

Cost = tuple[float, float]
"""Seconds by the clock, and CPU seconds."""


def main() -> int:
    """Print both tables; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", type=Path, default=ROOT / "examples" / "field.tif")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        commands = commands_on(options.image.resolve(), Path(name))
        costs = least(commands, options.runs, Path(name))
        imports = imports_of(commands["reconstruct"], Path(name))
    report = {"cores": os.cpu_count(), "load": os.getloadavg()[0], "costs": costs}
    show(costs, imports)
    if options.json:
        text = json.dumps(report | {"import_ms": imports}, indent=1)
        options.json.write_text(text, encoding="utf-8")
    return 0


def commands_on(image: Path, folder: Path) -> dict[str, list[str]]:
    """Arguments of python for the import alone and for each command."""
    run = ["-m", "uavssr", "-q"]
    outputs = {"reconstruct": "cube.tif", "estimate-stf": "stf.nc"}
    return {"import alone": BASE} | {
        command: [*run, command, str(image), "--out", str(folder / out), "--overwrite"]
        for command, out in outputs.items()
    }


def environment(folder: Path) -> dict[str, str]:
    """The environment in which compiled modules are kept, as of an installed package."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": str(folder / "compiled")}


def least(commands: dict[str, list[str]], runs: int, folder: Path) -> dict[str, Cost]:
    """The least seconds and CPU seconds of each command; a first run compiles and is left out."""
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for turn in range(runs + 1):
        for name, arguments in commands.items():
            cost = cost_of(arguments, folder)
            if turn:
                costs[name].append(cost)
    return {
        name: (min(wall for wall, _ in all_costs), min(cpu for _, cpu in all_costs))
        for name, all_costs in costs.items()
    }


def cost_of(arguments: list[str], folder: Path) -> Cost:
    """Seconds and CPU seconds of one process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        check=True,
        cwd=folder,
        env=environment(folder) | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu


def imports_of(arguments: list[str], folder: Path) -> dict[str, float]:
    """Milliseconds in the modules of each library, largest first; those of its own imports not."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        check=True,
        cwd=folder,
        env=environment(folder) | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    totals: Counter[str] = Counter()
    for microseconds, module in IMPORT_TIME.findall(done.stderr):
        totals[module.split(".")[0]] += int(microseconds)
    return {library: total / 1000 for library, total in totals.most_common()}


def show(costs: dict[str, Cost], imports: dict[str, float]) -> None:
    """Print the ratios and the twelve libraries that take longest to import."""
    wall, cpu = costs["import alone"]
    print("| command | s | CPU s | times the import: s | CPU s | aim |")
    print("|---|---|---|---|---|---|")
    for name, (seconds, cpu_seconds) in costs.items():
        ratios = f"{seconds / wall:.2f} | {cpu_seconds / cpu:.2f}"
        print(f"| {name} | {seconds:.2f} | {cpu_seconds:.2f} | {ratios} | {AIMS.get(name, '')} |")
    print("\n| imported by reconstruct | ms |\n|---|---|")
    for library, milliseconds in list(imports.items())[:12]:
        print(f"| {library} | {milliseconds:.0f} |")
    print(f"| all {len(imports)} | {sum(imports.values()):.0f} |")


if __name__ == "__main__":
    raise SystemExit(main())
