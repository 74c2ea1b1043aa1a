"""Accuracy of an RGB model on CAVE scenes with random and with measured cameras.

    python benchmarks/cave.py DATA_DIR --scenes paints,face,... [--model rgb-cave]

DATA_DIR holds `cave/*.npz` and `srf/camspec_28_cameras_400-720nm.txt`. The model is evaluated on
the named scenes. Ridge regression is trained on all others, seen by random cameras near the generic
RGB data sheet. The model was not trained on the measured cameras, which are white-balanced (every
band sums to one); it is given the generic data sheet. Prints Markdown.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from uavssr.data import draw_cameras, observe
from uavssr.evaluation import LinearMap, regress, rmse, sam
from uavssr.model import ResponseFamily, Stf, load_model
from uavssr.sensors import FloatArray, WavelengthGrid, load_sensor

SIDE = 128
"""Side in pixels of the corner of each scene that is used."""


def main() -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--scenes", required=True)
    parser.add_argument("--model", default="rgb-cave")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if not (options.data_dir / "cave").is_dir():
        print(f"skipped: not here: {options.data_dir / 'cave'}")
        return 0
    torch.set_num_threads(options.threads)
    model, sensor = load_model(options.model), load_sensor("rgb")
    grid, held_out = model.grid, set(options.scenes.split(","))
    paths = sorted((options.data_dir / "cave").glob("*.npz"))
    ridge = _ridge([p for p in paths if p.stem not in held_out], grid, options.seed)
    measured = _measured(options.data_dir / "srf" / "camspec_28_cameras_400-720nm.txt", grid)
    family = ResponseFamily.of(sensor, grid)
    start = Stf.from_prior(family)
    rows: dict[str, list[list[float]]] = {"random": [], "measured": []}
    for number, path in enumerate(p for p in paths if p.stem in held_out):
        cube = _corner(path)
        rng = np.random.default_rng([options.seed, number])
        drawn = draw_cameras(rng, [sensor] * 4, grid).rows
        known = measured[rng.choice(len(measured), 4, replace=False)]
        for kind, cameras in (("random", drawn), ("measured", known.astype(np.float32))):
            for camera in cameras:
                image = observe(rng, cube[None], camera[None])
                rows[kind].append(_errors(model.network, start, image, cube, ridge, camera))
    print(
        f"Model {model.name} ({model.sha256[:12]}), {len(held_out)} scenes, seed {options.seed}.\n"
    )
    print("| cameras | ridge RMSE | blind / ridge | true R / ridge | blind SAM / ridge |")
    print("|---|---|---|---|---|")
    for kind, errors in rows.items():
        mean = np.mean(errors, 0)
        print(f"| 4 {kind} | {mean[0]:.4f} | " + " | ".join(f"{v:.3f}" for v in mean[1:]) + " |")
    return 0


def _corner(path: Path) -> np.ndarray:
    with np.load(path, allow_pickle=False) as file:
        cube = file["cube"][:SIDE, :SIDE] * file["scale"]
    return np.ascontiguousarray(cube.transpose(2, 0, 1).astype(np.float32))


def _ridge(paths: list[Path], grid: WavelengthGrid, seed: int) -> LinearMap:
    rng = np.random.default_rng([seed, 77])
    sensor = load_sensor("rgb")
    parts = []
    for path in paths:
        cube = _corner(path)
        for top in range(0, SIDE, 32):
            parts += [cube[:, top : top + 24, left : left + 24] for left in range(0, SIDE, 32)]
    cubes = np.stack(parts)
    cameras = draw_cameras(rng, [sensor] * len(cubes), grid)
    return regress(observe(rng, cubes, cameras.rows), cubes)


def _measured(path: Path, grid: WavelengthGrid) -> FloatArray:
    """Measured cameras (n, 3, C), blue first like the data sheet; each band sums to one."""
    numbers = []
    for line in path.read_text("utf-8", errors="replace").splitlines():
        words = line.split()
        if len(words) == 33:
            numbers.append([float(word) for word in words])
    curves = np.array(numbers).reshape(-1, 3, 33)[:, ::-1]
    axis = np.arange(400, 721, 10)
    flat = curves.reshape(-1, 33)
    resampled = np.stack([np.interp(grid.centres, axis, curve) for curve in flat])
    resampled /= resampled.sum(1, keepdims=True)
    return resampled.reshape(-1, 3, len(grid))


@torch.no_grad()
def _errors(
    network: torch.nn.Module,
    start: Stf,
    image: np.ndarray,
    cube: np.ndarray,
    ridge: LinearMap,
    camera: np.ndarray,
) -> list[float]:
    """RMSE of ridge, and over ridge's: RMSE blind, RMSE with the true R, SAM blind."""
    msi, reference = torch.from_numpy(image), cube.reshape(len(cube), -1)
    truth = Stf.of(
        start.family,
        start.theta,
        torch.zeros_like(start.theta_se),
        rows=torch.from_numpy(np.ascontiguousarray(camera))[None],
    )
    results = [network(msi, start, estimate_stf=True), network(msi, truth, estimate_stf=False)]
    blind, known = (
        network.basis.expand(result.coefficients)[0].flatten(1).numpy() for result in results
    )
    baseline = ridge(image[0].reshape(3, -1))
    error = rmse(baseline, reference)
    return [
        error,
        rmse(blind, reference) / error,
        rmse(known, reference) / error,
        sam(blind, reference) / sam(baseline, reference),
    ]


if __name__ == "__main__":
    raise SystemExit(main())
