"""Planted differences between plots: how often they are found, against their standard error.

    python benchmarks/planted_plots.py LIBRARY.npz CUBE.npz... [--cameras 4]

Pairs of plots in the scenes and flights of benchmarks/index_coverage.py, reconstructed blind. A
difference is found if it exceeds 1.96 standard errors, the root of the sum of the squares of both
`compare_se`, with the right sign. z is the true difference over that standard error; `expected` is
what a normal distribution finds.

`one crop`: the second plot has the spectra of the first one, mixed with 0 to 60 % of another place.
`other crop`: plots as they are in the scene, whose spectra differ. At z below 0.25, what is found
is a false alarm: its sign is arbitrary, and 5 % are expected.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import replace
from typing import Final

import numpy as np
from flights import SimulatedFlight
from heldout import HeldOut, options_of
from index_coverage import PlotScene, flights_of, squares
from scipy.special import ndtr

from uavssr.analysis import IndexRequest, zone_statistics
from uavssr.sensors import Float32Array, FloatArray
from uavssr.tiling import Window

NAMES: Final = ("NDVI", "CIgreen", "NDRE", "CIre", "MCARI", "REIP")
LIMIT: Final = 1.96
"""Standard errors that a difference of 5 % false alarms exceeds."""
EDGES: Final = (0.0, 0.25, 1.0, 2.0, 3.0, 5.0, np.inf)
"""Limits of classes of z."""
PLOTS: Final = 100
"""Most plots of an image."""
MAX_SHARE: Final = 0.6
"""Largest share of the other place in a planted plot."""

Pairs = tuple[FloatArray, FloatArray, FloatArray]
"""True differences (n,), estimated ones, and their standard errors."""


def main() -> int:
    """Print the table; returns the exit code."""
    given = HeldOut.of(options_of(__doc__, cameras=4).parse_args())
    requests = IndexRequest.of(NAMES, [])
    records = defaultdict[tuple[str, str], list[Pairs]](list)
    for flight in flights_of(given):
        plots = squares(*flight.cube.shape[1:], flight.seed, PLOTS)
        planted = replace(flight, cube=plant(flight.cube, plots, flight.seed))
        for kind, seen in (("one crop", planted), ("other crop", flight)):
            for name, pairs in pairs_of(seen, plots, requests).items():
                records[kind, name].append(pairs)
    given.print_header()
    for kind in ("one crop", "other crop"):
        print_power(kind, {name: records[kind, name] for name in NAMES})
    return 0


def plant(cube: Float32Array, plots: list[Window], seed: int) -> Float32Array:
    """The cube (C, y, x) whose every second plot is that before it, mixed with a third one."""
    rng = np.random.default_rng([seed, 13])
    planted = cube.copy()
    for first, second in zip(plots[::2], plots[1::2], strict=False):
        other = plots[rng.integers(len(plots))]
        share = np.float32(rng.choice([0.0, rng.uniform(0, MAX_SHARE)], p=[0.3, 0.7]))
        mixed = (1 - share) * cube[:, first.rows, first.cols]
        mixed = mixed + share * cube[:, other.rows, other.cols]
        order = rng.permutation(first.height * first.width)
        shuffled = mixed.reshape(len(cube), -1)[:, order].reshape(mixed.shape)
        planted[:, second.rows, second.cols] = shuffled
    return planted


def pairs_of(
    flight: SimulatedFlight, plots: list[Window], requests: list[IndexRequest]
) -> dict[str, Pairs]:
    """The differences of the second plot of each pair from the first, by index."""
    scene = PlotScene(flight=flight, estimate=flight.blind(), plots=plots)
    rows = zone_statistics(scene.source, scene.zones(), requests)
    result = {}
    for request in requests:
        numbers = np.array([row.indices[request.name] for row in rows])
        mean, error, true = numbers[:, 0], numbers[:, 4], scene.true_means(request)
        count = len(plots) // 2 * 2
        first, second = slice(0, count, 2), slice(1, count, 2)
        result[request.name] = (
            true[second] - true[first],
            mean[second] - mean[first],
            np.hypot(error[first], error[second]),
        )
    return result


def print_power(kind: str, parts: dict[str, list[Pairs]]) -> None:
    """Print a row for each class of z: shares found, with the number of pairs."""
    print(f"## {kind}\n\n| z | expected | {' | '.join(parts)} |\n|{'---|' * (2 + len(parts))}")
    for low, high in itertools.pairwise(EDGES):
        cells, expectations = [], []
        for true, seen, error in (np.concatenate(pairs, 1) for pairs in parts.values()):
            z = np.abs(true) / error
            chosen = (z >= low) & (z < high) & np.isfinite(seen)
            z, beyond = z[chosen], np.abs(seen[chosen]) > LIMIT * error[chosen]
            if low > 0:
                beyond &= np.sign(seen[chosen]) == np.sign(true[chosen])
            cells.append(f"{beyond.mean():.0%} of {len(z)}" if len(z) else "")
            expectations.append(ndtr(z - LIMIT) + (ndtr(-z - LIMIT) if low == 0 else 0))
        expected = np.concatenate(expectations)
        label = f"{low:g} and more" if np.isinf(high) else f"{low:g} to {high:g}"
        share = f"{expected.mean():.0%}" if len(expected) else ""
        print(f"| {label} | {share} | {' | '.join(cells)} |")
    print()


if __name__ == "__main__":
    raise SystemExit(main())
