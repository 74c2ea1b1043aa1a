"""Accuracy with a satellite image as reference, on airborne cubes: docs/tables/satellite.md.

    python benchmarks/satellite.py LIBRARY.npz CUBE.npz... [--cameras 8] [--record FILE.json]

A random camera sees a cube, with a factor of its own for all bands (standard deviation 10 %). A
satellite sees the means of cells of 8 x 8 pixels: each band with a systematic error, all bands with
a factor of 3 %, and noise. `--record` keeps the figures of each image and goes on from them.
Prints Markdown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from heldout import HeldOut, options_of
from satellite_files import CELL_M, Pass, cells_of_files

from uavssr.calibration import CellValues, fit_satellite
from uavssr.evaluation import INTERVAL_90, draw_image, rmse, sam
from uavssr.model import GAIN, SHIFT, STRETCH, Materials, Stf, find_materials
from uavssr.sensors import Float32Array, FloatArray, Sensor, WavelengthGrid, load_satellite

LEVEL_SD = 0.10
"""Standard deviation of the logarithm of the camera's common factor."""
SATELLITE_COMMON_SD = 0.03
"""The same of the satellite's."""
SATELLITE_NOISE = (0.001, 0.005)
"""Noise of a cell: reflectance, and share of it."""
SIDE = 8
"""Side of a cell in pixels."""
MAX_SIDE = 96
"""Side of a scene in pixels, cut to save time."""
THINNING = 2
"""Every second row and column of pixels counts for the coverage of the cube."""
EDGE_NM, EDGE_WIDTH_NM = 720.0, 22.0
"""Middle and width of the red edge, at which the change of a crop turns its sign: not those of the
fit. The green changes half as much, the near infrared by 80 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One satellite image."""

    error: float = 0.05
    """Systematic error of each band, as simulated and as given to the fit."""
    cells: int = 64
    satellite: str = "sentinel2a"
    bands: tuple[str, ...] = ()
    """Its bands; all by default."""
    growth: float = 0.0
    """Change of a full crop since the flight: near infrared times exp(growth), visible over it."""
    files: bool = False
    """Whether files are written and read, with PSF and a shift of up to a cell."""

    def sensor(self) -> Sensor:
        """The satellite with the bands of the case."""
        whole = load_satellite(self.satellite)
        chosen = [band for band in whole.bands if not self.bands or band.role in self.bands]
        return Sensor(name=whole.name, bands=tuple(chosen))


CASES = {
    "5 % error": Case(),
    "3 % error": Case(error=0.03),
    "8 % error": Case(error=0.08),
    "25 cells": Case(cells=25),
    "9 cells": Case(cells=9),
    "10-m bands alone": Case(bands=("b2", "b3", "b4", "b8")),
    "Landsat 8": Case(satellite="landsat8"),
    "crop changed by 5 %": Case(growth=0.05),
    "crop changed by 15 %": Case(growth=0.15),
    "files and a shift of up to a cell": Case(files=True),
}
MAIN = next(iter(CASES))


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One scene seen by one camera."""

    cube: Float32Array
    """(C, y, x)."""
    image: torch.Tensor
    """(1, c, y, x)."""
    materials: Materials
    """Of the image."""
    theta: FloatArray
    """(c, 3) the camera's parameters, its common factor in the gains."""
    rows: Float32Array
    """(c, C) its true STF."""
    seed: int


def main() -> int:
    """Print the tables; returns the exit code."""
    parser = options_of(__doc__, cameras=8)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--cases", default=",".join(CASES), help="names, by comma")
    options = parser.parse_args()
    given = HeldOut.of(options)
    record: dict[str, list[float]] = {}
    if options.record is not None and options.record.is_file():
        record = json.loads(options.record.read_text(encoding="utf-8"))
    names = ["blind", "true R", *options.cases.split(",")]
    for number, (scene, cube) in enumerate(given.cubes.items()):
        for seed in given.seeds(number):
            missing = [name for name in names if f"{scene}|{seed}|{name}" not in record]
            if missing:
                view = _view(given, cube[:, :MAX_SIDE, :MAX_SIDE], seed)
                for name in missing:
                    record[f"{scene}|{seed}|{name}"] = _figures(given, view, name)
                if options.record is not None:
                    options.record.write_text(json.dumps(record), encoding="utf-8")
    given.print_header()
    _print_tables(given, names, record)
    return 0


