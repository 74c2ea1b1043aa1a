"""Training throughput: steps per second, and the share of it that drawing the data takes.

    python benchmarks/training.py PAIRS.csv [--init p4m-nano] [--steps 20] [--threads 2]

Runs the default settings of `uavssr train` on the manifest, without validation, in a temporary
folder. The first quarter of the steps is not timed. Prints one line of Markdown.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from uavssr.data import DataConfig, load_data, read_manifest
from uavssr.model import load_model
from uavssr.training import RunConfig, TrainingConfig, run_training


def main() -> int:
    """Print the figures; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--init", default="p4m-nano")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if not options.pairs.is_file():
        print(f"skipped: not here: {options.pairs}")
        return 0
    torch.set_num_threads(options.threads)
    training = TrainingConfig(steps=options.steps, validate=0, bag_pool=200, prior_scenes=100)
    data_settings, times = DataConfig(patches=300), []
    with tempfile.TemporaryDirectory() as folder:
        run_training(
            RunConfig(
                out=Path(folder),
                pairs=options.pairs,
                init=options.init,
                training=training,
                data=data_settings,
            ),
            step_progress=lambda _step, _figures: times.append(time.perf_counter()),
        )
        data = load_data(
            Path(folder),
            read_manifest(options.pairs),
            data_settings,
            size=training.size,
            seed=training.seed,
            basis=load_model(options.init).network.basis,
        )
        begun = time.perf_counter()
        for step in range(options.steps):
            data.draw(seed=0, step=step, shard=0, count=training.batch, size=training.size)
        drawing = (time.perf_counter() - begun) / options.steps
    skipped = len(times) // 4
    seconds = (times[-1] - times[skipped]) / (len(times) - 1 - skipped)
    print(
        f"| {options.pairs.name} | {options.threads} threads | {1 / seconds:.2f} steps/s | "
        f"drawing {drawing / seconds:.1%} of a step |"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
