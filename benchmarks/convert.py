"""Errors of converted bands and of NDVI as another camera gives it, against the true cube.

    python benchmarks/convert.py LIBRARY.npz CUBE.npz... [--cameras 8] [--to sentinel2a,m3m]

Simulated flights, see benchmarks/flights.py: each cube is seen by random cameras with a common
factor of 10 %, and reconstructed blind and with ten known pixels. The truth is what the other
camera sees of the true cube. `own band` is the camera's band nearest to the other's, at most 60 nm
away, taken as it is. RMSE leaves out the 1 % of an image's pixels of the largest errors. `in 90 %`
is the share of all pixels within 1.645 standard errors. NDVI is judged where the reflectances of
red and near infrared add up to 0.1 or more. The last table has means over squares of `SIDES`
pixels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import torch
from flights import Estimate, SimulatedFlight
from heldout import HeldOut, options_of
from trust import KEPT_SHARE, MAX_DISTANCE_NM, REFERENCES

from uavssr.analysis import (
    Conversion,
    IndexEvaluation,
    IndexRequest,
    SpectralTile,
    own_share_of_mean,
)
from uavssr.evaluation import INTERVAL_90
from uavssr.indices import camera_term_weights
from uavssr.sensors import FloatArray, Sensor, load_sensor
from uavssr.tiling import Window

SIDES: Final = (1, 8, 16)
"""Sides in pixels of the squares of the last table."""
DARK: Final = 0.1
"""Sum of red and near-infrared reflectance below which NDVI, their ratio, is not judged."""
KINDS: Final = ("own band", "blind", "ten spectra")


class Maps(NamedTuple):
    """A quantity over an image, (y, x) each, and its errors where they are known."""

    value: FloatArray
    own_variance: FloatArray | None = None
    shared: FloatArray | None = None
    """(s, y, x)."""


class Figures(NamedTuple):
    """Means over the pixels or squares of an image."""

    truth: float
    square: float
    """Square of the error."""
    inside: float
    """Share of them within the 90 % interval; NaN without standard errors."""


Key = tuple[str, str, str, int]
"""Camera, quantity, kind, side."""


def main() -> int:
    """Print the tables; returns the exit code."""
    parser = options_of(__doc__, cameras=8)
    parser.add_argument("--to", default="sentinel2a,landsat9,m3m")
    options = parser.parse_args()
    given = HeldOut.of(options)
    targets = [load_sensor(name) for name in options.to.split(",")]
    sums = defaultdict[Key, list[Figures]](list)
    for number, cube in enumerate(given.cubes.values()):
        for seed in given.seeds(number):
            for key, figures in of_flight(SimulatedFlight(given, cube, seed), targets):
                sums[key].append(figures)
    given.print_header()
    print(f"Scenes: {', '.join(given.cubes)}.")
    print_tables({key: Figures(*np.mean(rows, 0)) for key, rows in sums.items()}, targets)
    return 0


def of_flight(flight: SimulatedFlight, targets: list[Sensor]) -> Iterator[tuple[Key, Figures]]:
    """The figures of one image."""
    estimates = {"blind": flight.blind(), "ten spectra": flight.with_pixels(REFERENCES)}
    for target in targets:
        rows = target.srf(flight.network.grid)
        bands = dict(
            zip(target.roles, np.tensordot(rows, flight.cube.astype(float), 1), strict=True)
        )
        truths = bands | {"NDVI": true_ndvi(flight, target)}
        kinds = {"own band": own_bands(flight, target)}
        kinds |= {name: converted(flight, each, target) for name, each in estimates.items()}
        for kind, quantities in kinds.items():
            for name, maps in quantities.items():
                for side in SIDES:
                    yield (target.name, name, kind, side), figures_of(maps, truths[name], side)


def true_ndvi(flight: SimulatedFlight, target: Sensor) -> FloatArray:
    """(y, x) NDVI as the other camera sees the true cube; NaN where the ground is dark."""
    formula = ndvi().formula
    weights = camera_term_weights(formula, target, flight.network.grid)
    terms = np.tensordot(weights, flight.cube.astype(float), 1)
    return np.where(terms.sum(0) >= DARK, formula.value(terms), np.nan)


def ndvi() -> IndexRequest:
    """NDVI of broad bands."""
    return IndexRequest.of(["NDVI"], [])[0]


def own_bands(flight: SimulatedFlight, target: Sensor) -> dict[str, Maps]:
    """The camera's nearest band for each of the other's, and NDVI of its own bands."""
    sensor, image = flight.given.sensor, flight.image[0].double().numpy()
    centres = np.array([band.centre for band in sensor.bands])
    maps = {}
    for band in target.bands:
        nearest = int(np.abs(centres - band.centre).argmin())
        if abs(centres[nearest] - band.centre) <= MAX_DISTANCE_NM:
            maps[band.role] = Maps(image[nearest])
    red, nir = (image[sensor.roles.index(role)] for role in ("red", "nir"))
    return maps | {"NDVI": Maps((nir - red) / (nir + red))}


@torch.inference_mode()
def converted(flight: SimulatedFlight, estimate: Estimate, target: Sensor) -> dict[str, Maps]:
    """The other camera's bands and NDVI of an estimate."""
    network, shape = flight.network, flight.cube.shape[1:]
    errors = estimate.errors(network)
    tile = SpectralTile(
        window=Window(0, 0, *shape),
        index=0,
        valid=np.ones(shape, bool),
        basis=errors.basis,
        coefficients=estimate.coefficients,
    )
    conversion = Conversion.of(target, network.grid, errors)
    bands = conversion(tile)
    index = IndexEvaluation.of([ndvi()], network.grid, errors, camera=target)(tile)
    names = (*conversion.sensor.roles, "NDVI")
    rows = [(*bands.value, *index.value), (*bands.own_variance, *index.own_variance)]
    shared = conversion.band_errors.shared_of(bands.extended[None])[0]
    rows.append((*shared, *index.shared))
    return {
        name: Maps(*(part.double().numpy().reshape(*part.shape[:-1], *shape) for part in parts))
        for name, *parts in zip(names, *rows, strict=True)
    }


