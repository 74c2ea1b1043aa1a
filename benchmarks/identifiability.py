"""What an image determines of a camera: free and parametric responses, factors, cameras, ground.

    python benchmarks/identifiability.py LIBRARY.npz CUBE.npz... [--sensor p4m] [--cameras 8]
        [--plot PICTURE.png] [--tables spans,ranks,factor,cameras]

First the spectra are known, see benchmarks/response_fits.py: scenes of rank k, seen by random
cameras with noise of 0.1 %. The free response is the ridge regression with the least error of R,
which only the truth can choose; the parametric one is that of `uavssr.calibration`. Errors of R are
split by the span of the scene's spectra. Then images alone: one of all bands 10 % brighter; and
cameras near and far from their data sheet over ground of known and of new material, see `GROUNDS`
and `CAMERAS`. *Level corrected*: the cube times the factor that brings it nearest to the truth.
Prints Markdown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import torch
from flights import Estimate, SimulatedFlight
from heldout import HeldOut, options_of
from response_fits import (
    ResponseErrors,
    errors_at,
    free_response,
    known_scene,
    parametric_response,
)

from uavssr.data import RandomCameras, simulate_scene
from uavssr.evaluation import draw_image, rmse, sam, stf_error
from uavssr.model import GAIN, SHIFT, Stf
from uavssr.sensors import Float32Array, FloatArray, nominal_spread

RANKS: Final = (1, 2, 4, 8, 16, 32, 64)
DRAWN_RANK, DRAWN_BAND = 8, 2
"""Rank and band of the curves that are drawn."""
FACTOR: Final = 1.1
SIDE: Final = 64
"""Side in pixels of simulated scenes."""
DISTANCE: Final = 2.0
"""Prior standard deviations by which a far camera's bands are off, beside its random draw."""
BUMPS: Final = 12
"""Narrow bands of reflection in a spectrum of paint."""


def main() -> int:
    """Print the tables; returns the exit code."""
    parser = options_of(__doc__, cameras=8)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--tables", default="spans,ranks,factor,cameras")
    options = parser.parse_args()
    given, tables = HeldOut.of(options), options.tables.split(",")
    given.print_header()
    print(f"Scenes: {', '.join(given.cubes)}.")
    if "spans" in tables:
        print_span(given)
    if "ranks" in tables or options.plot is not None:
        errors = {rank: errors_at(given, rank) for rank in RANKS}
        print_ranks(errors)
    if "factor" in tables:
        print_factor(given)
    if "cameras" in tables:
        print_cameras(given)
    if options.plot is not None:
        draw(given, errors, options.plot)
    return 0


# --- the span ------------------------------------------------------------------------------------


def print_span(given: HeldOut) -> None:
    """How much of the data sheet's R lies outside span(E, mean), and what images show of that."""
    network = given.model.network
    rows = torch.from_numpy(given.sensor.srf(given.model.grid))
    # R Q Q^T with [E, mean] = Q T
    orthonormal, _ = torch.linalg.qr(network.basis.extended.double())
    inside = rows @ orthonormal @ orthonormal.mT
    change = float((rows - inside).norm() / rows.norm())
    print("\n## The span of the basis\n")
    print(f"| scene | R without its part outside span(E, mean) | its image |\n{'|---' * 3}|")
    for name, cube in given.cubes.items():
        spectra = torch.from_numpy(cube.reshape(len(cube), -1)).double()
        seen = float(((rows - inside) @ spectra).norm() / (rows @ spectra).norm())
        print(f"| {name} | changed by {change:.0%} | changed by {seen:.2%} |")


# --- known spectra -------------------------------------------------------------------------------


def print_ranks(errors: Mapping[int, Mapping[str, ResponseErrors]]) -> None:
    """The errors of R against the rank of the scene."""
    print("\n## Known spectra: error of R against the rank of the scene\n")
    print(
        "| rank | free: misfit of the image | error of R | in the span | outside "
        "| misfit elsewhere | parametric: misfit of the image | error of R | in the span | outside "
        "| misfit elsewhere |"
    )
    print(f"|{'---|' * 11}")
    for rank, of in errors.items():
        cells = []
        for e in (of["free"], of["parametric"]):
            cells += [e.image, e.whole, e.inside, e.outside, e.elsewhere]
        print(f"| {rank} | {' | '.join(f'{100 * value:.2g} %' for value in cells)} |")


