"""The trust table of a model: which index of a cube follows the truth, by camera and ground.

    python benchmarks/trust.py LIBRARY.npz CUBE.npz... --out models/p4m-nano/trust.json
        [--sensors p4m,rededge3] [--overwrite]

Simulated flights, see benchmarks/flights.py: each cube is seen by random cameras with a common
factor of 10 %. Indices of the cube made blind, with a profile of three earlier flights, and with
ten known pixels; and of the camera's own bands, where each reflectance of the index is replaced by
that of the nearest band, at most 60 nm away, and no two by the same band.
benchmarks/trust_tables.py prints the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from flights import COMMON_FACTOR, Estimate, SimulatedFlight
from heldout import HeldOut, options_of

from uavssr.indices import (
    TRUST_COLUMNS,
    TRUST_FORMAT,
    Ground,
    SpectralIndex,
    Trust,
    find_index,
    load_indices,
    term_range,
    term_weights,
)
from uavssr.io.writers import replacing
from uavssr.sensors import BoolArray, FloatArray, Sensor, WavelengthGrid, load_sensor

REFERENCES = 10
"""Known pixels of the calibrated cubes."""
MAX_DISTANCE_NM = 60.0
"""Largest distance of a camera's band from the reflectance that it replaces."""
MIN_PIXELS = 100
"""Fewest pixels of one kind of ground in a scene."""
VEGETATION_NDVI, SOIL_NDVI = 0.5, (0.0, 0.3)
"""NDVI of vegetation, and of soil and buildings."""
MAX_PIXELS = 2500
"""Pixels of an image that are compared at most, at random."""
KEPT_SHARE = 0.99
"""Share of the pixels that count for RMSE and bias, those of the smallest errors."""

Key = tuple[str, str, Ground, str]
"""Camera, index, ground and knowledge."""
Figures = tuple[float, float, float, float]
"""Rank correlation, mean square error, bias, and variance of the truth, of one image."""


def main() -> int:
    """Measure and write the table; returns the exit code."""
    parser = options_of(__doc__, cameras=8)
    parser.add_argument("--sensors", default="p4m,rededge3")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args()
    given = HeldOut.of(options)
    rows: list[Trust] = []
    for name in options.sensors.split(","):
        of_camera = replace(given, sensor=load_sensor(name))
        rows += [trust_of(key, scenes) for key, scenes in measure(of_camera).items()]
    with replacing(options.out, overwrite=options.overwrite) as part:
        part.write_text(as_json(given, rows), encoding="utf-8")
    return 0


def measure(given: HeldOut) -> dict[Key, dict[str, list[Figures]]]:
    """The figures of every image by scene, for every index, ground and knowledge of a camera."""
    figures: dict[Key, dict[str, list[Figures]]] = {}
    for number, (scene, cube) in enumerate(given.cubes.items()):
        for seed in given.seeds(number):
            flight = SimulatedFlight(given, cube, seed)
            cubes = {
                "blind": flight.blind(),
                "profile": flight.blind(flight.profile),
                "calibrated": flight.with_pixels(REFERENCES),
            }
            for key, found in of_image(flight, cubes):
                figures.setdefault(key, {}).setdefault(scene, []).append(found)
    return figures


def of_image(
    flight: SimulatedFlight, cubes: Mapping[str, Estimate]
) -> Iterator[tuple[Key, Figures]]:
    """The figures of one image."""
    sensor, grid = flight.given.sensor, flight.network.grid
    count = flight.spectra.shape[1]
    rng = np.random.default_rng([flight.seed, 11])
    chosen = rng.choice(count, min(count, MAX_PIXELS), replace=False)
    image = flight.image[0].flatten(1).numpy()[:, chosen].astype(float)
    truth = flight.spectra[:, chosen].astype(float)
    estimates = {name: estimate.cube[:, chosen].astype(float) for name, estimate in cubes.items()}
    grounds = kinds_of_ground(truth, grid)
    for index in load_indices().values():
        weights = term_weights(index.formula, grid)
        true = index.formula.value(weights @ truth)
        values = {name: index.formula.value(weights @ cube) for name, cube in estimates.items()}
        bands = nearest_bands(index, sensor)
        if bands is not None:
            values["bands"] = index.formula.value(image[bands])
        for ground, pixels in grounds.items():
            for knowledge, value in values.items():
                usable = pixels & np.isfinite(true) & np.isfinite(value)
                if usable.sum() >= MIN_PIXELS:
                    key = (sensor.name, index.name, ground, knowledge)
                    yield key, compare(value[usable], true[usable])


