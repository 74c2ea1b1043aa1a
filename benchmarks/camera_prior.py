"""Widths of the prior of real cameras' gains: `COMMON_SPREAD`, `FLIGHT_SPREAD`, `EXPECTED_COMMON`.

    python benchmarks/camera_prior.py PAIRS.npz --flights 20210707,20210715,20220628
        --sensor rededge3 --footprints SLADE.csv

PAIRS.npz holds real pairs as benchmarks/pairs.py reads them; give development flights alone.
SLADE.csv holds footprints seen by a Sequoia and a RedEdge on three flights each, and by a field
spectrometer convolved to their bands. Each flight's gains are also predicted from the camera's two
other flights, by the model of a profile. Prints Markdown.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from uavssr.calibration.camera_fit import EXPECTED_COMMON, EXPECTED_FLIGHTS
from uavssr.evaluation import INTERVAL_90
from uavssr.sensors import COMMON_SPREAD, FLIGHT_SPREAD, load_sensor
from uavssr.spectra import read_plot_table

FOOTPRINTS = {
    "Sequoia": ("S", "Seq", ("green", "red", "redEdge", "NIR")),
    "RedEdge": ("M", "MRE", ("blue", "green", "red", "redEdge", "NIR")),
}
"""Letter of a camera's columns, its name in those of the spectrometer, and its bands."""
DATA_SHEET_GAIN = 0.08
"""Prior standard deviation of a band's log gain without a profile, see `nominal_spread`."""


def main() -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--flights", required=True)
    parser.add_argument("--sensor", default="rededge3")
    parser.add_argument("--footprints", type=Path, required=True)
    options = parser.parse_args()
    missing = [str(path) for path in (options.pairs, options.footprints) if not path.is_file()]
    if missing:
        print(f"skipped: not here: {', '.join(missing)}")
        return 0
    gains = {
        options.pairs.stem: _plot_gains(options.pairs, options.flights.split(","), options.sensor)
    }
    gains |= {name: _footprint_gains(options.footprints, name) for name in FOOTPRINTS}
    print(
        "| camera | common factors by flight | rms of their logarithms | sd by flight | own, sd |"
    )
    print("|---|---|---|---|---|")
    for name, log_gain in gains.items():
        common = log_gain.mean(1)
        own = _own_deviation(log_gain)
        factors = " ".join(f"{factor:.2f}" for factor in np.exp(common))
        size, spread = np.sqrt(np.square(common).mean()), common.std(ddof=1)
        print(f"| {name} | {factors} | {size:.3f} | {spread:.3f} | {own:.3f} |")
    size = np.sqrt(np.mean([np.square(log_gain.mean(1)).mean() for log_gain in gains.values()]))
    print(f"\nRoot mean square of the common factor over {len(gains)} cameras: {size:.3f}")
    _print_predictions(gains)
    return 0


def _print_predictions(gains: dict[str, np.ndarray]) -> None:
    """A table of each flight's gains, measured, and predicted from the others."""
    print("\n## The next flight's gains, predicted from the camera's other flights\n")
    print(
        "| camera | flight | measured (from short to long wavelengths) | predicted | log se | rms |"
    )
    print("|---|---|---|---|---|---|")
    lines = [
        "\n| camera | rms with a profile | in 90 % interval | without | in 90 % interval |",
        "|---|---|---|---|---|",
    ]
    nothing = np.sqrt(COMMON_SPREAD**2 + DATA_SHEET_GAIN**2)
    for name, log_gain in gains.items():
        errors, deviations = [], []
        for flight, measured in enumerate(log_gain):
            mean, variance = _predicted(np.delete(log_gain, flight, axis=0))
            deviations.append((measured - mean) / np.sqrt(variance))
            cells = [
                " ".join(f"{value:.2f}" for value in values)
                for values in (np.exp(measured), np.exp(mean), np.sqrt(variance))
            ]
            errors.append(measured - mean)
            rms = np.sqrt(np.square(errors[-1]).mean())
            print(f"| {name} | {flight + 1} | {' | '.join(cells)} | {rms:.3f} |")
        both = deviations, log_gain / nothing
        shares = [(np.abs(part) < INTERVAL_90).mean() for part in both]
        known, unknown = (np.sqrt(np.square(part).mean()) for part in (errors, log_gain))
        lines.append(
            f"| {name} | {known:.3f} | {shares[0]:.0%} | {unknown:.3f} | {shares[1]:.0%} |"
        )
    print("\n".join(lines))


