"""Errors of every index, and the share of true values in its 90 % interval, by pixel and plot.

    python benchmarks/index_coverage.py LIBRARY.npz CUBE.npz... [--cameras 8]

Simulated flights (benchmarks/flights.py). The factor common to all bands has the standard deviation
of the prior: a part differs from camera to camera, and `COMMON_FACTOR` from flight to flight. The
cameras' part is a normal distribution's quantiles in random order. Plots are squares of `SIDE`
pixels. `pixel`, `plot` and `compare` are shares in 90 % intervals: of the index of single pixels,
of means over plots (`value_se`), and of differences of two plots of an image (both `compare_se`).
Vegetation indices count over vegetation, soil indices over soil and buildings, others over all
ground.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import shapely
import torch
from flights import COMMON_FACTOR, Estimate, SimulatedFlight
from heldout import HeldOut, options_of
from scipy.special import ndtri
from trust import KEPT_SHARE, REFERENCES, kinds_of_ground

from uavssr.analysis import (
    IndexEvaluation,
    IndexRequest,
    SpectralErrors,
    SpectralSource,
    SpectralTile,
    Zone,
    zone_statistics,
)
from uavssr.evaluation import INTERVAL_90
from uavssr.indices import find_index, ground_of, load_indices, term_weights
from uavssr.sensors import FloatArray
from uavssr.tiling import TileGrid, Window

SIDE: Final = 8
"""Side of a plot in pixels."""
PLOTS: Final = 20
"""Most plots of an image."""
PIXELS: Final = 500
"""Most single pixels of an image."""
MIN_COUNT: Final = 5
"""Fewest pixels or plots of a kind of ground in an image."""
GROUP: Final = 12
"""Indices that are computed together."""
HELD: Final = (0.85, 0.95)
"""Shares between which an interval of 90 % counts as held."""
KNOWLEDGE: Final = ("blind", "profile", "calibrated")

Judged = tuple[FloatArray, FloatArray]
"""Errors (n,) and their standard errors (n,)."""


def main() -> int:
    """Print the tables; returns the exit code."""
    given = HeldOut.of(options_of(__doc__, cameras=8).parse_args())
    figures = defaultdict[tuple[str, str], list[FloatArray]](list)
    for flight in flights_of(given):
        plots = squares(*flight.cube.shape[1:], flight.seed)
        for knowledge, estimate in estimates_of(flight).items():
            scene = PlotScene(flight=flight, estimate=estimate, plots=plots)
            for name, row in of_image(scene).items():
                figures[name, knowledge].append(row)
    given.print_header()
    print_summary(figures)
    print_indices(figures)
    return 0


def flights_of(given: HeldOut) -> Iterator[SimulatedFlight]:
    """The flights over all scenes."""
    count = len(given.cubes) * given.cameras
    order = np.random.default_rng([given.seed, 12]).permutation(count)
    spread = (float(given.family.common[0]) ** 2 - COMMON_FACTOR**2) ** 0.5
    levels = iter(spread * ndtri((order + 0.5) / count))
    for number, cube in enumerate(given.cubes.values()):
        for seed in given.seeds(number):
            yield SimulatedFlight(given, cube, seed, float(next(levels)))


def estimates_of(flight: SimulatedFlight) -> dict[str, Estimate]:
    """The cubes by what is known of the camera."""
    return {
        "blind": flight.blind(),
        "profile": flight.blind(flight.profile),
        "calibrated": flight.with_pixels(REFERENCES),
    }


def squares(height: int, width: int, seed: int, most: int = PLOTS) -> list[Window]:
    """Squares of a grid, at random."""
    rows, cols = height // SIDE, width // SIDE
    rng = np.random.default_rng([seed, 7])
    chosen = rng.choice(rows * cols, min(rows * cols, most), replace=False)
    return [Window(n // cols * SIDE, n % cols * SIDE, SIDE, SIDE) for n in chosen.tolist()]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotScene:
    """A reconstructed image with plots."""

    flight: SimulatedFlight
    estimate: Estimate
    plots: Sequence[Window]

    @property
    def tile(self) -> SpectralTile:
        """All pixels."""
        height, width = self.flight.cube.shape[1:]
        return SpectralTile(
            window=Window(0, 0, height, width),
            index=0,
            valid=np.ones((height, width), bool),
            basis=self.errors.basis,
            coefficients=self.estimate.coefficients,
        )

    @property
    def errors(self) -> SpectralErrors:
        """What the errors of the spectra follow from."""
        network, correction = self.flight.network, self.estimate.correction
        return SpectralErrors(
            network=network,
            stf=self.estimate.stf,
            basis=network.basis if correction is None else correction.basis,
            correction=correction,
        )

    @property
    def source(self) -> SpectralSource:
        """The spectra as a run of `uavssr plots` has them."""
        height, width = self.flight.cube.shape[1:]
        return SpectralSource(
            grid=self.flight.network.grid,
            height=height,
            width=width,
            crs_wkt="",
            transform=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0),
            inputs=(),
            tags={},
            tiles=TileGrid(height=height, width=width, tile=max(height, width)),
            read=lambda *_: self.tile,
            errors=self.errors,
            workers=1,
        )

    def zones(self) -> list[Zone]:
        """The plots as polygons."""
        return [
            Zone(
                name=str(number),
                outline=shapely.box(
                    plot.col, plot.row, plot.col + plot.width, plot.row + plot.height
                ),
            )
            for number, plot in enumerate(self.plots)
        ]

    def true_means(self, request: IndexRequest) -> FloatArray:
        """(n,) the true mean of an index over each plot."""
        weights = term_weights(request.formula, self.flight.network.grid)
        cube = self.flight.cube
        means = []
        for plot in self.plots:
            spectra = cube[:, plot.rows, plot.cols].reshape(len(cube), -1).astype(float)
            means.append(request.formula.value(weights @ spectra).mean())
        return np.array(means)


def of_image(scene: PlotScene) -> dict[str, FloatArray]:
    """The figures of an image by index: two RMSEs and three shares in intervals."""
    figures = {}
    for requests in groups(list(load_indices())):
        singles, rows = pixel_errors(scene, requests), plot_errors(scene, requests)
        for name, single in singles.items():
            value, compared = rows[name]
            figures[name] = np.array(
                [rmse(single), rmse(value), share(single), share(value), share(compared)]
            )
    return figures


def groups(names: Sequence[str]) -> Iterator[list[IndexRequest]]:
    """A few indices at a time: the covariance grows with the square of their reflectances."""
    for first in range(0, len(names), GROUP):
        yield IndexRequest.of(names[first : first + GROUP], [])


@torch.inference_mode()
def pixel_errors(scene: PlotScene, requests: Sequence[IndexRequest]) -> dict[str, Judged]:
    """Errors and standard errors of random pixels, by index."""
    flight, grid = scene.flight, scene.flight.network.grid
    rng = np.random.default_rng([flight.seed, 11])
    count = flight.spectra.shape[1]
    chosen = rng.choice(count, min(count, PIXELS), replace=False)
    evaluation = IndexEvaluation.of(requests, grid, scene.errors)
    maps = evaluation(scene.tile.chosen(torch.from_numpy(chosen))).maps().double().numpy()
    spectra = flight.spectra[:, chosen].astype(float)
    grounds = kinds_of_ground(spectra, grid)
    result = {}
    for number, request in enumerate(requests):
        true = request.formula.value(term_weights(request.formula, grid) @ spectra)
        counted = grounds[ground_of(find_index(request.name))]
        result[request.name] = (
            (maps[2 * number] - true)[counted],
            maps[2 * number + 1][counted],
        )
    return result


def plot_errors(
    scene: PlotScene, requests: Sequence[IndexRequest]
) -> dict[str, tuple[Judged, Judged]]:
    """Errors and standard errors of plots, and of differences of each to the next, by index."""
    rows = zone_statistics(scene.source, scene.zones(), requests)
    ndvi = scene.true_means(IndexRequest.of(["NDVI"], [])[0])
    result = {}
    for request in requests:
        ground = ground_of(find_index(request.name))
        counted = {"all": ndvi > -1, "vegetation": ndvi > 0.5, "soil": (ndvi > 0) & (ndvi < 0.3)}
        numbers = np.array([row.indices[request.name] for row in rows])[counted[ground]]
        mean, value_se, compare_se = numbers[:, [0, 3, 4]].T
        error = mean - scene.true_means(request)[counted[ground]]
        pair = error - np.roll(error, 1)
        pair_se = np.hypot(compare_se, np.roll(compare_se, 1))
        result[request.name] = (error, value_se), (pair, pair_se)
    return result


def rmse(judged: Judged) -> float:
    """Root mean square of the smallest 99 % of the errors; NaN where there are few."""
    error = np.abs(judged[0][np.isfinite(judged[0])])
    if len(error) < MIN_COUNT:
        return float("nan")
    return float(np.sqrt(np.mean(error[error <= np.quantile(error, KEPT_SHARE)] ** 2)))


def share(judged: Judged) -> float:
    """Share of errors in 90 % intervals; NaN where there are few."""
    error, standard_error = (part[np.isfinite(judged[0])] for part in judged)
    if len(error) < MIN_COUNT:
        return float("nan")
    return float(np.mean(np.abs(error) <= INTERVAL_90 * standard_error))


def print_summary(figures: dict[tuple[str, str], list[FloatArray]]) -> None:
    """Print how many indices hold, and the mean, least and largest shares."""
    print("| known | of | mean | least | largest | indices with 85-95 % | below | above |")
    print("|---|---|---|---|---|---|---|---|")
    for knowledge in KNOWLEDGE:
        rows = [means(images) for (_, known), images in figures.items() if known == knowledge]
        for column, of in enumerate(("pixel", "plot", "compare"), start=2):
            shares = np.array([row[column] for row in rows])
            shares = np.round(shares[np.isfinite(shares)], 2)
            low, high = (shares < HELD[0]).sum(), (shares > HELD[1]).sum()
            print(
                f"| {knowledge} | {of} | {shares.mean():.0%} | {shares.min():.0%} "
                f"| {shares.max():.0%} | {len(shares) - low - high} | {low} | {high} |"
            )


def print_indices(figures: dict[tuple[str, str], list[FloatArray]]) -> None:
    """Print a row for each index: RMSE of pixels and plots, and the three shares."""
    head = "".join(f" {known}: RMSE | plot RMSE | pixel | plot | compare |" for known in KNOWLEDGE)
    print(f"\n| index |{head}\n|{'---|' * (1 + 5 * len(KNOWLEDGE))}")
    for name in load_indices():
        cells = []
        for known in KNOWLEDGE:
            row = means(figures[name, known])
            numbers = [f"{row[0]:.3g}", f"{row[1]:.3g}", *(f"{part:.0%}" for part in row[2:])]
            cells += ["" if "nan" in number else number for number in numbers]
        print(f"| {name} | {' | '.join(cells)} |")


def means(images: list[FloatArray]) -> FloatArray:
    """(5,) means over images; of RMSEs the root mean square."""
    table = np.array(images)
    table = np.hstack([table[:, :2] ** 2, table[:, 2:]])
    counted = np.isfinite(table)
    total = np.where(counted, table, 0).sum(0) / np.maximum(counted.sum(0), 1)
    result = np.where(counted.any(0), total, np.nan)
    return np.concatenate([np.sqrt(result[:2]), result[2:]])


if __name__ == "__main__":
    raise SystemExit(main())