def _view(given: HeldOut, cube: Float32Array, seed: int) -> View:
    image, cameras = draw_image(cube, given.sensor, given.model.network, seed)
    level = np.random.default_rng([seed, 60]).normal() * LEVEL_SD
    theta = cameras.theta[0].astype(float)
    theta[:, GAIN] += level
    factor = np.float32(np.exp(level))
    image = image * factor
    return View(
        cube=cube,
        image=image,
        materials=find_materials(image.flatten(2), None, pooled=True),
        theta=theta,
        rows=cameras.rows[0] * factor,
        seed=seed,
    )


@torch.no_grad()
def _figures(given: HeldOut, view: View, name: str) -> list[float]:
    """RMSE, SAM, coverage of the cube, then theta's errors (3c) and standard errors (3c)."""
    network, family = given.model.network, given.family
    if name == "blind":
        stf = network.estimate_stf(view.materials, Stf.from_prior(family))[-1]
    elif name == "true R":
        theta = torch.from_numpy(view.theta)[None].float()
        rows = torch.from_numpy(view.rows)[None]
        stf = Stf.of(family, theta, torch.zeros_like(theta), rows=rows)
    else:
        case = CASES[name]
        cells = _cells(given, view, case)
        stf = fit_satellite(network, family, view.materials, cells, case.error).stf
    result = network(view.image, stf, estimate_stf=False)
    estimate = network.basis.expand(result.coefficients)[0].numpy()
    reference = view.cube
    thin = (..., slice(None, None, THINNING), slice(None, None, THINNING))
    uncertainty = network.cube_uncertainty(stf)
    sigma = uncertainty.expand(uncertainty.maps(view.image[thin], result.coefficients[thin]))[0]
    inside = np.abs(estimate[thin] - reference[thin]) < INTERVAL_90 * sigma.numpy()
    theta_se = stf.theta_se[0].double().numpy().copy()
    theta_se[:, GAIN] = np.hypot(theta_se[:, GAIN], float(stf.common_se))
    error = stf.theta[0].double().numpy() - view.theta
    flat = (array.reshape(len(array), -1) for array in (estimate, reference))
    spectra, truth = flat
    return [
        rmse(spectra, truth),
        sam(spectra, truth),
        float(inside.mean()),
        *error.ravel().tolist(),
        *theta_se.ravel().tolist(),
    ]


def _cells(given: HeldOut, view: View, case: Case) -> CellValues:
    """What camera and satellite show of the cells."""
    grid, sensor = given.model.grid, case.sensor()
    rng = np.random.default_rng([view.seed, 70])
    factor = np.exp(SATELLITE_COMMON_SD * rng.normal() + case.error * rng.normal(size=len(sensor)))
    response = sensor.srf(grid)
    if case.files:
        shift = rng.uniform(-CELL_M, CELL_M, 2)
        seen_from = Pass(satellite=sensor, response=response, factor=factor, shift=shift)
        cells = cells_of_files(view.cube, view.image[0].numpy(), given.sensor, seen_from)
        return _values(cells.msi, cells.msi_se, cells.reflectance, cells.reflectance_se, response)
    spectra, msi = (_cell_means(part) for part in (view.cube, view.image[0].numpy()))
    chosen = rng.permutation(len(spectra))[: case.cells]
    spectra, msi = spectra[chosen], msi[chosen]
    later = spectra * np.exp(case.growth * _crop(spectra, grid))
    reflectance = later @ response.T * factor
    absolute, relative = SATELLITE_NOISE
    noise = absolute + relative * reflectance
    seen = reflectance + noise * rng.normal(size=noise.shape)
    return _values(msi, np.zeros_like(msi), seen, noise, response)