def kinds_of_ground(spectra: FloatArray, grid: WavelengthGrid) -> dict[Ground, BoolArray]:
    """(n,) pixels of each kind of ground, by the NDVI of the true spectra (C, n)."""
    formula = find_index("NDVI").formula
    ndvi = formula.value(term_weights(formula, grid) @ spectra)
    low, high = SOIL_NDVI
    return {
        "all": np.ones(ndvi.shape, bool),
        "vegetation": np.asarray(ndvi > VEGETATION_NDVI),
        "soil": np.asarray((ndvi >= low) & (ndvi < high)),
    }


def nearest_bands(index: SpectralIndex, sensor: Sensor) -> list[int] | None:
    """The camera's bands that replace the reflectances of an index; None where they cannot."""
    centres = np.array([band.centre for band in sensor.bands])
    middles = [float(np.mean(term_range(term))) for term in index.formula.terms]
    bands = [int(np.abs(centres - middle).argmin()) for middle in middles]
    far = max(abs(centres[band] - nm) for band, nm in zip(bands, middles, strict=True))
    return bands if far <= MAX_DISTANCE_NM and len(set(bands)) == len(bands) else None


def compare(value: FloatArray, truth: FloatArray) -> Figures:
    """The figures of one image."""
    error = value - truth
    kept = error[np.abs(error) <= np.quantile(np.abs(error), KEPT_SHARE)]
    low, high = np.quantile(truth, [(1 - KEPT_SHARE) / 2, (1 + KEPT_SHARE) / 2])
    spread = truth[(truth >= low) & (truth <= high)].var()
    square = float(np.square(kept).mean())
    return rank_correlation(value, truth), square, float(kept.mean()), float(spread)


def rank_correlation(first: FloatArray, second: FloatArray) -> float:
    """Spearman's correlation; equal values are ranked in their order."""
    ranks = [values.argsort(kind="stable").argsort() for values in (first, second)]
    return float(np.corrcoef(*ranks)[0, 1])


def trust_of(key: Key, scenes: dict[str, list[Figures]]) -> Trust:
    """The row of a table: means over images, and the worst scene's."""
    camera, index, ground, knowledge = key
    every = np.array([figures for images in scenes.values() for figures in images])
    rank, square, bias, variance = every.mean(0).tolist()
    return Trust(
        camera=camera,
        index=index,
        ground=ground,
        knowledge=knowledge,  # type: ignore[arg-type]
        images=len(every),
        rank=rank,
        worst_rank=min(
            float(np.mean([image[0] for image in images])) for images in scenes.values()
        ),
        rmse=square**0.5,
        bias=bias,
        spread=variance**0.5,
    )


def as_json(given: HeldOut, rows: list[Trust]) -> str:
    """The content of trust.json, a line for each row."""
    head = {
        "format": TRUST_FORMAT,
        "model": given.model.name,
        "sha256": given.model.sha256,
        "simulated": True,
        "scenes": list(given.cubes),
        "images_per_scene": given.cameras,
        "common_factor_sd": COMMON_FACTOR,
        "references": REFERENCES,
        "seed": given.seed,
        "columns": list(TRUST_COLUMNS),
    }
    lines = []
    for row in rows:
        cells = [getattr(row, name) for name in TRUST_COLUMNS]
        rounded = [float(f"{cell:.3g}") if isinstance(cell, float) else cell for cell in cells]
        lines.append(json.dumps(rounded, separators=(",", ":")))
    body = ",\n".join(lines)
    return f'{json.dumps(head, indent=1)[:-2]},\n "rows": [\n{body}\n]}}\n'


if __name__ == "__main__":
    raise SystemExit(main())
