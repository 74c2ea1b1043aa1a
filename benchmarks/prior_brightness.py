"""Choose how much the spectra of the prior differ in brightness where `uavssr benchmark` fits it.

    python benchmarks/prior_brightness.py DATA

Untrained PGU-Nets, with priors fitted to the airborne training scenes but for one fold of
development scenes, reconstruct that fold as random P4 Multispectral cameras see it. The held-out
scenes of the benchmark have no part. Errors are means over scenes.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from uavssr.benchmark.methods import METHODS
from uavssr.benchmark.observed import observed_images, unnamed
from uavssr.benchmark.pgunet_method import PGUNET, FittedPgunet
from uavssr.benchmark.vnir import read_vnir
from uavssr.data import RandomCameras, ScenePatches, draw_cameras
from uavssr.evaluation import rmse, sam
from uavssr.evaluation.baselines import FitSettings, FittedMethod
from uavssr.sensors import HEADWALL_NANO, load_sensor

FOLDS = (
    ("neon_2", "neon_idtrees_osbs_1", "neon_idtrees_osbs_2", "samson"),
    ("neon_harv", "aviris_vi_demo", "abu_beach_1"),
    ("abu_urban_1", "abu_urban_2", "abu_beach_3"),
)
"""Development scenes that are left out together; those of one site, the first three, are."""
REFERENCES = ("ridge", "a+")
"""Methods that are fitted to the same scenes, for comparison."""
CAMERAS = 3
"""Cameras that see each scene."""


def main() -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder that holds vnir")
    parser.add_argument("--brightness", type=float, nargs="+", default=[0.0, 0.3, 0.6])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    scenes, _ = read_vnir(options.data / "vnir")
    errors: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for number, fold in enumerate(FOLDS):
        patches = ScenePatches(
            grid=HEADWALL_NANO,
            family=p4m_cameras(np.random.default_rng(0), 1).family,
            scenes=[cube for name, cube in scenes.items() if name not in fold],
            cameras=p4m_cameras,
        )
        images = observed_images(
            {name: scenes[name][:, ::2, ::2] for name in fold},
            unnamed(p4m_cameras),
            stream=77 + number,
            count=CAMERAS,
        )
        for label, method in fitted(patches, options.seed, options.brightness).items():
            for held_out in images:
                cube = method.predict(held_out.image).cube
                pair = rmse(cube, held_out.cube), sam(cube, held_out.cube)
                errors.setdefault(label, {}).setdefault(held_out.scene, []).append(pair)
    print("| method | RMSE | SAM deg |\n|---|---|---|")
    for label, of_scenes in errors.items():
        error, angle = np.mean([np.mean(pairs, 0) for pairs in of_scenes.values()], 0)
        print(f"| {label} | {error:.4f} | {angle:.2f} |")
    return 0


def p4m_cameras(rng: np.random.Generator, count: int) -> RandomCameras:
    """Cameras near the data sheet of a P4 Multispectral."""
    return draw_cameras(rng, [load_sensor("p4m")] * count, HEADWALL_NANO)


def fitted(patches: ScenePatches, seed: int, brightness: list[float]) -> dict[str, FittedMethod]:
    """The references, and PGU-Net blind and with the true response for each brightness."""
    methods = {name: METHODS[name].fit(patches, FitSettings(seed=seed)) for name in REFERENCES}
    for spread in brightness:
        network = replace(PGUNET, brightness=spread).initial_network(patches, seed).eval()
        every = len(network.stages)  # untrained stages are X-steps
        label = f"pgunet, untrained, brightness {spread:g}"
        methods[label] = FittedPgunet(network, stages=every)
        methods[f"{label}, true response"] = FittedPgunet(network, given=True, stages=every)
    return methods


if __name__ == "__main__":
    raise SystemExit(main())
