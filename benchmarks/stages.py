"""Error and time against the number of stages that run, with the same weights.

    python benchmarks/stages.py LIBRARY.npz CUBE.npz... [--model NAME] [--sensor p4m] [--cameras 8]

The paper's claim that fewer stages trade accuracy for time without another training. The images are
those of benchmarks/accuracy.py. The STF is estimated from each image, or is the true one. Time is
processor time of a pass with the STF fixed, expansion to all bands included; the rows take turns.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import numpy as np
import torch
from heldout import HeldOut, options_of
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from uavssr.evaluation import draw_image, rmse, sam
from uavssr.model import PGUNet, Stf

SIDE = 256
"""Side in pixels of the image whose time and multiply-adds are given."""


def main() -> int:
    """Print the table; returns the exit code."""
    parser = options_of(__doc__, cameras=8)
    parser.add_argument("--runs", type=int, default=7, help="passes that are timed")
    options = parser.parse_args()
    given = HeldOut.of(options)
    given.print_header()
    counts = range(len(given.model.network.stages) + 1)
    errors = np.array(
        [
            image_errors(given, cube, seed, counts)
            for number, cube in enumerate(given.cubes.values())
            for seed in given.seeds(number)
        ]
    )  # (image, stages, knowledge, metric)
    seconds, gmac = cost(given, counts, runs=options.runs)
    most = counts[-1]
    print(
        "| stages | RMSE, blind | / all | SAM | / all | RMSE, true R | / all | SAM | / all "
        "| GMAC | s | / all |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
    )
    for k in counts:
        mean, ratio = errors[:, k].mean(0), (errors[:, k] / errors[:, most]).mean(0)
        cells = [
            f"{mean[j, 0]:.4f} | {ratio[j, 0]:.3f} | {mean[j, 1]:.2f} | {ratio[j, 1]:.3f}"
            for j in range(2)
        ]
        print(
            f"| {k} of {most} | {' | '.join(cells)} | {gmac[k]:.2f} | {seconds[k]:.3f} "
            f"| {seconds[k] / seconds[most]:.2f} |"
        )
    for k in counts[:-1]:
        better = (errors[:, most, 0, 0] < errors[:, k, 0, 0]).mean()
        print(f"\nAll stages have the smaller blind RMSE than {k} on {better:.0%} of the images.")
    return 0


@torch.inference_mode()
def image_errors(
    given: HeldOut, cube: np.ndarray, seed: int, counts: Sequence[int]
) -> list[list[tuple[float, float]]]:
    """RMSE and SAM of an image by stages, blind and with the true R."""
    network = given.model.network
    image, cameras = draw_image(cube, given.sensor, network, seed)
    blind = network(image, Stf.from_prior(given.family), estimate_stf=True, stages=0).stf
    theta, rows = torch.from_numpy(cameras.theta), torch.from_numpy(cameras.rows)
    true = Stf.of(given.family, theta, torch.zeros_like(given.family.spread), rows=rows)
    truth = cube.reshape(len(cube), -1)
    table = []
    for k in counts:
        spectra = [expanded(network, image, stf, k)[0].flatten(1).numpy() for stf in (blind, true)]
        table.append([(rmse(values, truth), sam(values, truth)) for values in spectra])
    return table


def expanded(network: PGUNet, image: Tensor, stf: Stf, stages: int) -> Tensor:
    """Cubes (1, C, y, x) with an STF held fixed."""
    result = network(image, stf, estimate_stf=False, stages=stages)
    return network.basis.expand(result.coefficients)


@torch.inference_mode()
def cost(given: HeldOut, counts: Sequence[int], *, runs: int) -> tuple[list[float], list[float]]:
    """Median processor seconds of a pass and its multiply-adds in G, by stages."""
    network, stf = given.model.network, Stf.from_prior(given.family)
    image = torch.full((1, len(given.sensor), SIDE, SIDE), 0.2)
    gmac = []
    for k in counts:
        with FlopCounterMode(display=False) as counter:
            expanded(network, image, stf, k)
        gmac.append(counter.get_total_flops() / 2e9)
    seconds: list[list[float]] = [[] for _ in counts]
    for _ in range(runs):
        for k in counts:
            start = time.process_time()
            expanded(network, image, stf, k)
            seconds[k].append(time.process_time() - start)
    return [statistics.median(times) for times in seconds], gmac


if __name__ == "__main__":
    raise SystemExit(main())
