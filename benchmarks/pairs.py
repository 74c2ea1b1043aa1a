"""Real pairs of a drone camera and a hyperspectral camera: what each source of knowledge is worth.

    python benchmarks/pairs.py PAIRS --sensor rededge3 [--model NAME] [--test FLIGHT,FLIGHT...]
        [--flights FLIGHT,...] [--leave-one-out] [--known 1,3,10] [--plot PNG]

PAIRS (.npz or .csv) is a table of plots, see docs/formats.md. The other flights than those of
--test are known; with --leave-one-out each flight is predicted from all others. Every plot is
uniform ground by itself. Errors are those of the hyperspectral camera's own bands. Prints Markdown;
--json FILE writes every number.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.cross_decomposition import PLSRegression
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_score

from uavssr.calibration import Flight, calibrate, fit_camera, on_grid
from uavssr.evaluation import (
    PlotErrors,
    blind_plot_stf,
    mean_plot_errors,
    plot_errors,
    rmse,
    sam,
)
from uavssr.model import PGUNet, ResponseFamily, add_local_prior, load_model
from uavssr.sensors import FloatArray, Sensor, WavelengthGrid, load_sensor
from uavssr.spectra import PlotTable, read_plot_table

DRAWS = 20
"""Random choices of known plots."""
PENALTIES = 10.0 ** np.arange(-6, 3)
COMPONENTS = (1, 2, 3, 4, 5)


def main() -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--sensor", default="rededge3")
    parser.add_argument("--model", default="p4m-nano")
    parser.add_argument("--flights", default="", help="flights to use; all by default")
    parser.add_argument("--test", default="")
    parser.add_argument("--leave-one-out", action="store_true")
    parser.add_argument("--known", default="1,3,10", help="numbers of known plots")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="a picture (.png) of the errors")
    options = parser.parse_args()
    if not options.pairs.is_file():
        print(f"skipped: not here: {options.pairs}")
        return 0
    torch.set_num_threads(1)
    sensor, model = load_sensor(options.sensor), load_model(options.model)
    plots = read_plot_table(options.pairs, sensor)
    if options.flights:
        plots = plots.rows(np.isin(plots.flight, options.flights.split(",")))
    counts = [int(count) for count in options.known.split(",") if count]
    flights = list(plots.flights)
    tested = flights if options.leave_one_out else [f for f in options.test.split(",") if f]
    table: dict[str, dict[str, PlotErrors]] = {}
    for flight in tested:
        own = plots.flight == flight
        others = ~own if options.leave_one_out else ~np.isin(plots.flight, tested)
        bench = Bench(model.network, sensor, plots.rows(others), plots.rows(own), options.seed)
        for name, score in bench.scores(counts):
            table.setdefault(name, {})[flight] = score
    print(f"Model {model.name} ({model.sha256[:12]}), sensor {sensor.name}, seed {options.seed}.")
    known = "all others" if options.leave_one_out else f"all but {', '.join(tested)}"
    print(f"Known flights: {known}.\n")
    _print(table, tested)
    if options.plot:
        _plot(table, options.plot)
    if options.json:
        content = {name: {f: asdict(s) for f, s in row.items()} for name, row in table.items()}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


@dataclass(frozen=True)
class Bench:
    """One flight to predict, and the plots of the known flights."""

    network: PGUNet
    sensor: Sensor
    known: PlotTable
    test: PlotTable
    seed: int

    @property
    def grid(self) -> WavelengthGrid:
        """The cube's wavelengths."""
        return self.network.grid

    def scores(self, counts: list[int]) -> Iterator[tuple[str, PlotErrors]]:
        """Every estimator's name and score; `counts` are numbers of known plots of the flight."""
        yield "ridge on the known flights", self._regression(_ridge(self.known))
        yield "PLSR on the known flights", self._regression(_plsr(self.known))
        yield "blind", self._blind(self.network, self.sensor)
        profile = self._profile()
        yield "profile", self._blind(self.network, profile)
        adapted = add_local_prior(self.network, torch.from_numpy(self._local()))
        yield "adapt", self._blind(adapted, self.sensor)
        yield "profile, adapt", self._blind(adapted, profile)
        for count in counts:
            plots = "1 known plot" if count == 1 else f"{count} known plots"
            yield plots, self._calibrated(self.network, self.sensor, count)
            name = f"{plots}, profile, adapt"
            yield name, self._calibrated(adapted, profile, count)

    def _profile(self) -> Sensor:
        flights = [
            Flight(name=name, spectra=self._on_grid(part.spectra), msi=part.msi)
            for name in self.known.flights
            for part in [self.known.of(name)]
        ]
        return fit_camera(self.sensor, flights, self.grid, name="profile").sensor

    def _local(self) -> np.ndarray:
        return self._on_grid(self.known.spectra).astype(np.float32)

    def _on_grid(self, spectra: FloatArray) -> FloatArray:
        return on_grid(spectra, self.known.nm, self.network.basis).astype(float)

    def _blind(self, network: PGUNet, sensor: Sensor) -> PlotErrors:
        return plot_errors(network, blind_plot_stf(network, sensor, self.test.msi), self.test)

    def _calibrated(self, network: PGUNet, sensor: Sensor, count: int) -> PlotErrors:
        scores = []
        for draw in range(DRAWS):
            rng = np.random.default_rng([self.seed, count, draw])
            chosen = np.zeros(len(self.test.msi), bool)
            chosen[rng.choice(len(chosen), count, replace=False)] = True
            spectra, seen = self._on_grid(self.test.spectra[chosen]), self.test.msi[chosen]
            family = ResponseFamily.of(sensor, self.grid)
            stf = calibrate(family, spectra, seen, basis=network.basis).stf
            correction = network.fit_correction(
                stf, *(torch.tensor(part, dtype=torch.float32) for part in (seen, spectra))
            )
            scores.append(plot_errors(network, stf, self.test.rows(~chosen), correction))
        return mean_plot_errors(scores)

    def _regression(self, estimator: Ridge | PLSRegression) -> PlotErrors:
        estimate, truth = estimator.predict(self.test.msi).T, self.test.spectra.T
        return PlotErrors(
            plots=truth.shape[1],
            rmse=rmse(estimate, truth),
            sam=sam(estimate, truth),
            coverage=float("nan"),
        )


