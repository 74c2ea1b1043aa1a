"""The effect of a camera's response on an index by kind of cover, and what a cube takes away of it.

    python benchmarks/response_effect.py LIBRARY.npz CUBE.npz... [--cameras 8] [--index EVI2]
        [--satellites sentinel2a,landsat8] [--drones p4m,m3m]

After Zhen et al. 2023, who compare EVI2 of Sentinel-2 and Landsat 8; here without an atmosphere.
The same spectra are seen through both satellites: those of the library by kind, and the pixels of
the cubes by cover. Then images with noise: the first satellite's index as it is, by the line fitted
to the library, and by a cube of its image, against the index that the second one sees of the true
cube. Last, two drone cameras over the same ground, as of benchmarks/flights.py. Prints Markdown.
Slope and offset are those of the least-squares line from the first index to the second.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from flights import Estimate, SimulatedFlight
from heldout import HeldOut, options_of

from uavssr.data import observe
from uavssr.indices import SpectralIndex, camera_term_weights, load_indices
from uavssr.model import ResponseFamily, Stf
from uavssr.sensors import BoolArray, FloatArray, Sensor, WavelengthGrid, load_sensor

DARK: Final = 0.08
"""Near-infrared reflectance below which ground is called water or shade."""
SPARSE, DENSE = 0.3, 0.7
"""NDVI at which sparse and dense vegetation begin."""
RED_NIR: Final = {"sentinel2a": ("b4", "b8"), "sentinel2b": ("b4", "b8")}
LANDSAT_RED_NIR: Final = ("b4", "b5")
REFERENCES: Final = 10
"""Known pixels of a drone's flight."""
KINDS: Final = ("canopy", "leaf", "soil", "manmade", "water")
"""Kinds of the library that are shown."""


@dataclass(frozen=True)
class Seen:
    """An index as a camera sees it."""

    index: SpectralIndex
    camera: Sensor
    grid: WavelengthGrid

    @property
    def roles(self) -> list[str]:
        """The camera's red and near-infrared bands."""
        default = LANDSAT_RED_NIR if self.camera.name.startswith("landsat") else ("red", "nir")
        return list(RED_NIR.get(self.camera.name, default))

    def bands(self, spectra: FloatArray) -> FloatArray:
        """Red and near infrared (2, n) of spectra (C, n)."""
        rows = self.camera.srf(self.grid)
        return rows[[self.camera.roles.index(role) for role in self.roles]] @ spectra

    def of_spectra(self, spectra: FloatArray) -> FloatArray:
        """(n,) the index of spectra (C, n)."""
        weights = camera_term_weights(self.index.formula, self.camera, self.grid)
        return self.index.formula.value(weights @ spectra)

    def of_image(self, image: FloatArray) -> FloatArray:
        """(n,) the index of the camera's own bands (c, n)."""
        red, nir = (image[self.camera.roles.index(role)] for role in self.roles)
        named = {"R": red, "N": nir}
        return self.index.formula.value(np.stack([named[t] for t in self.index.formula.terms]))


Values = dict[str, list[FloatArray]]
"""Differences of indices (n,) of several images by what they are the differences of."""


def main() -> int:
    """Print the tables; returns the exit code."""
    parser = options_of(__doc__, cameras=8)
    parser.add_argument("--index", default="EVI2")
    parser.add_argument("--satellites", default="sentinel2a,landsat8")
    parser.add_argument("--drones", default="p4m,m3m")
    options = parser.parse_args()
    given = HeldOut.of(options)
    index, grid = load_indices()[options.index], given.model.grid
    first, second = (Seen(index, load_sensor(name), grid) for name in options.satellites.split(","))
    given.print_header()
    print(f"Scenes: {', '.join(given.cubes)}. Index: {index.name} = {index.formula.text}.")
    line = print_library(given, first, second)
    print_scenes(given, first, second)
    print_satellites(given, first, second, line)
    print_drones(given, first, [load_sensor(name) for name in options.drones.split(",")])
    return 0


def covers(seen: Seen, spectra: FloatArray) -> dict[str, BoolArray]:
    """(n,) which spectra (C, n) are of a cover, by the camera's red and near infrared."""
    red, nir = seen.bands(spectra)
    dark, ndvi = nir < DARK, (nir - red) / np.maximum(nir + red, DARK)
    return {
        "water, shade": dark,
        "bare, built-up": ~dark & (ndvi < SPARSE),
        "sparse vegetation": ~dark & (ndvi >= SPARSE) & (ndvi < DENSE),
        "dense vegetation": ~dark & (ndvi >= DENSE),
        "all": np.ones(len(red), bool),
    }


def print_library(given: HeldOut, first: Seen, second: Seen) -> FloatArray:
    """Both indices of the library by kind; returns slope and offset of the line of all kinds."""
    library = given.library
    real = library.source != "synthetic"
    spectra, kinds = library.spectra[real].T.astype(float), library.kind[real]
    groups: dict[str, BoolArray] = {kind: kinds == kind for kind in KINDS}
    groups["all kinds"] = np.ones(len(kinds), bool)
    print("\n## Spectra of the library\n")
    return print_pairs(first, second, spectra, groups)


def print_scenes(given: HeldOut, first: Seen, second: Seen) -> None:
    """Both indices of the pixels of the cubes by cover."""
    spectra = np.concatenate([flat(cube) for cube in given.cubes.values()], 1)
    print("\n## Pixels of the scenes\n")
    print_pairs(first, second, spectra, covers(first, spectra))


