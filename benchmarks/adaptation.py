"""What local spectra are worth: blind cubes of a model that was told of them, on held-out scenes.

    python benchmarks/adaptation.py LIBRARY.npz CUBE.npz... [--model NAME] [--sensor p4m]

The middle third of each scene is seen by random cameras; spectra come from random pixels of the two
other thirds, with no place and no image. The model is that of `uavssr adapt`: 10, 50 and 1000
spectra, and as a warning 50 of the next scene in the list, which is another one altogether. In
the last row 50 pixels of the middle third are known with their places (paired calibration), and the
model was told of the same spectra. Prints Markdown; ridge as in accuracy.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from heldout import HeldOut, options_of

from uavssr.calibration import calibrate
from uavssr.evaluation import NINETY, PAIRED, Ridge, draw_image, rmse, sam
from uavssr.model import Correction, PGUNet, Reconstruction, ResponseFamily, Stf, add_local_prior
from uavssr.sensors import Float32Array, Sensor

COUNTS = (10, 50, 1000)
ALIEN = 50
Found = tuple[float, float, float]
"""RMSE and SAM over those of ridge, and the share within the nominal 90 % interval."""


def main() -> int:
    """Print the table; returns the exit code."""
    given = HeldOut.of(options_of(__doc__, cameras=8).parse_args())
    scenes = {name: Scene.of(cube, given.seed) for name, cube in given.cubes.items()}
    rows: dict[str, dict[str, list[Found]]] = {}
    for number, name in enumerate(scenes):
        other = list(scenes)[(number + 1) % len(scenes)]
        networks = dict(told(given.model.network, scenes[name], scenes[other]))
        for seed in given.seeds(number):
            judged = judge(networks, given.ridge, scenes[name].ground, given.sensor, seed)
            for row, found in judged.items():
                rows.setdefault(row, {}).setdefault(name, []).append(found)
    given.say()
    show(rows)
    return 0


@dataclass(frozen=True)
class Scene:
    """A held-out scene in two parts."""

    ground: Float32Array
    """(C, H, W) what the camera sees."""
    spectra: Float32Array
    """(n, C) of the ground beside it."""

    @classmethod
    def of(cls, cube: Float32Array, seed: int) -> Scene:
        """The middle third, and random pixels of the rest."""
        third = cube.shape[2] // 3
        beside = np.concatenate([cube[:, :, :third], cube[:, :, 2 * third :]], axis=2)
        pixels = beside.reshape(len(cube), -1).T
        chosen = np.random.default_rng([seed, 7]).permutation(len(pixels))[: max(COUNTS)]
        ground = np.ascontiguousarray(cube[:, :, third : 2 * third])
        return cls(ground, np.ascontiguousarray(pixels[chosen]))


def told(network: PGUNet, scene: Scene, other: Scene) -> Iterator[tuple[str, PGUNet]]:
    """The network as it is, and told of spectra."""
    yield "no spectra", network
    for count in COUNTS:
        yield f"{count} spectra", add_local_prior(network, torch.from_numpy(scene.spectra[:count]))
    alien = torch.from_numpy(other.spectra[:ALIEN])
    yield f"{ALIEN} spectra of another scene", add_local_prior(network, alien)


@torch.no_grad()
def judge(
    networks: dict[str, PGUNet], ridge: Ridge, cube: Float32Array, sensor: Sensor, seed: int
) -> dict[str, Found]:
    """All networks on one cube seen by one random camera."""
    plain = networks["no spectra"]
    image, _ = draw_image(cube, sensor, plain, seed)
    family = ResponseFamily.of(sensor, plain.grid)
    reference = cube.reshape(len(cube), -1)
    base = ridge(image[0].flatten(1).numpy())

    def figures(
        network: PGUNet, result: Reconstruction, correction: Correction | None = None
    ) -> Found:
        basis = network.basis if correction is None else correction.basis
        estimate = basis.expand(result.coefficients)[0].flatten(1).numpy()
        doubt = network.cube_uncertainty(result.stf, correction)
        sigma = doubt.expand(doubt.maps(image, result.coefficients))[0].flatten(1).numpy()
        held = float((np.abs(estimate - reference) < NINETY * sigma).mean())
        error = rmse(estimate, reference) / rmse(base, reference)
        return error, sam(estimate, reference) / sam(base, reference), held

    found = {
        name: figures(network, network(image, Stf.from_prior(family), estimate_stf=True))
        for name, network in networks.items()
    }
    rng = np.random.default_rng([seed, 50])
    chosen = rng.choice(reference.shape[1], PAIRED, replace=False)
    spectra = np.ascontiguousarray(reference[:, chosen].T)
    seen = np.ascontiguousarray(image[0].flatten(1).numpy()[:, chosen].T)
    for name, network in (
        (f"{PAIRED} known pixels", plain),
        (f"{PAIRED} known pixels, told of too", add_local_prior(plain, torch.from_numpy(spectra))),
    ):
        stf = calibrate(family, spectra, seen, basis=network.basis).stf
        learnt = network.fit_correction(stf, torch.from_numpy(seen), torch.from_numpy(spectra))
        found[name] = figures(
            network, network(image, stf, estimate_stf=False, correction=learnt), learnt
        )
    return found


def show(rows: dict[str, dict[str, list[Found]]]) -> None:
    """Means over cameras and then over scenes, and how the scenes spread."""
    print("| told of | RMSE / ridge | worst scene | SAM / ridge | worst scene | in 90 % interval |")
    print("|---|---|---|---|---|---|")
    for name, scenes in rows.items():
        means = {scene: np.mean(found, 0) for scene, found in scenes.items()}
        every = np.array(list(means.values()))
        cells = [f"| {name} "]
        for k in (0, 1):
            worst = max(means, key=lambda scene: means[scene][k])
            cells.append(f"| {every[:, k].mean():.3f} | {means[worst][k]:.3f} ({worst}) ")
        held = every[:, 2]
        cells.append(f"| {held.mean():.1%} ({held.min():.0%}-{held.max():.0%}) |")
        print("".join(cells))


if __name__ == "__main__":
    raise SystemExit(main())
