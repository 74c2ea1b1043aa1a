"""Benefit of local spectra: blind cubes of models adapted to them, on held-out scenes.

    python benchmarks/adaptation.py LIBRARY.npz CUBE.npz... [--model NAME] [--sensor p4m]

Random cameras see the middle third of each scene. Spectra come from random pixels of the two other
thirds, without places and images. The models are those of `uavssr adapt` with 10, 50 and 1000
spectra, and with 50 spectra of the next scene in the list, which is a wrong choice. In the last two
rows 50 pixels of the middle third have reference spectra (paired calibration), and the model is
adapted to the same spectra or not. Prints Markdown; ridge as in accuracy.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from heldout import HeldOut, options_of

from uavssr.calibration import calibrate
from uavssr.evaluation import (
    REFERENCE_PIXELS,
    LinearMap,
    cube_coverage,
    draw_image,
    reference_pixels,
    rmse,
    sam,
)
from uavssr.model import Correction, PGUNet, Reconstruction, ResponseFamily, Stf, add_local_prior
from uavssr.sensors import Float32Array, Sensor

COUNTS = (10, 50, 1000)
"""Numbers of local spectra."""
FOREIGN = 50
"""Number of spectra of another scene."""
Ratios = tuple[float, float, float]
"""RMSE and SAM over those of ridge, and the share within the nominal 90 % interval."""


def main() -> int:
    """Print the table; returns the exit code."""
    given = HeldOut.of(options_of(__doc__, cameras=8).parse_args())
    scenes = {name: Scene.of(cube, given.seed) for name, cube in given.cubes.items()}
    rows: dict[str, dict[str, list[Ratios]]] = {}
    for number, name in enumerate(scenes):
        other = list(scenes)[(number + 1) % len(scenes)]
        networks = dict(adapted_networks(given.model.network, scenes[name], scenes[other]))
        for seed in given.seeds(number):
            ratios = evaluate(networks, given.ridge, scenes[name].ground, given.sensor, seed)
            for row, values in ratios.items():
                rows.setdefault(row, {}).setdefault(name, []).append(values)
    given.print_header()
    print_table(rows)
    return 0


@dataclass(frozen=True)
class Scene:
    """A held-out scene in two parts."""

    ground: Float32Array
    """(C, y, x) what the camera sees."""
    spectra: Float32Array
    """(n, C) spectra of the ground beside it."""

    @classmethod
    def of(cls, cube: Float32Array, seed: int) -> Scene:
        """The middle third of a cube (C, y, x), and random pixels of the rest."""
        third = cube.shape[2] // 3
        beside = np.concatenate([cube[:, :, :third], cube[:, :, 2 * third :]], axis=2)
        pixels = beside.reshape(len(cube), -1).T
        chosen = np.random.default_rng([seed, 7]).permutation(len(pixels))[: max(COUNTS)]
        ground = np.ascontiguousarray(cube[:, :, third : 2 * third])
        return cls(ground, np.ascontiguousarray(pixels[chosen]))


def adapted_networks(network: PGUNet, scene: Scene, other: Scene) -> Iterator[tuple[str, PGUNet]]:
    """The network as it is, and adapted to spectra of the scene or of another one."""
    yield "no spectra", network
    for count in COUNTS:
        yield f"{count} spectra", add_local_prior(network, torch.from_numpy(scene.spectra[:count]))
    foreign = torch.from_numpy(other.spectra[:FOREIGN])
    yield f"{FOREIGN} spectra of another scene", add_local_prior(network, foreign)


@torch.no_grad()
def evaluate(
    networks: dict[str, PGUNet], ridge: LinearMap, cube: Float32Array, sensor: Sensor, seed: int
) -> dict[str, Ratios]:
    """Ratios of all networks on one cube (C, y, x) seen by one random camera."""
    plain = networks["no spectra"]
    image, _ = draw_image(cube, sensor, plain, seed)
    family = ResponseFamily.of(sensor, plain.grid)
    reference = cube.reshape(len(cube), -1)
    baseline = ridge(image[0].flatten(1).numpy())

    def ratios(
        network: PGUNet, result: Reconstruction, correction: Correction | None = None
    ) -> Ratios:
        basis = network.basis if correction is None else correction.basis
        estimate = basis.expand(result.coefficients)[0].flatten(1).numpy()
        return (
            rmse(estimate, reference) / rmse(baseline, reference),
            sam(estimate, reference) / sam(baseline, reference),
            cube_coverage(network, result, image, reference, correction),
        )

    rows = {
        name: ratios(network, network(image, Stf.from_prior(family), estimate_stf=True))
        for name, network in networks.items()
    }
    spectra, seen = reference_pixels(cube, image, seed)
    name = f"{REFERENCE_PIXELS} reference spectra"
    adapted = add_local_prior(plain, torch.from_numpy(spectra))
    for row, network in ((name, plain), (f"{name}, and adapted to them", adapted)):
        stf = calibrate(family, spectra, seen, basis=network.basis).stf
        fitted = network.fit_correction(stf, torch.from_numpy(seen), torch.from_numpy(spectra))
        result = network(image, stf, estimate_stf=False, correction=fitted)
        rows[row] = ratios(network, result, fitted)
    return rows


def print_table(rows: dict[str, dict[str, list[Ratios]]]) -> None:
    """Means over cameras and then over scenes, the worst scene, and the range of the coverage."""
    print(
        "| adapted to | RMSE / ridge | worst scene | SAM / ridge | worst scene | in 90 % interval |"
    )
    print("|---|---|---|---|---|---|")
    for name, scenes in rows.items():
        means = {scene: np.mean(ratios, 0) for scene, ratios in scenes.items()}
        every = np.array(list(means.values()))
        cells = [f"| {name} "]
        for k in (0, 1):
            worst = max(means, key=lambda scene: means[scene][k])
            cells.append(f"| {every[:, k].mean():.3f} | {means[worst][k]:.3f} ({worst}) ")
        coverage = every[:, 2]
        cells.append(f"| {coverage.mean():.1%} ({coverage.min():.0%}-{coverage.max():.0%}) |")
        print("".join(cells))


if __name__ == "__main__":
    raise SystemExit(main())
