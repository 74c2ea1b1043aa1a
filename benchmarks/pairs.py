"""Real pairs of a drone camera and a hyperspectral camera: what each source of knowledge is worth.

    python benchmarks/pairs.py PAIRS.npz --sensor rededge3 [--model NAME] [--test FLIGHT,FLIGHT...]
        [--leave-one-out] [--known 1,3,10] [--plot PNG]

PAIRS.npz holds means over plots: `ms` (n, c) of the camera, `hs` (n, W) at `wavelength_nm` (W,),
and `flight` (n,). The other flights than those of --test are known; with --leave-one-out each
flight is predicted from all others. Every plot is drawn as 9 x 9 equal pixels. Errors are those of
the hyperspectral camera's own bands. Prints Markdown; --json FILE writes every number.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from sklearn.cross_decomposition import PLSRegression
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_score

from uavssr.calibration import Flight, calibrate, fit_camera, on_grid
from uavssr.evaluation import INTERVAL_90, rmse, sam
from uavssr.model import PGUNet, ResponseFamily, Stf, add_local_prior, load_model
from uavssr.sensors import BoolArray, FloatArray, Sensor, WavelengthGrid, load_sensor

SIDE = 9
"""Pixels along a side of a plot."""
DRAWS = 20
"""Random choices of known plots."""
PENALTIES = 10.0 ** np.arange(-6, 3)
COMPONENTS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Plots:
    """Means over n plots."""

    ms: FloatArray
    """(n, c) of the camera."""
    hs: FloatArray
    """(n, W) of the hyperspectral camera."""
    nm: FloatArray
    """(W,) its wavelengths."""
    flight: np.ndarray
    """(n,) date of the flight."""

    def of(self, chosen: BoolArray) -> Plots:
        """The chosen plots."""
        return replace(self, ms=self.ms[chosen], hs=self.hs[chosen], flight=self.flight[chosen])


@dataclass(frozen=True)
class Score:
    """Errors of an estimate of one flight."""

    rmse: float
    sam: float
    coverage: float
    """Share within the nominal 90 % interval; NaN without standard errors."""


def main() -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--sensor", default="rededge3")
    parser.add_argument("--model", default="p4m-nano")
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
    plots, model = _read(options.pairs), load_model(options.model)
    sensor = load_sensor(options.sensor)
    counts = [int(count) for count in options.known.split(",")]
    flights = sorted(set(plots.flight.tolist()))
    tested = flights if options.leave_one_out else [f for f in options.test.split(",") if f]
    table: dict[str, dict[str, Score]] = {}
    for flight in tested:
        own = plots.flight == flight
        others = ~own if options.leave_one_out else ~np.isin(plots.flight, tested)
        bench = Bench(model.network, sensor, plots.of(others), plots.of(own), options.seed)
        for name, score in bench.scores(counts):
            table.setdefault(name, {})[flight] = score
    print(f"Model {model.name} ({model.sha256[:12]}), sensor {sensor.name}, seed {options.seed}.")
    known = "all others" if options.leave_one_out else f"all but {', '.join(tested)}"
    print(f"Known flights: {known}.\n")
    _print(table, tested)
    if options.plot:
        _plot(table, options.plot)
    if options.json:
        content = {name: {f: vars(s) for f, s in row.items()} for name, row in table.items()}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


def _read(path: Path) -> Plots:
    with np.load(path, allow_pickle=False) as file:
        ms, hs = file["ms"].astype(float), file["hs"].astype(float)
        return Plots(ms, hs, file["wavelength_nm"].astype(float), file["flight"])


@dataclass(frozen=True)
class Bench:
    """One flight to predict, and the plots of the known flights."""

    network: PGUNet
    sensor: Sensor
    known: Plots
    test: Plots
    seed: int

    @property
    def grid(self) -> WavelengthGrid:
        """The cube's wavelengths."""
        return self.network.grid

    def scores(self, counts: list[int]) -> Iterator[tuple[str, Score]]:
        """Every estimator's name and score; `counts` are numbers of known plots of the flight."""
        yield "ridge on the known flights", self._regression(_ridge(self.known))
        yield "PLSR on the known flights", self._regression(_plsr(self.known))
        yield "blind", self._score(self.network, self._blind(self.network, self.sensor))
        profile = self._profile()
        yield "profile", self._score(self.network, self._blind(self.network, profile))
        adapted = add_local_prior(self.network, torch.from_numpy(self._local()))
        yield "adapt", self._score(adapted, self._blind(adapted, self.sensor))
        yield "profile, adapt", self._score(adapted, self._blind(adapted, profile))
        for count in counts:
            plots = "1 known plot" if count == 1 else f"{count} known plots"
            yield plots, self._calibrated(self.network, self.sensor, count)
            name = f"{plots}, profile, adapt"
            yield name, self._calibrated(adapted, profile, count)

    def _profile(self) -> Sensor:
        flights = [
            Flight(name=str(flight), spectra=self._on_grid(part.hs), msi=part.ms)
            for flight in sorted(set(self.known.flight.tolist()))
            for part in [self.known.of(self.known.flight == flight)]
        ]
        return fit_camera(self.sensor, flights, self.grid, name="profile").sensor

    def _local(self) -> np.ndarray:
        return self._on_grid(self.known.hs).astype(np.float32)

    def _on_grid(self, spectra: FloatArray) -> FloatArray:
        return on_grid(spectra, self.known.nm, self.network.basis).astype(float)

    def _image(self, plots: Plots) -> torch.Tensor:
        """(1, c, 9, 9 n) the plots side by side."""
        wide = np.repeat(plots.ms.T[:, None], SIDE, 1).repeat(SIDE, 2)
        return torch.from_numpy(wide[None].astype(np.float32))

    @torch.no_grad()
    def _blind(self, network: PGUNet, sensor: Sensor) -> Stf:
        start = Stf.from_prior(ResponseFamily.of(sensor, self.grid))
        return network(self._image(self.test), start, estimate_stf=True).stf

    def _calibrated(self, network: PGUNet, sensor: Sensor, count: int) -> Score:
        scores = []
        for draw in range(DRAWS):
            rng = np.random.default_rng([self.seed, count, draw])
            chosen = np.zeros(len(self.test.ms), bool)
            chosen[rng.choice(len(chosen), count, replace=False)] = True
            spectra, seen = self._on_grid(self.test.hs[chosen]), self.test.ms[chosen]
            family = ResponseFamily.of(sensor, self.grid)
            stf = calibrate(family, spectra, seen, basis=network.basis).stf
            correction = network.fit_correction(
                stf, *(torch.tensor(part, dtype=torch.float32) for part in (seen, spectra))
            )
            scores.append(self._score(network, stf, ~chosen, correction))
        return Score(*np.mean([(s.rmse, s.sam, s.coverage) for s in scores], 0).tolist())

    @torch.no_grad()
    def _score(self, network: PGUNet, stf: Stf, chosen=None, correction=None) -> Score:  # type: ignore[no-untyped-def]
        image, middle = self._image(self.test), slice(SIDE // 2, None, SIDE)
        result = network(image, stf, estimate_stf=False, correction=correction)
        basis = network.basis if correction is None else correction.basis
        uncertainty = network.cube_uncertainty(stf, correction)
        sigma = uncertainty.expand(uncertainty.maps(image, result.coefficients))
        cube, error = (
            part[0, :, SIDE // 2, middle].double().numpy()
            for part in (basis.expand(result.coefficients), sigma)
        )
        chosen = np.ones(len(self.test.ms), bool) if chosen is None else chosen
        nm, truth = self.test.nm, self.test.hs[chosen].T
        estimate, sigma = (
            np.stack([np.interp(nm, self.grid.centres, row) for row in part.T[chosen]], 1)
            for part in (cube, error)
        )
        covered = np.abs(estimate - truth) < INTERVAL_90 * sigma
        return Score(rmse(estimate, truth), sam(estimate, truth), float(covered.mean()))

    def _regression(self, estimator: Ridge | PLSRegression) -> Score:
        estimate, truth = estimator.predict(self.test.ms).T, self.test.hs.T
        return Score(rmse(estimate, truth), sam(estimate, truth), float("nan"))


def _ridge(plots: Plots) -> Ridge:
    """Ridge regression whose penalty left-out flights choose."""
    return _best([Ridge(alpha=alpha) for alpha in PENALTIES], plots)


def _plsr(plots: Plots) -> PLSRegression:
    """Partial least squares whose number of components left-out flights choose."""
    return _best([PLSRegression(n_components=n) for n in COMPONENTS], plots)


def _best(candidates, plots: Plots):  # type: ignore[no-untyped-def]
    folds = [
        (np.flatnonzero(plots.flight != flight), np.flatnonzero(plots.flight == flight))
        for flight in sorted(set(plots.flight.tolist()))
    ]
    scores = [
        cross_val_score(
            candidate, plots.ms, plots.hs, cv=folds, scoring="neg_root_mean_squared_error"
        ).mean()
        for candidate in candidates
    ]
    return candidates[int(np.argmax(scores))].fit(plots.ms, plots.hs)


def _print(table: dict[str, dict[str, Score]], flights: list[str]) -> None:
    print("| estimator | RMSE | SAM deg | in 90 % interval | RMSE by flight | cover by flight |")
    print("|---|---|---|---|---|---|")
    for name, row in table.items():
        scores = [row[flight] for flight in flights]
        mean = np.mean([(s.rmse, s.sam, s.coverage) for s in scores], 0)
        by_flight = " ".join(f"{s.rmse:.4f}" for s in scores)
        cover, covers = "", ""
        if np.isfinite(mean[2]):
            cover, covers = f"{mean[2]:.0%}", " ".join(f"{s.coverage:.0%}" for s in scores)
        print(f"| {name} | {mean[0]:.4f} | {mean[1]:.2f} | {cover} | {by_flight} | {covers} |")


def _plot(table: dict[str, dict[str, Score]], path: Path) -> None:
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
