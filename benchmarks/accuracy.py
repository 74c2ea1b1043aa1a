"""Accuracy of a model on held-out cubes: the tables of docs/accuracy.md.

    python benchmarks/accuracy.py LIBRARY.npz CUBE.npz... [--model NAME] [--sensor p4m]

Prints Markdown on stdout; --json FILE also writes every number.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from heldout import HeldOut, options_of

from uavssr.evaluation import (
    CubeErrors,
    ImageResult,
    StfErrors,
    gap_closed,
    mean_errors,
    run_protocol,
)

MIN_BENEFIT = 0.05
"""Smallest share of the error that the true R must remove for a gap to be reported."""


def main() -> int:
    """Print the tables; returns the exit code."""
    parser = options_of(__doc__, cameras=16)
    parser.add_argument("--brief", action="store_true", help="means over all scenes alone")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    given = HeldOut.of(options)
    scenes = {
        name: [
            run_protocol(given.model.network, given.ridge, cube, given.sensor, seed)
            for seed in given.seeds(number)
        ]
        for number, (name, cube) in enumerate(given.cubes.items())
    }
    given.print_header()
    _print_scenes(scenes, brief=options.brief)
    _print_ratios(scenes)
    every = [result for results in scenes.values() for result in results]
    _print_stf(every)
    print()
    for name, field in (
        ("blind", "coverage"),
        ("partly calibrated", "partial_coverage"),
        ("corrected", "corrected_coverage"),
    ):
        shares = [
            np.mean([getattr(result, field) for result in results]) for results in scenes.values()
        ]
        print(
            f"The nominal 90 % interval of the {name} cubes holds {np.mean(shares):.1%} of all "
            f"bands and pixels (scenes: {min(shares):.0%}-{max(shares):.0%})."
        )
    if options.json:
        record = {name: [asdict(result) for result in results] for name, results in scenes.items()}
        text = json.dumps(record, indent=1, default=np.ndarray.tolist)
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


def _print_scenes(scenes: dict[str, list[ImageResult]], *, brief: bool) -> None:
    print("| scene | estimator | RMSE | / ridge | SAM deg | / ridge | round trip |")
    print("|---|---|---|---|---|---|---|")
    parts = {} if brief else scenes
    everything = [result for results in scenes.values() for result in results]
    for scene, results in {**parts, "**all**": everything}.items():
        for name, means in mean_errors([result.cubes for result in results]).items():
            error, ratio, angle, angle_ratio, trip = means
            back = "" if np.isnan(trip) else f"{trip:.2%}"
            print(
                f"| {scene} | {name} | {error:.4f} | {ratio:.3f} | {angle:.2f} | {angle_ratio:.3f} "
                f"| {back} |"
            )


def _print_ratios(scenes: dict[str, list[ImageResult]]) -> None:
    """The main ratios, one line per scene."""
    print(
        "\n| scene | blind RMSE / ridge | SAM / ridge | gap closed, blind "
        "| reference spectra, R alone | reference spectra |"
    )
    print("|---|---|---|---|---|---|")
    lines = []
    for scene, results in scenes.items():
        rows = mean_errors([result.cubes for result in results])
        alone, corrected = (
            name for name in rows if name.startswith("network") and "reference spectra" in name
        )
        gaps = [_mean_gap(results, name) for name in ("network, blind", alone)]
        blind = rows["network, blind"]
        line = [blind[1], blind[3], gaps[0], rows[alone][1], rows[corrected][1], gaps[1]]
        lines.append(line)
        cells = ["-" if np.isnan(value) else f"{value:.3f}" for value in line[:5]]
        print(f"| {scene} | " + " | ".join(cells) + " |")
    mean = np.nanmean(lines, 0)
    print("| **mean** | " + " | ".join(f"**{value:.3f}**" for value in mean[:5]) + " |")
    of = f"{np.isfinite(np.array(lines)[:, 5]).sum()} of {len(lines)} scenes"
    print(f"\nGap closed by the STF of reference spectra: {mean[5]:.3f} (of {of}).")
    if all(len(results) > 1 for results in scenes.values()):
        _print_spread(scenes)


def _print_spread(scenes: dict[str, list[ImageResult]]) -> None:
    """The spread of the blind errors over the random cameras."""
    for name in ("rmse", "sam"):
        ratios = [[_blind_ratio(result, name) for result in results] for results in scenes.values()]
        deviation = np.std(ratios, axis=1, ddof=1)
        error = np.sqrt((deviation**2).mean() / np.size(ratios))
        print(
            f"Blind {name.upper()} / ridge {np.mean(ratios):.3f} +- {error:.3f} (standard error); "
            f"from camera to camera of a scene +- {deviation.mean():.2f}."
        )


def _blind_ratio(result: ImageResult, name: str) -> float:
    """A metric of the blind cube over that of ridge."""
    errors = {cube.estimator: getattr(cube, name) for cube in result.cubes}
    return errors["network, blind"] / errors["ridge"]


def _mean_gap(results: list[ImageResult], estimator: str) -> float:
    """The gap closed in a scene, of mean errors over cameras; NaN where the true R helps little."""
    means = [
        CubeErrors(
            estimator=cube.estimator,
            rmse=float(np.mean([result.cubes[k].rmse for result in results])),
            sam=0.0,
            round_trip=0.0,
        )
        for k, cube in enumerate(results[0].cubes)
    ]
    error = {cube.estimator: cube.rmse for cube in means}
    benefit = 1 - error["network, true R"] / error["network, data sheet"]
    return gap_closed(means, estimator) if benefit >= MIN_BENEFIT else float("nan")


def _print_stf(results: list[ImageResult]) -> None:
    print(
        "\n| STF | relative error | centre, RMS nm | gain, RMS | 90 % cover (centre/width/gain) |"
    )
    print("|---|---|---|---|---|")
    for name, field in (
        ("data sheet", "nominal"),
        ("blind", "blind"),
        ("reference spectra", "paired"),
    ):
        stfs: list[StfErrors] = [getattr(result, field) for result in results]
        relative = np.mean([stf.relative for stf in stfs])
        centre, gain = (
            np.sqrt(np.mean(np.concatenate(errors) ** 2))
            for errors in ([stf.centre for stf in stfs], [stf.gain for stf in stfs])
        )
        shares = np.concatenate([stf.covered for stf in stfs]).mean(0)
        cover = "" if field == "nominal" else " / ".join(f"{share:.0%}" for share in shares)
        print(f"| {name} | {relative:.3f} | {centre:.2f} | {gain:.4f} | {cover} |")


if __name__ == "__main__":
    raise SystemExit(main())
