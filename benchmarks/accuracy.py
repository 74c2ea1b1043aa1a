"""Accuracy of a model on cubes that no training saw: the tables of docs/accuracy.md.

    python benchmarks/accuracy.py LIBRARY.npz CUBE.npz... [--model NAME] [--sensor p4m]

LIBRARY is the spectral library of the training (the ridge baseline is trained on it), the cubes are
airborne scenes (scripts/build_library.py says in which form); scenes must not be in the library.
Prints Markdown on stdout and, with --json, writes every figure.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from uavssr.bands import load_sensor
from uavssr.data.atmosphere import load_cube
from uavssr.data.library import load_library
from uavssr.evaluation.protocol import Figures, StfFigures, judge, table
from uavssr.evaluation.ridge import fit_ridge
from uavssr.model.weights import load_model


def main() -> int:
    """Print the tables; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library", type=Path)
    parser.add_argument("cubes", type=Path, nargs="+")
    parser.add_argument("--model", default="p4m-nano")
    parser.add_argument("--sensor", default="p4m")
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    missing = [str(p) for p in [options.library, *options.cubes] if not p.is_file()]
    if missing:
        print(f"skipped: not here: {', '.join(missing)}")
        return 0
    torch.set_num_threads(options.threads)
    model, sensor = load_model(options.model), load_sensor(options.sensor)
    library = load_library(options.library, model.grid)
    ridge = fit_ridge(library, sensor, seed=options.seed)
    every: list[list[Figures]] = []
    stfs: list[StfFigures] = []
    record = {}
    print(f"Model {model.name} ({model.sha256[:12]}), sensor {sensor.name}, seed {options.seed}, ")
    print(f"{options.cameras} random cameras a scene, means over cameras.\n")
    print("| scene | estimator | RMSE | / ridge | SAM deg | / ridge | round trip |")
    print("|---|---|---|---|---|---|---|")
    for path in options.cubes:
        cube = load_cube(path, model.grid)
        seeds = range(options.seed * 1000, options.seed * 1000 + options.cameras)
        judged = [judge(model.network, ridge, cube, sensor, seed) for seed in seeds]
        rows = [figures for figures, _ in judged]
        stfs += [stf for _, stf in judged]
        every += rows
        record[path.stem] = [[asdict(each) for each in row] for row in rows]
        _print(path.stem, rows)
    _print("**mean of ratios**", every)
    _print_stf(stfs)
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


def _print(scene: str, rows: list[list[Figures]]) -> None:
    for name, error, ratio, angle, angle_ratio, trip in table(rows):
        back = "" if np.isnan(trip) else f"{trip:.2%}"
        print(
            f"| {scene} | {name} | {error:.4f} | {ratio:.3f} | {angle:.2f} | {angle_ratio:.3f} "
            f"| {back} |"
        )


def _print_stf(stfs: list[StfFigures]) -> None:
    def rms(name: str) -> float:
        return float(np.sqrt(np.mean(np.concatenate([getattr(s, name) for s in stfs]) ** 2)))

    relative = np.mean([s.relative for s in stfs]), np.mean([s.nominal_relative for s in stfs])
    covered = np.concatenate([s.covered for s in stfs]).mean(0)
    print("\n| STF, blind | estimate | data sheet |\n|---|---|---|")
    print(f"| relative error, mean | {relative[0]:.3f} | {relative[1]:.3f} |")
    print(f"| centre, RMS nm | {rms('centre'):.2f} | {rms('nominal_centre'):.2f} |")
    print(f"| gain, RMS | {rms('gain'):.3f} | {rms('nominal_gain'):.3f} |")
    held = ", ".join(
        f"{name} {share:.0%}"
        for name, share in zip(("centre", "width", "gain"), covered, strict=True)
    )
    print(f"| truth in the nominal 90 % interval | {held} | |")


if __name__ == "__main__":
    raise SystemExit(main())