# --- the image alone -----------------------------------------------------------------------------


@torch.no_grad()
def print_factor(given: HeldOut) -> None:
    """What becomes of a factor common to all bands, in the cube and in the gains."""
    network, logs = given.model.network, []
    stf = Stf.from_prior(given.family)
    for number, cube in enumerate(given.cubes.values()):
        for seed in given.seeds(number):
            image, _ = draw_image(cube, given.sensor, network, seed)
            one, other = (network(part, stf, estimate_stf=True) for part in (image, FACTOR * image))
            cubes = [float(network.basis.expand(of.coefficients).mean()) for of in (one, other)]
            gains = other.stf.theta[0, :, GAIN] - one.stf.theta[0, :, GAIN]
            logs.append([np.log(cubes[1] / cubes[0]), float(gains.mean()), float(gains.std())])
    cube_log, gain_log, spread = np.mean(logs, 0)
    print("\n## The common factor\n")
    print(
        f"An image {FACTOR:g} times as bright makes the cube {np.exp(cube_log):.3f} times as "
        f"bright, and the gains {np.exp(gain_log):.3f} times as large; these differ from each "
        f"other by {spread:.1%} (means over cameras and scenes)."
    )


def paints(rng: np.random.Generator, count: int, nm: FloatArray) -> FloatArray:
    """(count, C) spectra of narrow bands of reflection, unlike all of the library."""
    centre = rng.uniform(nm[0], nm[-1], (count, BUMPS, 1))
    width, height = rng.uniform(8, 25, centre.shape), rng.uniform(0.05, 0.3, centre.shape)
    bumps = height * np.exp(-0.5 * ((nm - centre) / width) ** 2)
    return np.asarray(0.03 + bumps.sum(1))


def library_grounds(given: HeldOut) -> list[Float32Array]:
    """Scenes (C, y, x) made of the library, on which the model was trained."""
    rngs = [np.random.default_rng([given.seed, 30, number]) for number in range(2)]
    return [simulate_scene(given.library, rng, SIDE, SIDE) for rng in rngs]


def paint_grounds(given: HeldOut) -> list[Float32Array]:
    """The same with a library of paints."""
    rng = np.random.default_rng([given.seed, 31])
    count, nm = len(given.library.spectra) // 20, given.model.grid.centres
    chosen = rng.choice(len(given.library.spectra), count, replace=False)
    spectra = paints(rng, count, nm).astype(np.float32)
    library = replace(
        given.library,
        spectra=spectra,
        kind=given.library.kind[chosen],
        source=given.library.source[chosen],
    )
    return [simulate_scene(library, rng, SIDE, SIDE) for _ in range(2)]


GROUNDS: Final[Mapping[str, Callable[[HeldOut], list[Float32Array]]]] = {
    "of the library": library_grounds,
    "of the scenes": lambda given: list(given.cubes.values()),
    "paints, unlike the library": paint_grounds,
}
"""Ground by its material."""


@dataclass(frozen=True)
class FarCamera(SimulatedFlight):
    """A flight with a camera whose bands are far from the data sheet."""

    @cached_property
    def drawn(self) -> tuple[torch.Tensor, RandomCameras, float]:
        """As of any flight; each band's centre is moved by `DISTANCE` standard deviations."""
        rng, sensor = np.random.default_rng([self.seed, 32]), self.given.sensor
        spread = nominal_spread(np.array([band.fwhm for band in sensor.bands]))[:, 0]
        moved = DISTANCE * spread * rng.choice([-1, 1], len(spread))
        bands = zip(sensor.bands, moved, strict=True)
        far = replace(sensor, bands=tuple(replace(b, centre=b.centre + nm) for b, nm in bands))
        _, near, factor = super().drawn
        image, cameras = draw_image(self.cube, far, self.network, self.seed)
        theta = near.theta.copy()
        theta[..., SHIFT] += moved
        return image * float(np.exp(factor)), replace(cameras, theta=theta), factor


