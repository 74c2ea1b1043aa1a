"""Accuracy of a model on cubes that no training saw: the tables of docs/accuracy.md.

    python benchmarks/accuracy.py LIBRARY.npz CUBE.npz... [--model NAME] [--sensor p4m]

Prints Markdown on stdout and, with --json, writes every figure.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from heldout import HeldOut, options_of

from uavssr.evaluation import Judged, StfFigures, gap_closed, judge, table

WORTH = 0.05
"""The least share of the error that knowing R must take away for a gap that can be closed."""


def main() -> int:
    """Print the tables; returns the exit code."""
    parser = options_of(__doc__, cameras=16)
    parser.add_argument("--brief", action="store_true", help="means over all scenes alone")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    given = HeldOut.of(options)
    scenes = {
        name: [
            judge(given.model.network, given.ridge, cube, given.sensor, seed)
            for seed in given.seeds(number)
        ]
        for number, (name, cube) in enumerate(given.cubes.items())
    }
    given.say()
    _print_scenes(scenes, brief=options.brief)
    _print_ratios(scenes)
    every = [judged for judged in scenes.values() for judged in judged]
    _print_stf([each.blind for each in every], [each.paired for each in every])
    print()
    for name, which in (("blind", "interval"), ("taught", "taught_interval")):
        held = [np.mean([getattr(j, which) for j in judged]) for judged in scenes.values()]
        print(
            f"Of all bands and pixels of the {name} cubes {np.mean(held):.1%} lie in the nominal "
            f"90 % interval (scenes: {_range(held)})."
        )
    if options.json:
        record = {name: [asdict(each) for each in judged] for name, judged in scenes.items()}
        text = json.dumps(record, indent=1, default=np.ndarray.tolist)
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


def _print_scenes(scenes: dict[str, list[Judged]], *, brief: bool) -> None:
    print("| scene | estimator | RMSE | / ridge | SAM deg | / ridge | round trip |")
    print("|---|---|---|---|---|---|---|")
    parts = {} if brief else scenes
    everything = [each for judged in scenes.values() for each in judged]
    for scene, judged in {**parts, "**all**": everything}.items():
        for name, error, ratio, angle, angle_ratio, trip in table([j.figures for j in judged]):
            back = "" if np.isnan(trip) else f"{trip:.2%}"
            print(
                f"| {scene} | {name} | {error:.4f} | {ratio:.3f} | {angle:.2f} | {angle_ratio:.3f} "
                f"| {back} |"
            )


def _print_ratios(scenes: dict[str, list[Judged]]) -> None:
    """The figures that count, a line a scene."""
    print(
        "\n| scene | blind RMSE / ridge | SAM / ridge | gap closed, blind | known pixels, R alone "
        "| known pixels |"
    )
    print("|---|---|---|---|---|---|")
    lines = []
    for scene, judged in scenes.items():
        rows = {name: values for name, *values in table([j.figures for j in judged])}
        alone, taught = (name for name in rows if name.startswith("network") and "known" in name)
        gaps = [_mean_gap(judged, name) for name in ("network, blind", alone)]
        blind = rows["network, blind"]
        line = [blind[1], blind[3], gaps[0], rows[alone][1], rows[taught][1], gaps[1]]
        lines.append(line)
        cells = ["-" if np.isnan(value) else f"{value:.3f}" for value in line[:5]]
        print(f"| {scene} | " + " | ".join(cells) + " |")
    mean = np.nanmean(lines, 0)
    print("| **mean** | " + " | ".join(f"**{value:.3f}**" for value in mean[:5]) + " |")
    of = f"{np.isfinite(np.array(lines)[:, 5]).sum()} of {len(lines)} scenes"
    print(f"\nGap closed by the STF of known pixels: {mean[5]:.3f} (of {of}).")
    if all(len(judged) > 1 for judged in scenes.values()):
        _print_spread(scenes)


def _print_spread(scenes: dict[str, list[Judged]]) -> None:
    """How much the blind figures hang on the cameras that were drawn."""
    for name in ("rmse", "sam"):
        ratios = [
            [
                next(getattr(f, name) for f in each.figures if f.estimator == "network, blind")
                / getattr(each.figures[0], name)
                for each in judged
            ]
            for judged in scenes.values()
        ]
        deviation = np.std(ratios, axis=1, ddof=1)
        error = np.sqrt((deviation**2).mean() / np.size(ratios))
        print(
            f"Blind {name.upper()} / ridge {np.mean(ratios):.3f} +- {error:.3f} (standard error); "
            f"from camera to camera of a scene +- {deviation.mean():.2f}."
        )


def _mean_gap(judged: list[Judged], estimator: str) -> float:
    """Of a scene: from the mean errors over its cameras; NaN where R is worth next to nothing."""
    means = [
        type(judged[0].figures[0])(
            estimator=each.estimator,
            rmse=float(np.mean([j.figures[k].rmse for j in judged])),
            sam=0.0,
            round_trip=0.0,
        )
        for k, each in enumerate(judged[0].figures)
    ]
    error = {each.estimator: each.rmse for each in means}
    worth = 1 - error["network, true R"] / error["network, data sheet"]
    return gap_closed(means, estimator) if worth >= WORTH else float("nan")


def _print_stf(blind: list[StfFigures], paired: list[StfFigures]) -> None:
    def rms(stfs: list[StfFigures], name: str) -> float:
        return float(np.sqrt(np.mean(np.concatenate([getattr(s, name) for s in stfs]) ** 2)))

    def covered(stfs: list[StfFigures]) -> str:
        shares = np.concatenate([s.covered for s in stfs]).mean(0)
        return " / ".join(f"{share:.0%}" for share in shares)

    def relative(stfs: list[StfFigures], name: str) -> float:
        return float(np.mean([getattr(s, name) for s in stfs]))

    rows = [
        ("data sheet", blind, "nominal_", ""),
        ("blind", blind, "", covered(blind)),
        ("known pixels", paired, "", covered(paired)),
    ]
    print(
        "\n| STF | relative error | centre, RMS nm | gain, RMS | 90 % cover (centre/width/gain) |"
    )
    print("|---|---|---|---|---|")
    for name, stfs, prefix, cover in rows:
        print(
            f"| {name} | {relative(stfs, prefix + 'relative'):.3f} "
            f"| {rms(stfs, prefix + 'centre'):.2f} | {rms(stfs, prefix + 'gain'):.4f} | {cover} |"
        )


def _range(values: list[float]) -> str:
    return f"{min(values):.0%}-{max(values):.0%}"


if __name__ == "__main__":
    raise SystemExit(main())
