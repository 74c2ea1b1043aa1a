"""The contribution of each part of the network: many small trainings, three seeds each.

    python benchmarks/ablations.py LIBRARY.npz CUBE.npz... [--steps 120] [--seeds 3]

Small enough for two CPU cores: 61 bands of 10 nm, short trainings on
scenes simulated from LIBRARY, corners of 48 pixels of the CUBEs, which must not be in the library.
The figures compare variants with each other; they are not those of the released weights. Prints
Markdown: RMSE and SAM over those of ridge regression, mean and standard deviation over the seeds.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from uavssr.data import TrainingData, load_airborne_cube
from uavssr.evaluation import LinearMap, draw_image, fit_ridge, rmse, sam
from uavssr.model import PGUNet, PGUNetConfig, ResponseFamily, Stf
from uavssr.sensors import HEADWALL_NANO, WavelengthGrid, load_sensor
from uavssr.spectra import SpectralLibrary, SubspaceCompletion, load_library, resample
from uavssr.training import TrainingConfig, train

GRID = WavelengthGrid("10 nm", np.linspace(400, 1000, 61), np.full(61, 10.0))
BASE = PGUNetConfig(bands=61, rank=12, components=24, stages=3, response_stages=2, width=24)
SIDE = 48
Run = Callable[[PGUNet, torch.Tensor, Stf], torch.Tensor]


def blind(network: PGUNet, image: torch.Tensor, start: Stf) -> torch.Tensor:
    """The whole network."""
    return network(image, start, estimate_stf=True).coefficients


def fewer(stages: int) -> Run:
    """The network trained with all stages, run with some."""
    return lambda network, image, start: (
        network(image, start, estimate_stf=True, stages=stages).coefficients
    )


def without_r_step(network: PGUNet, image: torch.Tensor, start: Stf) -> torch.Tensor:
    """The STF is the prior: the data sheet with its standard errors."""
    return network(image, start, estimate_stf=False).coefficients


def without_p_net(network: PGUNet, image: torch.Tensor, start: Stf) -> torch.Tensor:
    """The R-step alone: P-Net's head is zero."""
    plain = PGUNet(network.config, network.basis, network.mixture)
    state = {k: v * 0 if ".pnet.head." in k else v for k, v in network.state_dict().items()}
    plain.load_state_dict(state)
    return plain.eval()(image, start, estimate_stf=True).coefficients


VARIANTS: dict[str, tuple[PGUNetConfig, dict[str, Run]]] = {
    "base: rank 12, 3 stages, parametric": (
        BASE,
        {
            "": blind,
            ", 2 of 3 stages run": fewer(2),
            ", 1 of 3 stages run": fewer(1),
            ", no stage run": fewer(0),
            ", R-step and P-Net off": without_r_step,
            ", P-Net off": without_p_net,
        },
    ),
    **{f"{k} stages": (replace(BASE, stages=k), {"": blind}) for k in (1, 2, 4, 5)},
    **{f"rank {r}": (replace(BASE, rank=r), {"": blind}) for r in (8, 16, 24)},
    "free-form STF": (replace(BASE, stf="free"), {"": blind}),
    "full band: rank 61": (replace(BASE, rank=61), {"": blind}),
}


def main() -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library", type=Path)
    parser.add_argument("cubes", type=Path, nargs="+")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    missing = [str(p) for p in [options.library, *options.cubes] if not p.is_file()]
    if missing:
        print(f"skipped: not here: {', '.join(missing)}")
        return 0
    torch.set_num_threads(options.threads)
    fine = load_library(options.library, HEADWALL_NANO)
    library = SpectralLibrary(
        spectra=np.clip(resample(fine.spectra, HEADWALL_NANO.centres, GRID), -0.02, 1.6),
        kind=fine.kind,
        source=fine.source,
        grid=GRID,
    )
    completion = SubspaceCompletion.fit(library.spectra[library.source != "synthetic"], rank=12)
    cubes = [
        load_airborne_cube(p, GRID, completion=completion)[:, :SIDE, :SIDE].copy()
        for p in options.cubes
    ]
    print(f"{options.steps} steps, {options.seeds} seeds, {len(cubes)} scenes of {SIDE} pixels, ")
    print(f"{options.cameras} cameras each.\n")
    print("| variant | RMSE / ridge | SAM / ridge | parameters |\n|---|---|---|---|")
    for name, (network, runs) in VARIANTS.items():
        ratios: dict[str, list[list[float]]] = {part: [] for part in runs}
        parameters = 0
        for seed in range(options.seeds):
            trained = _trained(library, network, seed, options.steps)
            parameters = sum(p.numel() for p in trained.parameters())
            ridge = fit_ridge(library, load_sensor("p4m"), seed=seed, scenes=100, size=16)
            for part, run in runs.items():
                row = _ratios(trained, ridge, cubes, run, seed, options.cameras)
                ratios[part].append(row)
        for part, rows in ratios.items():
            mean, deviation = np.mean(rows, 0), np.std(rows, 0)
            cells = [f"{m:.3f} +- {d:.3f}" for m, d in zip(mean, deviation, strict=True)]
            print(f"| {name}{part} | {cells[0]} | {cells[1]} | {parameters:,} |", flush=True)
    return 0


def _trained(library: SpectralLibrary, network: PGUNetConfig, seed: int, steps: int) -> PGUNet:
    config = TrainingConfig(
        steps=steps,
        batch=4,
        size=24,
        bags=32,
        bag_pool=600,
        prior_scenes=80,
        warmup=20,
        average=0.98,
        seed=seed,
        checkpoint=steps,
        validate=0,
    )
    with tempfile.TemporaryDirectory() as folder:
        done = train(TrainingData.of(library), Path(folder), start=network, config=config)
    return done.network


@torch.no_grad()
def _ratios(
    network: PGUNet, ridge: LinearMap, cubes: list[np.ndarray], run: Run, seed: int, cameras: int
) -> list[float]:
    """RMSE and SAM over ridge's, means over scenes and cameras."""
    sensor = load_sensor("p4m")
    start = Stf.from_prior(ResponseFamily.of(sensor, GRID))
    ratios = []
    for number, cube in enumerate(cubes):
        reference = cube.reshape(len(cube), -1)
        for camera in range(cameras):
            image, _ = draw_image(cube, sensor, network, 1000 * seed + 10 * number + camera)
            spectra = network.basis.expand(run(network, image, start))[0].flatten(1).numpy()
            base = ridge(image[0].flatten(1).numpy())
            ratios.append(
                [
                    rmse(spectra, reference) / rmse(base, reference),
                    sam(spectra, reference) / sam(base, reference),
                ]
            )
    return np.mean(ratios, 0).tolist()


if __name__ == "__main__":
    raise SystemExit(main())
