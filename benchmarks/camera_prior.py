"""Widths of the prior of real cameras' gains: `COMMON_SPREAD`, `FLIGHT_SPREAD`, `EXPECTED_COMMON`.

    python benchmarks/camera_prior.py PAIRS.npz --flights 20210707,20210715,20220628
        --sensor rededge3 --footprints SLADE.csv

PAIRS.npz holds real pairs as benchmarks/pairs.py reads them; give development flights alone.
SLADE.csv holds footprints seen by a Sequoia and a RedEdge on three flights each, and by a field
spectrometer convolved to their bands. Prints Markdown.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from uavssr.sensors import load_sensor
from uavssr.spectra import read_plot_table

FOOTPRINTS = {
    "Sequoia": ("S", "Seq", ("green", "red", "redEdge", "NIR")),
    "RedEdge": ("M", "MRE", ("blue", "green", "red", "redEdge", "NIR")),
}
"""Letter of a camera's columns, its name in those of the spectrometer, and its bands."""


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
    return 0


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
