"""What each source of knowledge of the camera buys: errors of the cube, from blind to 50 spectra.

    python benchmarks/knowledge.py LIBRARY.npz CUBE.npz... [--sensor p4m] [--plot PICTURE.png]
        [--record FILE.json] [--seconds N]

Simulated flights with a common factor of 10 %, see benchmarks/flights.py. Prints Markdown: means
over cameras and scenes. *Gap closed* is the share of what the true R would remove of the blind
RMSE; more than 100 % where known spectra also correct the cube.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from flights import Estimate, SimulatedFlight
from heldout import HeldOut, options_of

from uavssr.evaluation import INTERVAL_90, rmse, sam
from uavssr.model import GAIN

PIXELS = (1, 3, 5, 10, 50)
"""Numbers of known pixels."""
SOURCES: Mapping[str, Callable[[SimulatedFlight], Estimate]] = {
    "nothing, blind": SimulatedFlight.blind,
    "profile of three flights": lambda flight: flight.blind(flight.profile),
    "a Sentinel-2 image": SimulatedFlight.with_satellite,
    "a grey card": SimulatedFlight.with_card,
    "a grey card and the profile": lambda flight: flight.with_card(flight.profile),
    **{
        f"{count} known pixel{'s' if count > 1 else ''}": (
            lambda flight, count=count: flight.with_pixels(count)
        )
        for count in PIXELS
    },
    "the true R": SimulatedFlight.with_true_stf,
}
"""Estimates by what is known."""


@dataclass(frozen=True)
class Errors:
    """Errors of one estimate of one image."""

    rmse: float
    """Of the cube, reflectance."""
    sam: float
    """Of the cube, degrees."""
    covered: float
    """Share of bands and pixels of the cube in the nominal 90 % interval."""
    gain: float
    """Mean square relative error of the gains."""
    gain_covered: float
    """Share of the gains in the nominal 90 % interval."""
    centre: float
    """Mean square error of the centres, nm squared."""


def main() -> int:
    """Print the table; returns the exit code."""
    parser = options_of(__doc__, cameras=8)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--record", type=Path, help="keep the errors here, and go on from there")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so many")
    options = parser.parse_args()
    given, end = HeldOut.of(options), time.monotonic() + options.seconds
    record: dict[str, list[list[float]]] = {}
    if options.record is not None and options.record.is_file():
        record = json.loads(options.record.read_text(encoding="utf-8"))
    for number, (scene, cube) in enumerate(given.cubes.items()):
        for seed in given.seeds(number):
            if f"{scene} {seed}" in record:
                continue
            if time.monotonic() > end:
                print(f"{len(record)} images done: run again to go on")
                return 0
            flight = SimulatedFlight(given, cube, seed)
            estimates = SOURCES.values()
            record[f"{scene} {seed}"] = [list(astuple(errors_of(flight, of))) for of in estimates]
            if options.record is not None:
                options.record.write_text(json.dumps(record), encoding="utf-8")
    errors = np.array(
        [
            [record[f"{scene} {seed}"] for seed in given.seeds(number)]
            for number, scene in enumerate(given.cubes)
        ]
    )  # (scene, camera, source, error)
    given.print_header()
    print_table(errors)
    print_scenes(errors[..., 0], list(given.cubes))
    if options.plot is not None:
        draw(errors, list(given.cubes), options.plot)
    return 0


def errors_of(
    flight: SimulatedFlight, estimate_of: Callable[[SimulatedFlight], Estimate]
) -> Errors:
    """The errors of an estimate."""
    estimate, truth = estimate_of(flight), flight.spectra
    theta, theta_se = (part[0].numpy() for part in (estimate.stf.theta, estimate.stf.theta_se))
    gain = theta[:, GAIN] - flight.log_gain
    gain_se = np.hypot(theta_se[:, GAIN], float(estimate.stf.common_se[0]))
    return Errors(
        rmse=rmse(estimate.cube, truth),
        sam=sam(estimate.cube, truth),
        covered=float((np.abs(estimate.cube - truth) < INTERVAL_90 * estimate.sigma).mean()),
        gain=float(np.square(np.expm1(gain)).mean()),
        gain_covered=float((np.abs(gain) <= INTERVAL_90 * gain_se).mean()),
        centre=float(np.square(flight.centre_errors(estimate)).mean()),
    )


def print_table(errors: np.ndarray) -> None:
    """The means over cameras and scenes."""
    print(
        "| known | RMSE | / blind | gap closed | SAM deg | cube in 90 % interval | gains, RMS "
        "| gains in 90 % interval | centres, RMS nm |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    names, mean = list(SOURCES), errors.mean((0, 1))
    blind, best = mean[0, 0], mean[-1, 0]
    for name, (error, angle, covered, gain, gain_covered, centre) in zip(names, mean, strict=True):
        cells = [f"{error:.4f}", f"{error / blind:.2f}", f"{(blind - error) / (blind - best):.0%}"]
        cells += [f"{angle:.2f}", f"{covered:.0%}", f"{gain**0.5:.1%}"]
        cells += ["", ""] if name == names[-1] else [f"{gain_covered:.0%}", f"{centre**0.5:.1f}"]
        print(f"| {name} | {' | '.join(cells)} |")


def print_scenes(rmses: np.ndarray, scenes: list[str]) -> None:
    """RMSE of each scene (scene, camera, source)."""
    print(f"\n| RMSE | {' | '.join(scenes)} |")
    print(f"|---|{'---|' * len(scenes)}")
    for name, row in zip(SOURCES, rmses.mean(1).T, strict=True):
        print(f"| {name} | {' | '.join(f'{value:.4f}' for value in row)} |")


def draw(errors: np.ndarray, scenes: list[str], path: Path) -> None:
    """A picture of RMSE and spectral angle by what is known."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4.6), sharey=True, layout="constrained")
    names = list(SOURCES)
    places = np.arange(len(names))[::-1]
    titles = {
        "Error of the cube (RMSE, reflectance)": ".4f",
        "Error of the shape (spectral angle, degrees)": ".2f",
    }
    for quantity, (axis, (title, digits)) in enumerate(zip(axes, titles.items(), strict=True)):
        means = errors[..., quantity].mean(1)
        axis.barh(places, means.mean(0), color="0.85", height=0.7)
        for scene, values in zip(scenes, means, strict=True):
            axis.plot(values, places, "o", markersize=4, label=scene)
        for place, value in zip(places, means.mean(0), strict=True):
            axis.text(0, place, f" {value:{digits}}", va="center", fontsize=8, color="0.3")
        axis.set_title(title, fontsize=10)
        axis.set_xlim(left=0)
        axis.grid(axis="x", color="0.92")
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(places, names)
    handles, labels = axes[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    figure.suptitle("What is known of the camera, and what it buys (simulated; bars: mean)")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    raise SystemExit(main())
