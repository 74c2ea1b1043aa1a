"""The protocol `pairs`: real pairs of a drone camera and known spectra, split by flight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from uavssr.benchmark.case import Case, HeldOutImage
from uavssr.calibration import Flight
from uavssr.data import (
    PairFlights,
    PairImage,
    PlotPairs,
    RasterPairs,
    flight_pairs,
    read_pair_flights,
)
from uavssr.errors import UsageError
from uavssr.evaluation.baselines import CameraImage
from uavssr.model import ResponseFamily
from uavssr.sensors import Sensor

KNOWN_COUNTS: Final = (1, 3, 10, 30)
"""Numbers of known plots of a flight."""
DRAWS: Final = 10
"""Random choices of known plots."""
RASTER_DRAWS: Final = 3
"""The same of known pixels: an image is predicted for each."""
MIN_PLOTS_LEFT: Final = 3
"""Least number of other plots that a flight must have to be judged with so many known ones."""
NOTHING_KNOWN: Final = "nothing known"
"""Name of the set without known ground of the flight."""
_PATCH: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class PairsOptions:
    """Flights and known ground of the protocol `pairs`."""

    sensor: Sensor | None = None
    """The camera of a table of plots."""
    bands: tuple[str, ...] = ()
    """Roles of its bands that are used; all by default."""
    flights: tuple[str, ...] = ()
    """Flights to use; all by default."""
    test: tuple[str, ...] = ()
    """Flights that are judged on; the others are known. Empty: each flight from all others."""
    known: tuple[int, ...] = KNOWN_COUNTS
    """Numbers of known plots or pixels of the flight that is judged."""
    seed: int = 0
    """Of the choice of known ground."""


def pairs_cases(path: Path, options: PairsOptions) -> list[Case]:
    """The cases of a table of plots, or of a manifest of images with their cubes.

    There is one case for the test flights together, or else one for each flight. Its sets differ
    in how many plots (or pixels) of the flight are known.

    Raises:
        UsageError: no such flight, or none is left to learn from.
        InputRefused, ManifestRefused: a file cannot be used.
    """
    pairs = read_pair_flights(path, sensor=options.sensor, bands=options.bands)
    used = options.flights or pairs.flights
    pairs = replace(pairs, images=pairs.of(used))
    if options.test:
        pairs.of(options.test)  # refuses unknown names
        return [_case(pairs, options.test, options, name=pairs.name)]
    return [
        _case(pairs, (flight,), options, name=f"{pairs.name}-{flight}") for flight in pairs.flights
    ]


def _case(pairs: PairFlights, test: Sequence[str], options: PairsOptions, *, name: str) -> Case:
    known = [flight for flight in pairs.flights if flight not in test]
    if not known:
        fact = f"{pairs.name} has no flight beside {', '.join(test)}"
        raise UsageError(fact, remedy="name fewer flights with --test")
    images, family = pairs.of(test), ResponseFamily.of(pairs.sensor, pairs.grid)
    every = {NOTHING_KNOWN: tuple(_held_out(image, family, pairs.sensor.name) for image in images)}
    for count in options.known:
        drawn = tuple(_with_known(images, family, pairs.sensor.name, count, options.seed))
        if drawn:
            unit = "plot" if images[0].apart else "pixel"
            every[f"{count} known {unit}{'s' * (count != 1)}"] = drawn
    return Case(
        name=name,
        title=f"{', '.join(test)} of {pairs.name} from {', '.join(known)} ({pairs.sensor.name})",
        training=_training(pairs, pairs.of(known)),
        tests=every,
        table=pairs.name,
    )


def _training(pairs: PairFlights, images: Sequence[PairImage]) -> PlotPairs:
    flights = flight_pairs(images)
    if any(image.apart for image in images):
        return PlotPairs(sensor=pairs.sensor, grid=pairs.grid, flights=flights)
    return RasterPairs(
        sensor=pairs.sensor,
        grid=pairs.grid,
        flights=flights,
        size=min(_PATCH, *(min(image.msi.shape[1:]) for image in images)),
        scenes=tuple(np.concatenate([image.msi, image.cube]) for image in images),
    )


def _held_out(
    image: PairImage,
    family: ResponseFamily,
    camera: str,
    known: Flight | None = None,
) -> HeldOutImage:
    return HeldOutImage(
        scene=image.flight,
        camera=camera,
        image=CameraImage(msi=image.msi, family=family, known=known, apart=image.apart),
        cube=image.cube,
    )


def _with_known(
    images: Sequence[PairImage], family: ResponseFamily, camera: str, count: int, seed: int
) -> Iterator[HeldOutImage]:
    """The images with `count` random pixels known; known plots are left out of what is judged."""
    for image in images:
        pixels = image.msi[0].size
        if pixels < count + MIN_PLOTS_LEFT:
            continue
        for draw in range(DRAWS if image.apart else RASTER_DRAWS):
            rng = np.random.default_rng([seed, count, draw])
            chosen = np.zeros(pixels, bool)
            chosen[rng.choice(pixels, count, replace=False)] = True
            msi, spectra = (
                part.reshape(len(part), -1)[:, chosen].T.astype(float)
                for part in (image.msi, image.cube)
            )
            rest = image
            if image.apart:
                rest = replace(image, msi=image.msi[:, :, ~chosen], cube=image.cube[:, :, ~chosen])
            known = Flight(name=image.flight, spectra=spectra, msi=msi)
            yield _held_out(rest, family, f"{camera}, draw {draw + 1}", known)
