"""Tiles' own STFs under a planted drift of gain, and where none is planted.

    python benchmarks/tile_stf.py LIBRARY.npz CUBE.npz... [--model NAME] [--sensor p4m]
    python benchmarks/tile_stf.py --plots PAIRS.npz --flights 20210707,20210715,20220628

First form: random cameras see each scene, cut into 3 x 3 or 4 x 4 tiles, under each drift. Drift
is compared with the scene's mean. Second form: how far the log gains of plots of one real flight
differ, from which `RELATIVE_SPREAD` and `LEVEL_SPREAD` were chosen; give development flights alone.
Prints Markdown.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from heldout import HeldOut, options_of

from uavssr.evaluation import draw_image, rmse
from uavssr.model import GAIN, LEVEL_SPREAD, Stf
from uavssr.reconstruction.pixels import SceneSample
from uavssr.reconstruction.tile_stfs import fit_scene_colours
from uavssr.sensors import load_sensor
from uavssr.spectra import read_plot_table
from uavssr.tiling import TileGrid

DRIFTS = {
    "none": "none is planted",
    "level, step": "cloud's shadow: all bands 15 % darker in half of the field",
    "level, ramp": "sun sensor: all bands change by 15 % across the field",
    "shadow": "cloud's shadow of other colour: 13 % darker in the first band, 18 % in the last",
    "band, step": "one band's gain changes by 10 % in half of the field",
    "band, ramp": "one band's gain changes by 15 % across the field",
}
INTERVAL_90, ALARM_5 = 1.645, 1.960


@dataclass(frozen=True)
class Case:
    """Results of one image: numbers of its tiles (t, c), and RMSEs of the cube."""

    planted: np.ndarray
    drift: np.ndarray
    drift_se: np.ndarray
    scene_rmse: float
    tile_rmse: float

    @property
    def relative(self) -> np.ndarray:
        """Planted log gains beside what all bands of a tile share."""
        return self.planted - self.planted.mean(1, keepdims=True)


def main() -> int:
    """Print the table; returns the exit code."""
    if "--plots" in sys.argv:
        return _print_plots()
    given = HeldOut.of(options_of(__doc__, cameras=1).parse_args())
    given.print_header()
    cases: dict[str, list[Case]] = {name: [] for name in DRIFTS}
    for number, cube in enumerate(given.cubes.values()):
        for seed in given.seeds(number):
            for k, name in enumerate(DRIFTS):
                rng = np.random.default_rng([seed, 8, k])
                cases[name].append(_case(given, cube, seed, _drift(name, cube.shape, given, rng)))
    for name, meaning in DRIFTS.items():
        print(f"- {name}: {meaning}")
    _print_gains(cases)
    _print_cubes(cases)
    return 0


def _drift(
    name: str, shape: tuple[int, ...], given: HeldOut, rng: np.random.Generator
) -> np.ndarray:
    """Log gains (c, y, x), along rows or columns."""
    bands, (height, width) = len(given.sensor), shape[1:]
    place = np.linspace(-0.5, 0.5, width)[None] + np.zeros((height, 1))
    if rng.random() < 0.5:
        place = np.linspace(-0.5, 0.5, height)[:, None] + np.zeros((1, width))
    half = (place > 0).astype(float)
    one = np.zeros(bands)
    one[rng.integers(bands)] = rng.choice([-1, 1])
    by_name = {
        "none": (np.zeros(bands), half),
        "level, step": (np.log(0.85) * np.ones(bands), half),
        "level, ramp": (0.15 * np.ones(bands), place),
        "shadow": (-0.2 * np.linspace(0.7, 1, bands), half),
        "band, step": (0.10 * one, half),
        "band, ramp": (0.15 * one, place),
    }
    size, where = by_name[name]
    return size[:, None, None] * where


@torch.inference_mode()
def _case(given: HeldOut, cube: np.ndarray, seed: int, log_gain: np.ndarray) -> Case:
    """A scene seen by one camera under a drift."""
    network = given.model.network
    image, _ = draw_image(cube, given.sensor, network, seed)
    msi = image * torch.from_numpy(np.exp(log_gain).astype(np.float32))
    result = network(msi, Stf.from_prior(given.family), estimate_stf=True)
    scene, halo = result.stf, network.halo()
    everywhere = torch.ones_like(msi[:, 0], dtype=torch.bool)
    colours = fit_scene_colours(SceneSample(msi=msi, valid=everywhere, valid_fraction=1.0))
    height, width = cube.shape[1:]
    side = -(-min(height, width) // (3 if min(height, width) < 100 else 4))
    planted, drift, drift_se = [], [], []
    tiled = np.empty_like(cube)
    for tile in TileGrid(height=height, width=width, tile=side, halo=halo):
        rows, cols = tile.core.rows, tile.core.cols
        mean, se = colours.drift(msi[0, :, rows, cols].flatten(1).mT.contiguous())
        planted.append(log_gain[:, rows, cols].mean((1, 2)))
        drift.append(mean.numpy())
        drift_se.append(se.numpy())
        part = msi[:, :, tile.read.rows, tile.read.cols]
        own = network(part, _moved(scene, mean.float(), se.float()), estimate_stf=False)
        inner = tile.core.within(tile.read)
        tiled[:, rows, cols] = network.basis.expand(own.coefficients)[0][:, *inner].numpy()
    stack = np.array(planted)
    return Case(
        planted=stack - log_gain.mean((1, 2)),
        drift=np.array(drift),
        drift_se=np.array(drift_se),
        scene_rmse=rmse(network.basis.expand(result.coefficients)[0].numpy(), cube),
        tile_rmse=rmse(tiled, cube),
    )


def _moved(scene: Stf, drift: torch.Tensor, se: torch.Tensor) -> Stf:
    theta, theta_se = scene.theta.clone(), scene.theta_se.clone()
    theta[0, :, GAIN] += drift
    theta_se[0, :, GAIN] = torch.hypot(theta_se[0, :, GAIN], se)
    rows = scene.rows * drift.exp()[:, None]
    return replace(scene, theta=theta, theta_se=theta_se, rows=rows)


def _print_gains(cases: dict[str, list[Case]]) -> None:
    print(
        "\n| drift | planted, RMS | left with tile STFs | share found | correlation "
        "| in 90 % interval | with level | deviation / its error, RMS | false alarms at 5 % |"
    )
    print("|---" * 9 + "|")
    for name, results in cases.items():
        parts = ("relative", "planted", "drift", "drift_se")
        relative, planted, drift, se = (
            np.concatenate([getattr(case, part) for case in results]) for part in parts
        )
        level = np.hypot(se, LEVEL_SPREAD)
        size, left = (np.sqrt(np.square(values).mean()) for values in (relative, drift - relative))
        found = correlation = alarms = "-"
        if size > 1e-4:
            found = f"{(drift * relative).sum() / np.square(relative).sum():.0%}"
            correlation = f"{np.corrcoef(drift.ravel(), relative.ravel())[0, 1]:.2f}"
        else:
            alarms = f"{(np.abs(drift) > ALARM_5 * se).mean():.1%}"
        print(
            f"| {name} | {size:.4f} | {left:.4f} | {found} | {correlation} "
            f"| {(np.abs(drift - relative) < INTERVAL_90 * se).mean():.0%} "
            f"| {(np.abs(drift - planted) < INTERVAL_90 * level).mean():.0%} "
            f"| {np.sqrt(np.square(drift / se).mean()):.2f} | {alarms} |"
        )


def _print_cubes(cases: dict[str, list[Case]]) -> None:
    print(
        "\n| drift | cube RMSE, --stf-scope scene | --stf-scope tile | ratio |\n|---|---|---|---|"
    )
    for name, results in cases.items():
        scene, tile = (
            np.array([getattr(case, part) for case in results])
            for part in ("scene_rmse", "tile_rmse")
        )
        print(f"| {name} | {scene.mean():.5f} | {tile.mean():.5f} | {(tile / scene).mean():.3f} |")


def _print_plots() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plots", type=Path, required=True)
    parser.add_argument("--flights", required=True)
    parser.add_argument("--sensor", default="rededge3")
    options = parser.parse_args()
    if not options.plots.is_file():
        print(f"skipped: not here: {options.plots}")
        return 0
    camera = load_sensor(options.sensor)
    table = read_plot_table(options.plots, camera)
    print("| flight | plots | sd of the level | sd of a band beside it |\n|---|---|---|---|")
    for flight, log_gain in _plot_gains(options.flights, table, camera):
        level = log_gain.mean(1, keepdims=True)
        relative = log_gain - level
        own = np.sqrt(np.square(relative - relative.mean(0)).mean())
        print(f"| {flight} | {len(log_gain)} | {level.std():.3f} | {own:.3f} |")
    return 0


def _plot_gains(flights: str, table: object, camera: object) -> Iterator[tuple[str, np.ndarray]]:
    """Logarithm of image / integrated spectra (plots, c) by flight."""
    for flight in flights.split(","):
        plots = table.of(flight)
        response = camera.response(plots.nm)
        predicted = plots.spectra @ (response / response.sum(1, keepdims=True)).T
        yield flight, np.log(plots.msi / predicted)


if __name__ == "__main__":
    raise SystemExit(main())
