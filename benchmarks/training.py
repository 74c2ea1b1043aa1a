"""Training throughput on pairs that are read by windows from large cubes.

    python benchmarks/training.py [--gigabytes 2] [--patches 300] [--steps 12] [--threads 2]

Generates a cube of that size and its image of a P4M in a temporary folder, window by window, checks
and cuts them into patches, and trains from the released model with the default settings, without
validation. The first quarter of the steps is not timed. Prints Markdown.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
import torch
from rasterio.windows import Window
from scipy.ndimage import gaussian_filter

from uavssr.data import DataConfig, TrainingData, load_data, read_manifest
from uavssr.model import Model, load_model
from uavssr.sensors import load_sensor
from uavssr.training import TrainingConfig, train

BLOCK = 256
"""Side in pixels of the blocks that are written at a time."""


def main() -> int:
    """Print the figures; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--patches", type=int, default=300)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = load_model("p4m-nano")
    training = TrainingConfig(steps=options.steps, validate=0, bag_pool=100)
    settings = DataConfig(patches=options.patches)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        side = write_pair(folder, model, options.gigabytes)
        before, begun = peak_mb(), time.perf_counter()
        data = load_data(
            folder / "run",
            read_manifest(folder / "pairs.csv"),
            settings,
            size=training.size,
            seed=training.seed,
            basis=model.network.basis,
        )
        reading, after = time.perf_counter() - begun, peak_mb()
        patches = sum(len(split.patches.windows) for split in data.splits)
        begun = time.perf_counter()
        for step in range(options.steps):
            data.draw(seed=0, step=step, shard=0, count=training.batch, size=training.size)
        drawing = (time.perf_counter() - begun) / options.steps
        seconds = step_seconds(folder / "run", model, data, training)
    print(f"Cube of {side} x {side} pixels and {len(model.grid)} bands, {options.threads} threads.")
    print("\n| | |\n|---|---|")
    print(f"| checks, registration and {patches} patches | {reading:.0f} s |")
    print(f"| peak memory before and after that | {before:.0f}, {after:.0f} MB |")
    print(f"| training | {1 / seconds:.2f} steps/s, {training.batch / seconds:.1f} patches/s |")
    print(f"| loader: drawing a step's images, in threads of its own | {drawing / seconds:.1%} |")
    return 0


def write_pair(folder: Path, model: Model, gigabytes: float) -> int:
    """Write cube.tif, msi.tif and pairs.csv; returns their side in pixels."""
    network, sensor = model.network, load_sensor("p4m")
    spectra = (network.basis.mean + network.mixture.mean @ network.basis.components.T).numpy()
    blocks = max(int((gigabytes * 1e9 / (2 * len(model.grid))) ** 0.5 / BLOCK), 1)
    side, rng = blocks * BLOCK, np.random.default_rng(0)
    shared = {"driver": "GTiff", "dtype": "uint16", "width": side, "height": side, "tiled": True}
    shared |= {"blockxsize": BLOCK, "blockysize": BLOCK, "interleave": "band", "crs": "EPSG:32632"}
    shared |= {"transform": rasterio.Affine(0.1, 0, 5e5, 0, -0.1, 5e6), "BIGTIFF": "YES"}
    with (
        rasterio.open(folder / "cube.tif", "w", count=len(model.grid), **shared) as cube,
        rasterio.open(folder / "msi.tif", "w", count=len(sensor), **shared) as msi,
    ):
        for index, nm in enumerate(model.grid.centres, 1):
            cube.update_tags(index, wavelength=f"{nm:.3f}", wavelength_units="nm")
        for row in range(0, side, BLOCK):
            for column in range(0, side, BLOCK):
                fields = gaussian_filter(rng.normal(size=(len(spectra), BLOCK, BLOCK)), (0, 3, 3))
                share = np.exp(40 * fields)
                ground = np.tensordot(spectra.T, share / share.sum(0), 1).clip(0.001)
                window = Window(column, row, BLOCK, BLOCK)
                cube.write((ground * 1e4).astype("u2"), window=window)
                seen = np.tensordot(sensor.srf(model.grid), ground, 1)
                msi.write((seen * 1e4).astype("u2"), window=window)
        cube.scales, msi.scales = [1e-4] * cube.count, [1e-4] * msi.count
        msi.descriptions = sensor.roles
    (folder / "pairs.csv").write_text("msi,hsi,sensor\nmsi.tif,cube.tif,p4m\n", encoding="utf-8")
    return side


def step_seconds(out: Path, model: Model, data: TrainingData, config: TrainingConfig) -> float:
    """Mean time of a training step, without the first quarter of the steps."""
    times: list[float] = []
    train(
        data,
        out=out,
        start=model,
        config=config,
        progress=lambda _step, _figures: times.append(time.perf_counter()),
    )
    skipped = len(times) // 4
    return (times[-1] - times[skipped]) / (len(times) - 1 - skipped)


def peak_mb() -> float:
    """The most memory that the process has had so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    raise SystemExit(main())
