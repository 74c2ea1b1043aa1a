"""The protocol `pairs`: real pairs of a drone camera and known spectra, split by flight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

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
from uavssr.errors import InputRefused, UsageError
from uavssr.evaluation.baselines import CameraImage
from uavssr.io.bounded import is_folder, read_table, why_unread
from uavssr.model import ResponseFamily
from uavssr.sensors import Band, Sensor, load_sensor

KNOWN_COUNTS: Final = (1, 3, 10, 30)
"""Numbers of known plots of a flight."""
DRAWS: Final = 5
"""Random choices of known plots."""
RASTER_DRAWS: Final = 3
"""The same of known pixels: an image is predicted for each."""
MIN_PLOTS_LEFT: Final = 3
"""Least number of other plots that a flight must have to be judged with so many known ones."""
NOTHING_KNOWN: Final = "nothing known"
"""Name of the set without known ground of the flight."""
_PATCH: Final = 64
_MAX_TABLE_BYTES: Final = 2**20
_KNOWN_STREAM: Final = 0
"""Start of the seeds of known plots, equal for all methods."""


BEET_TEST_FLIGHTS: Final = ("20220715", "20220818", "20210802")
WHEAT_BANDS: Final = ("b2", "g2", "r1", "re2", "nir")
"""The five of ten bands that the spectra are predicted from."""


class KnownDraws(NamedTuple):
    """The known ground of test flights."""

    counts: tuple[int, ...]
    """Numbers of known plots or pixels."""
    draws: int
    """Random choices of known plots."""


def pairs_cases(
    data: Path,
    *,
    sensor: str | Path | None = None,
    bands: Sequence[str] = (),
    flights: Sequence[str] = (),
    test: Sequence[str] = (),
    known: Sequence[int] = KNOWN_COUNTS,
    draws: int = DRAWS,
) -> list[Case]:
    """The cases of real pairs; their sets differ in how many plots of the flight are known.

    Args:
        data: a table of plots, or a manifest of images with their cubes; or the folder with the
            tables of beet (`pairs`) and wheat (`speclib`, `srf`), whose flights are chosen.
        sensor: the camera of a table, by name or file.
        bands: roles of its bands that are used, all by default.
        flights: flights to use, all by default.
        test: flights to judge on, in one case; the others are known. Without them there is a case
            for each flight, and all others are known.
        known: numbers of known plots, or of known pixels of a raster.
        draws: random choices of known plots; of known pixels there are `RASTER_DRAWS`.

    Raises:
        UsageError: no such flight, or none is left to learn from.
        InputRefused, ManifestRefused: a file cannot be used.
    """
    ground = KnownDraws(tuple(known), draws)
    if is_folder(data):
        if sensor or bands or flights or test:
            fact = "a camera, bands and flights go with one file of pairs"
            raise UsageError(fact, path=data, remedy="give --data the file")
        return published_pairs(data, ground)
    camera = load_sensor(sensor) if sensor is not None else None
    pairs = read_pair_flights(data, sensor=camera, bands=bands)
    if flights:
        pairs = replace(pairs, images=pairs.of(flights))
    return _cases(pairs, test, ground)


def published_pairs(data: Path, known: KnownDraws) -> list[Case]:
    """Table beet by its test flights, and wheat with one growth stage after the other held out."""
    beet = read_pair_flights(
        data / "pairs" / "beet_rededge_headwall.npz", sensor=load_sensor("rededge3")
    )
    wheat = read_pair_flights(
        data / "speclib" / "wheat_uavms_asd_pairs.npz",
        sensor=_wheat_camera(data / "srf" / "m2h_uav10band_srf_400-900.csv"),
        bands=WHEAT_BANDS,
    )
    beet, wheat = replace(beet, name="beet"), replace(wheat, name="wheat")
    return [*_cases(beet, BEET_TEST_FLIGHTS, known), *_cases(wheat, (), known)]


def _wheat_camera(path: Path) -> Sensor:
    """The camera of the wheat pairs: its table has wavelengths in nm in the first column."""
    try:
        header, *rows = [row for row in read_table(path, _MAX_TABLE_BYTES) if row]
        nm, *curves = np.array(rows, float).T.tolist()
        bands = zip(header[1:], curves, strict=True)
        return Sensor(
            name="wheat-uav",
            bands=tuple(Band.from_curve(role.lower(), nm, curve) for role, curve in bands),
        )
    except (OSError, ValueError) as err:
        raise InputRefused(f"no response curves ({why_unread(err, path)})", path=path) from err


def _cases(pairs: PairFlights, test: Sequence[str], known: KnownDraws) -> list[Case]:
    start = f"{pairs.name}, {pairs.sensor.name}: "
    if test:
        pairs.of(test)  # refuses unknown names
        others = [flight for flight in pairs.flights if flight not in test]
        title = f"{start}{', '.join(test)} from {', '.join(others)}"
        return [_case(pairs, test, known, name=pairs.name, title=title)]
    title = f"{start}each flight from the {len(pairs.flights) - 1} others"
    return [
        _case(pairs, (flight,), known, name=f"{pairs.name}-{flight}", title=title)
        for flight in pairs.flights
    ]


def _case(
    pairs: PairFlights, test: Sequence[str], known: KnownDraws, *, name: str, title: str
) -> Case:
    others = [flight for flight in pairs.flights if flight not in test]
    if not others:
        fact = f"{pairs.name} has no flight beside {', '.join(test)}"
        raise UsageError(fact, remedy="name fewer flights with --test")
    images, family = pairs.of(test), ResponseFamily.of(pairs.sensor, pairs.grid)
    camera = pairs.sensor.name
    every = {NOTHING_KNOWN: tuple(_held_out(image, family, camera) for image in images)}
    unit = "plot" if images[0].apart else "pixel"
    for count in known.counts:
        if drawn := tuple(_with_known(images, family, camera, known._replace(counts=(count,)))):
            every[f"{count} known {unit}{'s' * (count != 1)}"] = drawn
    training = _training(pairs, pairs.of(others))
    return Case(name=name, title=title, training=training, tests=every, table=pairs.name)


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
    images: Sequence[PairImage], family: ResponseFamily, camera: str, ground: KnownDraws
) -> Iterator[HeldOutImage]:
    """The images with random pixels known; known plots are left out of what is judged."""
    (count,) = ground.counts
    for image in images:
        pixels = image.msi[0].size
        if pixels < count + MIN_PLOTS_LEFT:
            continue
        for draw in range(ground.draws if image.apart else RASTER_DRAWS):
            rng = np.random.default_rng([_KNOWN_STREAM, count, draw])
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
