"""Errors of indices over plots against their standard errors, by the size of the plots.

    python benchmarks/zone_means.py LIBRARY.npz CUBE.npz... [--cameras 4] [--shared 0.3]
        [--compared 0.15]

Every cube is seen by random cameras with a common factor, and reconstructed blind. Plots are random
squares of it. `value` is the share of plots whose index lies in its 90 % interval, `compare` the
share of pairs of plots whose difference does; `error` is the root mean square error of an index,
`pair` that of a difference. The intervals come from `--shared` and `--compared`, the constants
`SHARED_IN_ZONE` and `SHARED_IN_COMPARISON`.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import numpy as np
import torch
from heldout import HeldOut, options_of

from uavssr.analysis import (
    IndexEvaluation,
    IndexRequest,
    SpectralErrors,
    SpectralTile,
    own_share_of_mean,
)
from uavssr.analysis.zone_statistics import SHARED_IN_COMPARISON, SHARED_IN_ZONE
from uavssr.evaluation import INTERVAL_90, draw_image
from uavssr.model import Stf
from uavssr.sensors import FloatArray
from uavssr.tiling import Window

NAMES: Final = ("NDVI", "NDRE", "CIre", "CIgreen", "MCARI", "REIP", "PRI", "WBI")
SIDES: Final = (1, 4, 16, 64)
PLOTS: Final = 200
"""Most plots of a size in an image."""


def main() -> int:
    """Print the table; returns the exit code."""
    parser = options_of(__doc__, cameras=4)
    parser.add_argument("--shared", type=float, default=SHARED_IN_ZONE)
    parser.add_argument("--compared", type=float, default=SHARED_IN_COMPARISON)
    options = parser.parse_args()
    given = HeldOut.of(options)
    requests = IndexRequest.of(NAMES, [])
    records = defaultdict[tuple[str, int], list[FloatArray]](list)
    for number, (_, cube) in enumerate(given.cubes.items()):
        for seed in given.seeds(number):
            _measure(given, cube, seed, requests, (options.shared, options.compared), records)
    given.print_header()
    print(f"Share of own errors that a plot has in common: {options.shared:g},")
    print(f"for comparing plots {options.compared:g}.\n")
    print("| index | side | plots | error | value | pair | compare |")
    print("|---|---|---|---|---|---|---|")
    for (name, side), rows in sorted(records.items(), key=lambda item: NAMES.index(item[0][0])):
        errors, value_se, differences, compare_se = np.concatenate(rows, 1)
        inside = [
            np.mean(np.abs(miss) < INTERVAL_90 * se)
            for miss, se in ((errors, value_se), (differences, compare_se))
        ]
        rms = [np.sqrt(np.median(miss**2)) / 0.6745 for miss in (errors, differences)]
        print(
            f"| {name} | {side} | {len(errors)} | {rms[0]:.3g} | {inside[0]:.0%} | {rms[1]:.3g} "
            f"| {inside[1]:.0%} |"
        )
    return 0


def _measure(given, cube, seed, requests, shared, records) -> None:
    """Add errors and standard errors (4, n) of an image's plots to the records."""
    network = given.model.network
    image, _ = draw_image(cube, given.sensor, network, seed)
    level = np.random.default_rng([seed, 6]).normal() * float(given.family.common[0])
    with torch.no_grad():
        result = network(
            image * float(np.exp(level)), Stf.from_prior(given.family), estimate_stf=True
        )
        errors = SpectralErrors(network=network, stf=result.stf, basis=network.basis)
        evaluation = IndexEvaluation.of(requests, network.grid, errors)
        height, width = cube.shape[1:]
        tile = SpectralTile(
            window=Window(0, 0, height, width),
            index=0,
            valid=np.ones((height, width), bool),
            basis=network.basis,
            coefficients=result.coefficients[0].flatten(1),
        )
        indices = evaluation(tile)
    terms = evaluation.weights.double() @ torch.from_numpy(cube).double().flatten(1)
    rng = np.random.default_rng([seed, 7])
    for i, request in enumerate(requests):
        rows = [evaluation.terms.index(term) for term in request.formula.terms]
        miss = indices.value[i].double() - request.formula.value(terms[rows])
        arrays = [part.double().numpy() for part in (miss, indices.own_variance[i])]
        maps = [part.reshape(height, width) for part in arrays]
        changes = indices.shared[i].double().numpy().reshape(-1, height, width)
        for side in SIDES:
            if 2 * side <= min(height, width):
                plots = _plots(rng, height, width, side)
                records[request.name, side].append(_plot_errors(plots, *maps, changes, shared))


def _plots(
    rng: np.random.Generator, height: int, width: int, side: int
) -> list[tuple[slice, slice]]:
    count = min(PLOTS, height * width // side**2)
    rows, cols = (rng.integers(0, size - side + 1, count) for size in (height, width))
    return [
        (slice(row, row + side), slice(col, col + side))
        for row, col in zip(rows.tolist(), cols.tolist(), strict=True)
    ]


def _plot_errors(plots, miss, own, changes, shared) -> FloatArray:
    """(4, n) error, standard error, difference to the next plot, standard error of that."""
    side = plots[0][0].stop - plots[0][0].start
    of_value, of_pair = (own_share_of_mean(1 / side**2, shared=part) for part in shared)
    error = np.array([miss[plot].mean() for plot in plots])
    variance = np.array([own[plot].mean() for plot in plots])
    change = np.array([changes[:, plot[0], plot[1]].mean((1, 2)) for plot in plots])
    value_se = np.sqrt(variance * of_value + (change**2).sum(1))
    other = np.roll(np.arange(len(plots)), 1)
    between = ((change - change[other]) ** 2).sum(1)
    pair_se = np.sqrt((variance + variance[other]) * of_pair + between)
    numbers = [error, value_se, error - error[other], pair_se]
    table = np.array(numbers)
    return table[:, np.isfinite(table).all(0)]


if __name__ == "__main__":
    raise SystemExit(main())