def _predicted(log_gain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance (c,) of the log gains of the next flight, given those of F flights (F, c).

    The camera's gains have the prior N(0, C^2 1 1^T + d^2 I); each flight adds a common factor
    N(0, T^2) and deviations N(0, w^2). T and w follow by expectation maximisation as in
    `calibration.camera_fit`, where the gains are exactly known.
    """
    flights, bands = log_gain.shape
    ones, unit = np.ones((bands, bands)), np.eye(bands)
    prior = COMMON_SPREAD**2 * ones + DATA_SHEET_GAIN**2 * unit
    common, own = EXPECTED_COMMON**2, FLIGHT_SPREAD**2
    for _ in range(200):
        change = common * ones + own * unit
        # y_f = m + t_f 1 + o_f;  m | y ~ N(mean, covariance)
        covariance = np.linalg.inv(np.linalg.inv(prior) + flights * np.linalg.inv(change))
        mean = covariance @ np.linalg.inv(change) @ log_gain.sum(0)
        left = log_gain - mean
        second = left.T @ left / flights + covariance
        # E[t^2] and E[o o^T] of a flight, given E[(y - m)(y - m)^T]
        to_common = common * np.linalg.solve(change, np.ones(bands))
        to_own = own * np.linalg.inv(change)
        square = to_common @ second @ to_common + common - common * to_common.sum()
        owns = to_own @ second @ to_own.T + own * unit - own * to_own
        count = EXPECTED_FLIGHTS + flights
        common = (EXPECTED_FLIGHTS * EXPECTED_COMMON**2 + flights * square) / count
        own = (EXPECTED_FLIGHTS * FLIGHT_SPREAD**2 + flights * np.trace(owns) / bands) / count
    return mean, covariance.diagonal() + common + own


def _plot_gains(path: Path, flights: list[str], sensor: str) -> np.ndarray:
    """Logarithm of image / integrated spectra (F, c), the median over each flight's plots."""
    camera = load_sensor(sensor)
    table = read_plot_table(path, camera)
    gains = []
    for flight in flights:
        plots = table.of(flight)
        response = camera.response(plots.nm)
        predicted = plots.spectra @ (response / response.sum(1, keepdims=True)).T
        gains.append(np.median(np.log(plots.msi / predicted), axis=0))
    return np.stack(gains)


def _footprint_gains(path: Path, camera: str) -> np.ndarray:
    """The same (3, c) of a camera's footprints."""
    letter, name, bands = FOOTPRINTS[camera]
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))

    def column(key: str) -> np.ndarray:
        return np.array([float(row[key] or "nan") for row in rows])

    seen = [[column(f"T{flight}{letter}_{band}") for band in bands] for flight in (1, 2, 3)]
    truth = [column(f"MeanFwd{name}resamp{band[0].upper()}{band[1:]}") for band in bands]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nanmedian(np.log(np.array(seen) / np.array(truth)), axis=2)


def _own_deviation(log_gain: np.ndarray) -> float:
    """Standard deviation of a band's gain from flight to flight, beside the common factor."""
    flights, bands = log_gain.shape
    left = log_gain - log_gain.mean(1, keepdims=True)
    left = left - left.mean(0)
    return float(np.sqrt(np.square(left).sum() / ((flights - 1) * (bands - 1))))


if __name__ == "__main__":
    raise SystemExit(main())
