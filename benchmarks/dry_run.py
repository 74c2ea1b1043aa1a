"""The time that `--dry-run` promises, and the time that the run then takes.

    python benchmarks/dry_run.py [--size 1536] [--workers 1,2] [--formats gtiff,coefficients]
                                 [--runs 2] [--model p4m-nano]

A made-up field of `size x size` pixels and five bands (seed 0) is estimated and then reconstructed,
for each number of workers and format, with and without standard errors. Estimate and run take
turns, and the least of each counts. The estimate is that of an idle machine: where something else
runs (load above the number of cores), compare processor seconds, of the tiles alone.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from scaling import cpu, field, numbers

from uavssr.io.msi import open_msi
from uavssr.reconstruction import (
    OutputOptions,
    PlannedReconstruction,
    ReconstructionOptions,
    freed_memory_reused,
    plan_reconstruction,
)
from uavssr.sensors import SENSORS


def main() -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1536)
    parser.add_argument("--workers", type=numbers, default=[1, 2])
    parser.add_argument("--formats", type=lambda text: text.split(","), default=["gtiff"])
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--model", default="p4m-nano")
    options = parser.parse_args()
    print(f"{cpu()}, {os.cpu_count()} cores; {options.size} x {options.size} pixels\n")
    print(
        "| workers | format | standard errors | estimate, s | run, s | estimate, processor s "
        "| run, processor s | ratio | load |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name, freed_memory_reused():
        image = field(Path(name) / "field.tif", options.size)
        for workers in options.workers:
            for form in options.formats:
                for errors in (False, True):
                    row = _row(image, workers, form, errors=errors, options=options)
                    print(row, flush=True)
    return 0


def _row(image: Path, workers: int, form: str, *, errors: bool, options: argparse.Namespace) -> str:
    promised, taken = [], []
    for _ in range(options.runs):
        output = _output(image, form, errors=errors)
        estimate = _plan(image, workers, options.model).estimate_run(output)
        work = estimate.tiles * (estimate.compute_seconds + estimate.write_seconds)
        promised.append((estimate.seconds, work))
        plan = _plan(image, workers, options.model)
        _ = plan.scene  # its seconds are in the estimate, but it is no work on tiles
        start, processor = time.perf_counter(), time.process_time()
        plan.write(output)
        seconds = time.perf_counter() - start + estimate.sample_seconds
        taken.append((seconds, time.process_time() - processor))
    (seconds, work), (real, spent) = min(promised), min(taken)
    return (
        f"| {workers} | {form} | {'yes' if errors else 'no'} | {seconds:.1f} | {real:.1f} | "
        f"{work:.1f} | {spent:.1f} | {work / spent:.2f} | {os.getloadavg()[0]:.1f} |"
    )


def _plan(image: Path, workers: int, model: str) -> PlannedReconstruction:
    options = ReconstructionOptions(model=model, workers=workers)
    roles = [band.role for band in SENSORS["p4m"].bands]
    msi = open_msi(image, sensor="p4m", bands=roles, scale="1/10000")
    return plan_reconstruction(msi, options)


def _output(image: Path, form: str, *, errors: bool) -> OutputOptions:
    out = image.parent / "out.tif"
    se = image.parent / "se.tif" if errors else None
    return OutputOptions(cube=out, format=form, uncertainty=se, overwrite=True)


if __name__ == "__main__":
    raise SystemExit(main())
