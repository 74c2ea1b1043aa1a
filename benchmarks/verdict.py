"""Share of unusual pixels of scenes that are right, and of the same with two bands swapped.

    python benchmarks/verdict.py LIBRARY.npz CUBE.npz... [--model NAME] [--sensor p4m]

`reconstruct` calls a scene odd above `MAX_UNUSUAL`. Random cameras see each scene; then each pair
of neighbouring bands is swapped. Prints Markdown: means over the cameras.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from heldout import HeldOut, options_of

from uavssr.evaluation import draw_image
from uavssr.model import UNUSUAL_QUANTILE, Stf, chi_square_quantile


def main() -> int:
    """Print the table; returns the exit code."""
    given = HeldOut.of(options_of(__doc__, cameras=3).parse_args())
    network, roles = given.model.network, given.sensor.roles
    swaps = list(pairwise(range(len(roles))))
    given.print_header()
    print("| scene | right | " + " | ".join(f"{roles[a]} and {roles[b]}" for a, b in swaps) + " |")
    print("|---" * (len(swaps) + 2) + "|")
    limit = chi_square_quantile(len(roles), UNUSUAL_QUANTILE)
    for number, (name, cube) in enumerate(given.cubes.items()):
        shares = []
        for seed in given.seeds(number):
            image, _ = draw_image(cube, given.sensor, network, seed)
            orders = [list(range(len(roles))) for _ in range(len(swaps) + 1)]
            for order, (a, b) in zip(orders[1:], swaps, strict=True):
                order[a], order[b] = b, a
            shares.append([_unusual(given, image[:, order], limit) for order in orders])
        cells = " | ".join(f"{share:.1%}" for share in np.mean(shares, 0))
        print(f"| {name} | {cells} |")
    return 0


@torch.no_grad()
def _unusual(given: HeldOut, image: torch.Tensor, limit: float) -> float:
    """Share of pixels beyond the limit with the STF that the image gives blind."""
    network = given.model.network
    stf = network(image, Stf.from_prior(given.family), estimate_stf=True, stages=0).stf
    return float((network.cube_uncertainty(stf).distance(image) > limit).float().mean())


if __name__ == "__main__":
    raise SystemExit(main())