def _values(*arrays: FloatArray) -> CellValues:
    names = ("msi", "msi_se", "reflectance", "reflectance_se", "response")
    tensors = (torch.as_tensor(np.array(array, float)) for array in arrays)
    return CellValues(**dict(zip(names, tensors, strict=True)))


def _cell_means(array: Float32Array) -> FloatArray:
    """(k, bands) means over cells of an array (bands, y, x)."""
    bands, height, width = array.shape
    rows, cols = height // SIDE, width // SIDE
    whole = array[:, : rows * SIDE, : cols * SIDE].reshape(bands, rows, SIDE, cols, SIDE)
    return whole.mean((2, 4), dtype=float).reshape(bands, -1).T


def _crop(spectra: FloatArray, grid: WavelengthGrid) -> FloatArray:
    """(k, C) change of a crop by NDVI: less light in the visible, more in the near infrared."""
    red, infrared = (spectra[:, grid.nearest(nm)] for nm in (670.0, 800.0))
    ndvi = ((infrared - red) / (infrared + red).clip(1e-3)).clip(0, 1)
    nm = grid.centres
    green = 1 - 0.5 * np.exp(-0.5 * ((nm - 555) / 30) ** 2)
    share = np.where(nm > EDGE_NM, 0.8, green)
    return ndvi[:, None] * share * np.tanh((nm - EDGE_NM) / EDGE_WIDTH_NM)


def _print_tables(given: HeldOut, names: list[str], record: dict[str, list[float]]) -> None:
    figures = {
        name: np.array(
            [
                [record[f"{scene}|{seed}|{name}"] for seed in given.seeds(number)]
                for number, scene in enumerate(given.cubes)
            ]
        )
        for name in names
    }  # (scene, camera, figure)
    print(
        "| reference | RMSE | gap closed | SAM deg | gap closed | worst scene / blind "
        "| centre nm | gain | cover centre/width/gain | cube |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in names:
        print(f"| {name} | " + " | ".join(_line(given, figures, name)) + " |")
    shown = ("blind", *[name for name in (MAIN,) if name in names], "true R")
    print("\n| scene | " + " | ".join(f"{name}: RMSE | SAM deg" for name in shown) + " |")
    print("|---|" + "---|---|" * len(shown))
    for number, scene in enumerate(given.cubes):
        means = [figures[name][number, :, :2].mean(0) for name in shown]
        cells = [f"{error:.4f} | {angle:.2f}" for error, angle in means]
        print(f"| {scene} | " + " | ".join(cells) + " |")


def _line(given: HeldOut, figures: dict[str, np.ndarray], name: str) -> Iterator[str]:
    """The cells of a row."""
    values, blind, true = (figures[key] for key in (name, "blind", "true R"))
    for index, digits in ((0, 4), (1, 2)):
        mean, start, end = (part[..., index].mean() for part in (values, blind, true))
        yield f"{mean:.{digits}f}"
        yield "" if name in ("blind", "true R") else f"{(start - mean) / (start - end):.0%}"
    ratio = values[..., 0].mean(1) / blind[..., 0].mean(1)
    worst = int(ratio.argmax())
    yield f"{ratio[worst]:.3f} ({list(given.cubes)[worst]})"
    errors, deviations = values[..., 3:].reshape(-1, 2, len(given.sensor), 3).swapaxes(0, 1)
    if name == "true R":
        yield from ("", "", "")
    else:
        size = np.sqrt(np.square(errors).mean((0, 1)))
        inside = (np.abs(errors) < INTERVAL_90 * deviations).mean((0, 1))
        yield f"{size[SHIFT]:.2f}"
        yield f"{size[GAIN]:.3f}"
        yield " / ".join(f"{inside[index]:.0%}" for index in (SHIFT, STRETCH, GAIN))
    yield f"{values[..., 2].mean():.0%}"


if __name__ == "__main__":
    raise SystemExit(main())