def figures_of(maps: Maps, truth: FloatArray, side: int) -> Figures:
    """The figures of a quantity over squares of an image."""
    truth, value = means(truth, side), means(maps.value, side)
    usable = np.isfinite(value) & np.isfinite(truth)
    error = np.abs(value - truth)[usable]
    kept = error[error <= np.quantile(error, KEPT_SHARE)]
    inside = np.nan
    if maps.own_variance is not None and maps.shared is not None:
        own = means(maps.own_variance, side) * own_share_of_mean(1 / side**2)
        se = np.sqrt(own + np.square(means(maps.shared, side)).sum(0))
        inside = float((error < INTERVAL_90 * se[usable]).mean())
    return Figures(float(truth[usable].mean()), float(np.square(kept).mean()), inside)


def means(maps: FloatArray, side: int) -> FloatArray:
    """Means (..., k, l) over squares of maps (..., y, x); the rest is left out."""
    rows, cols = maps.shape[-2] // side, maps.shape[-1] // side
    whole = maps[..., : rows * side, : cols * side]
    return whole.reshape(*maps.shape[:-2], rows, side, cols, side).mean((-3, -1))


def print_tables(table: dict[Key, Figures], targets: list[Sensor]) -> None:
    """Bands and NDVI of each camera at the pixel, and means over squares."""
    for target in targets:
        print(f"\n## {target.name}: {target.title}\n")
        print("| band | nm | mean | own band | blind | in 90 % | ten spectra | in 90 % |")
        print("|---|---|---|---|---|---|---|---|")
        centres = {band.role: f"{band.centre:.0f}" for band in target.bands} | {"NDVI": ""}
        for role, nm in centres.items():
            blind = table[target.name, role, "blind", 1]
            cells = (cell(table.get((target.name, role, kind, 1))) for kind in KINDS)
            print(f"| {role} | {nm} | {blind.truth:.3f} | {' | '.join(cells)} |")
    print("\n## Means over squares\n")
    print("RMSE of all bands, and of NDVI.\n")
    print(
        "| camera | side | bands, blind | in 90 % | ten spectra | in 90 % | NDVI, blind | in 90 % "
        "| ten spectra | in 90 % |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for target in targets:
        for side in SIDES:
            cells = [
                cell(Figures(*np.mean([table[target.name, role, kind, side] for role in roles], 0)))
                for roles in (target.roles, ("NDVI",))
                for kind in KINDS[1:]
            ]
            print(f"| {target.name} | {side} | {' | '.join(cells)} |")


def cell(figures: Figures | None) -> str:
    """RMSE, and the share inside where standard errors are known."""
    if figures is None:
        return "-"
    share = "" if np.isnan(figures.inside) else f" | {figures.inside:.0%}"
    return f"{figures.square**0.5:.4f}{share}"


if __name__ == "__main__":
    raise SystemExit(main())