CAMERAS: Final[Mapping[str, tuple[type[SimulatedFlight], bool]]] = {
    "seen before: three earlier flights": (SimulatedFlight, True),
    "new, near its data sheet": (SimulatedFlight, False),
    "new, far from its data sheet": (FarCamera, False),
}
"""Kind of flight, and whether the camera's profile is given."""


def print_cameras(given: HeldOut) -> None:
    """Errors of the blind cube and STF by camera and ground."""
    print("\n## Cameras and ground\n")
    print(
        "| camera | material | RMSE, blind | level corrected | with the true R | SAM, blind "
        "| with the true R | gains beside the common factor, RMS | centres, RMS nm | R, relative |"
    )
    print(f"|{'---|' * 10}")
    grounds = {name: of(given) for name, of in GROUNDS.items()}
    for camera, (kind, seen) in CAMERAS.items():
        for material, cubes in grounds.items():
            rows = []
            for number, cube in enumerate(cubes):
                for seed in given.seeds(number):
                    flight = kind(given, cube, seed)
                    blind = flight.blind(flight.profile if seen else None)
                    rows.append(figures_of(flight, blind, flight.with_true_stf()))
            mean = np.mean(rows, 0)
            error, levelled, best, angle, best_angle = mean[:5]
            gain, centre, response = np.sqrt(mean[5:])
            print(
                f"| {camera} | {material} | {error:.4f} | {levelled:.4f} | {best:.4f} "
                f"| {angle:.2f} | {best_angle:.2f} | {gain:.1%} | {centre:.1f} | {response:.0%} |"
            )


def figures_of(flight: SimulatedFlight, blind: Estimate, known: Estimate) -> list[float]:
    """Errors of the cubes, mean squares of the errors of gains, centres and R."""
    truth, theta = flight.spectra, blind.stf.theta[0].numpy()
    level = float((blind.cube * truth).sum() / np.square(blind.cube).sum())
    gain = theta[:, GAIN] - flight.log_gain
    rows = blind.stf.rows[0].numpy()
    return [
        rmse(blind.cube, truth),
        rmse(level * blind.cube, truth),
        rmse(known.cube, truth),
        sam(blind.cube, truth),
        sam(known.cube, truth),
        float(gain.var()),
        float(np.square(flight.centre_errors(blind)).mean()),
        stf_error(rows, flight.rows) ** 2,
    ]


# --- the picture ---------------------------------------------------------------------------------


def draw(given: HeldOut, errors: Mapping[int, Mapping[str, ResponseErrors]], path: Path) -> None:
    """Errors of R against the rank, and the curves of one band."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name, colour in (("free", "C3"), ("parametric", "C0")):
        of = [errors[rank][name] for rank in RANKS]
        left.plot(RANKS, [e.whole for e in of], "o-", color=colour, label=f"{name}: R")
        left.plot(RANKS, [e.inside for e in of], "--", color=colour, label="in the scene's span")
    left.plot(RANKS, [e.image for e in of], "k:", label="misfit of the image, both")
    left.set(xscale="log", yscale="log", xlabel="rank of the scene", ylabel="relative error")
    left.set_xticks(RANKS, [str(rank) for rank in RANKS])
    left.minorticks_off()
    left.legend(fontsize=8, frameon=False)
    left.set_title("Spectra known, noise of 0.1 %: error of R", fontsize=10)
    scene = known_scene(given, DRAWN_RANK, next(given.seeds(0)))
    curves = {
        "true": (scene.rows, "k"),
        "free": (free_response(scene), "C3"),
        "parametric": (parametric_response(given, scene), "C0"),
    }
    for name, (rows, colour) in curves.items():
        misfit = stf_error(rows @ scene.spectra, scene.image)
        label = name if name == "true" else f"{name}: misfit {misfit:.2%}"
        right.plot(given.model.grid.centres, rows[DRAWN_BAND], color=colour, label=label)
    role = given.sensor.roles[DRAWN_BAND]
    right.set(xlabel="wavelength, nm", ylabel="response")
    right.set_title(f"Band {role}, a scene of rank {DRAWN_RANK}", fontsize=10)
    right.legend(fontsize=8, frameon=False)
    for axis in (left, right):
        axis.grid(color="0.92")
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    raise SystemExit(main())
