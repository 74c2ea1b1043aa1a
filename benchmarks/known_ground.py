"""Accuracy of an STF from reference spectra, by their number, on held-out scenes.

    python benchmarks/known_ground.py LIBRARY.npz CUBE.npz... [--model NAME] [--sensor p4m]

The references are random pixels, or random areas of some pixels a side; the image of an area is the
mean of its pixels with their noise. Errors of centres and gains over all bands,
cameras and scenes, and how often the nominal 90 % intervals hold the truth. Prints Markdown.
"""

from __future__ import annotations

import numpy as np
from heldout import HeldOut, options_of

from uavssr.calibration import calibrate
from uavssr.evaluation import INTERVAL_90, draw_image
from uavssr.model import GAIN, SHIFT
from uavssr.sensors import Float32Array

KNOWN = ((50, 1), (50, 5), (1000, 1))
"""Number of references, and their side in pixels."""


def main() -> int:
    """Print the table; returns the exit code."""
    given = HeldOut.of(options_of(__doc__, cameras=16).parse_args())
    errors: dict[tuple[int, int], list[Float32Array]] = {known: [] for known in KNOWN}
    deviations: dict[tuple[int, int], list[Float32Array]] = {known: [] for known in KNOWN}
    for number, cube in enumerate(given.cubes.values()):
        for seed in given.seeds(number):
            image, cameras = draw_image(cube, given.sensor, given.model.network, seed)
            for known in KNOWN:
                rng = np.random.default_rng([seed, 50])
                spectra, seen = areas(cube, image[0].numpy(), *known, rng)
                stf = calibrate(given.family, spectra, seen, basis=given.model.network.basis).stf
                errors[known].append(stf.theta[0].numpy() - cameras.theta[0])
                deviations[known].append(stf.theta_se[0].numpy())
    given.print_header()
    print(
        "| known | centre nm: RMS | median | gain: RMS | median | centre/width/gain in 90 % "
        "| standard error below 1 nm | RMS of these |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for known in KNOWN:
        print(line(known, np.concatenate(errors[known]), np.concatenate(deviations[known])))
    return 0


def areas(
    cube: Float32Array, image: Float32Array, count: int, side: int, rng: np.random.Generator
) -> tuple[Float32Array, Float32Array]:
    """Means (count, C) over random areas of a cube (C, H, W), and (count, c) of its image."""
    down, across = (size - side + 1 for size in cube.shape[1:])
    chosen = rng.choice(down * across, count, replace=False)
    corners = zip(*np.divmod(chosen, across), strict=True)
    means = [
        tuple(part[:, row : row + side, col : col + side].mean((1, 2)) for part in (cube, image))
        for row, col in corners
    ]
    spectra, seen = (np.array(part, np.float32) for part in zip(*means, strict=True))
    return spectra, seen


def line(known: tuple[int, int], errors: Float32Array, deviations: Float32Array) -> str:
    """A row of the table, of errors and standard errors (bands of all cameras, 3)."""
    count, side = known
    name = f"{count} pixels" if side == 1 else f"{count} areas of {side} x {side} pixels"
    precise = deviations[:, SHIFT] < 1
    shift, gain = np.abs(errors[:, SHIFT]), np.abs(np.expm1(errors[:, GAIN]))
    cells = [
        *(f"{value(shift):.2f}" for value in (root_mean_square, np.median)),
        *(f"{value(gain):.2%}" for value in (root_mean_square, np.median)),
        " / ".join(f"{share:.0%}" for share in (np.abs(errors) < INTERVAL_90 * deviations).mean(0)),
        f"{precise.mean():.0%}",
        f"{root_mean_square(shift[precise]):.2f}",
    ]
    return f"| {name} | {' | '.join(cells)} |"


def root_mean_square(values: Float32Array) -> float:
    """The square root of the mean square."""
    return float(np.sqrt(np.square(values).mean()))


if __name__ == "__main__":
    raise SystemExit(main())