def _ridge(plots: PlotTable) -> Ridge:
    """Ridge regression whose penalty left-out flights choose."""
    return _best([Ridge(alpha=alpha) for alpha in PENALTIES], plots)


def _plsr(plots: PlotTable) -> PLSRegression:
    """Partial least squares whose number of components left-out flights choose."""
    return _best([PLSRegression(n_components=n) for n in COMPONENTS], plots)


def _best(candidates, plots: PlotTable):  # type: ignore[no-untyped-def]
    folds = [
        (np.flatnonzero(plots.flight != flight), np.flatnonzero(plots.flight == flight))
        for flight in plots.flights
    ]
    scores = [
        cross_val_score(
            candidate, plots.msi, plots.spectra, cv=folds, scoring="neg_root_mean_squared_error"
        ).mean()
        for candidate in candidates
    ]
    return candidates[int(np.argmax(scores))].fit(plots.msi, plots.spectra)


def _print(table: dict[str, dict[str, PlotErrors]], flights: list[str]) -> None:
    print("| estimator | RMSE | SAM deg | in 90 % interval | RMSE by flight | cover by flight |")
    print("|---|---|---|---|---|---|")
    for name, row in table.items():
        scores = [row[flight] for flight in flights]
        mean = mean_plot_errors(scores)
        by_flight = " ".join(f"{s.rmse:.4f}" for s in scores)
        cover, covers = "", ""
        if np.isfinite(mean.coverage):
            cover, covers = f"{mean.coverage:.0%}", " ".join(f"{s.coverage:.0%}" for s in scores)
        print(f"| {name} | {mean.rmse:.4f} | {mean.sam:.2f} | {cover} | {by_flight} | {covers} |")


def _plot(table: dict[str, dict[str, PlotErrors]], path: Path) -> None:
    """Bars of the mean errors of each estimator, dots for the flights."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 4.2), sharey=True, layout="constrained")
    for axis, (field, label) in zip(axes, (("rmse", "RMSE"), ("sam", "SAM, degrees")), strict=True):
        for place, (name, row) in enumerate(table.items()):
            values = [getattr(score, field) for score in row.values()]
            colour = "0.6" if "known flights" in name else "tab:green"
            axis.barh(place, np.mean(values), color=colour)
            axis.plot(values, [place] * len(values), "k.", markersize=5)
        axis.set_xlabel(label)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(table)), list(table))
    axes[0].invert_yaxis()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    raise SystemExit(main())