def print_pairs(
    first: Seen, second: Seen, spectra: FloatArray, groups: Mapping[str, BoolArray]
) -> FloatArray:
    """A row per group: means, differences, line; returns slope and offset of the last group."""
    one, other = first.of_spectra(spectra), second.of_spectra(spectra)
    head = f"{second.camera.name} - {first.camera.name}"
    print(
        f"| cover | spectra | mean, {first.camera.name} | {head}: mean | SD | slope | offset "
        "| left by the line, RMS |"
    )
    print("|---|---|---|---|---|---|---|---|")
    line = np.zeros(2)
    for name, chosen in groups.items():
        if chosen.sum() < 3:
            print(f"| {name} | {chosen.sum()} | | | | | | |")
            continue
        x, y = one[chosen], other[chosen]
        line = np.polyfit(x, y, 1)
        left = np.square(y - np.polyval(line, x)).mean() ** 0.5
        print(
            f"| {name} | {chosen.sum()} | {x.mean():.3f} | {(y - x).mean():+.4f} "
            f"| {(y - x).std():.4f} | {line[0]:.3f} | {line[1]:+.4f} | {left:.4f} |"
        )
    return line


def print_satellites(given: HeldOut, first: Seen, second: Seen, line: FloatArray) -> None:
    """The first satellite's index against the second's, as it is and by a cube."""
    sums = defaultdict[str, Values](lambda: defaultdict(list))
    for number, cube in enumerate(given.cubes.values()):
        for seed in given.seeds(number):
            truth = second.of_spectra(flat(cube))
            chosen = covers(first, flat(cube))
            for name, value in of_satellite(given, cube, seed, first, second, line):
                add(sums, chosen, name, value - truth)
    print(f"\n## {second.camera.title} from an image of {first.camera.title}\n")
    print_differences(sums)


@torch.no_grad()
def of_satellite(
    given: HeldOut, cube: FloatArray, seed: int, first: Seen, second: Seen, line: FloatArray
) -> Iterator[tuple[str, FloatArray]]:
    """The second satellite's index (n,) from an image of the first, by kind of estimate."""
    network = given.model.network
    rows = first.camera.srf(first.grid).astype(np.float32)
    image = observe(np.random.default_rng([seed, 17]), cube[None], rows[None])
    own = first.of_image(image[0].reshape(len(rows), -1).astype(float))
    yield "as it is", own
    yield "line of the library", np.polyval(line, own)
    family = ResponseFamily.of(first.camera, first.grid)
    known = Stf.of(family, family.prior, torch.zeros_like(family.spread))
    for name, stf in (("cube, response known", known), ("cube, blind", Stf.from_prior(family))):
        result = network(torch.from_numpy(image), stf, estimate_stf=stf is not known)
        spectra = network.basis.expand(result.coefficients)[0].flatten(1).double().numpy()
        yield name, second.of_spectra(spectra)


def print_drones(given: HeldOut, common: Seen, drones: list[Sensor]) -> None:
    """The index of two drone cameras over the same ground, of their bands and of their cubes."""
    sums = defaultdict[str, Values](lambda: defaultdict(list))
    for number, cube in enumerate(given.cubes.values()):
        for seed in given.seeds(number):
            one, other = (
                dict(of_drone(replace(given, sensor=sensor), cube, seed + 500 * place, common))
                for place, sensor in enumerate(drones)
            )
            for name, value in one.items():
                add(sums, covers(common, flat(cube)), name, other[name] - value)
    names = " - ".join(sensor.name for sensor in reversed(drones))
    print(f"\n## Two drone cameras: {names}\n")
    print(f"Cubes: the index as {common.camera.name} would see it.\n")
    print_differences(sums)


def of_drone(
    given: HeldOut, cube: FloatArray, seed: int, common: Seen
) -> Iterator[tuple[str, FloatArray]]:
    """The index (n,) of a drone camera's bands, and of its cubes as another camera sees it."""
    flight = SimulatedFlight(given, cube, seed)
    own = replace(common, camera=given.sensor)
    yield "own bands", own.of_image(flight.image[0].flatten(1).double().numpy())
    estimates: dict[str, Estimate] = {
        "cubes, blind": flight.blind(),
        "cubes, ten spectra": flight.with_pixels(REFERENCES),
    }
    for name, estimate in estimates.items():
        yield name, common.of_spectra(estimate.cube.astype(float))


def add(
    sums: dict[str, Values], chosen: Mapping[str, BoolArray], name: str, difference: FloatArray
) -> None:
    """Keep the differences (n,) of one image by cover."""
    for cover, inside in chosen.items():
        sums[cover][name].append(difference[inside])


def print_differences(sums: Mapping[str, Values]) -> None:
    """A row per cover: mean difference over an image, RMS over images, and RMS of pixels."""
    names = list(sums["all"])
    print(f"| cover | {' | '.join(f'{name}: mean | RMS' for name in names)} |")
    print(f"|---|{'---|---|' * len(names)}")
    for cover, values in sums.items():
        cells = []
        for name in names:
            pixels = np.concatenate(values[name])
            missing = not pixels.size
            cells += [
                "" if missing else f"{pixels.mean():+.4f}",
                "" if missing else f"{np.square(pixels).mean() ** 0.5:.4f}",
            ]
        print(f"| {cover} | {' | '.join(cells)} |")


def flat(cube: FloatArray) -> FloatArray:
    """The pixels (C, n) of a cube (C, y, x)."""
    return cube.reshape(len(cube), -1).astype(float)


if __name__ == "__main__":
    raise SystemExit(main())
