"""Common parts of the benchmarks on held-out scenes: options, model, scenes and baseline.

LIBRARY is the spectral library of the training, on which ridge is trained. The cubes are airborne
scenes (scripts/build_library.py describes the format) that must not be in the library.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from uavssr.data import load_airborne_cube
from uavssr.evaluation import LinearMap, fit_ridge
from uavssr.model import Model, ResponseFamily, load_model
from uavssr.sensors import Float32Array, Sensor, load_sensor
from uavssr.spectra import SpectralLibrary, SubspaceCompletion, load_library


def options_of(doc: str, *, cameras: int) -> argparse.ArgumentParser:
    """The command line of such a benchmark, by default with `cameras` cameras per scene."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("library", type=Path)
    parser.add_argument("cubes", type=Path, nargs="+")
    parser.add_argument("--model", default="p4m-nano")
    parser.add_argument("--sensor", default="p4m")
    parser.add_argument("--cameras", type=int, default=cameras)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    return parser


@dataclass(frozen=True)
class HeldOut:
    """Held-out scenes, and the model that is evaluated on them."""

    model: Model
    sensor: Sensor
    cubes: dict[str, Float32Array]
    """(C, y, x) by name, reflectance."""
    library: SpectralLibrary
    seed: int
    cameras: int

    @classmethod
    def of(cls, options: argparse.Namespace) -> HeldOut:
        """The files of the command line; ends the benchmark if one is missing."""
        missing = [str(p) for p in [options.library, *options.cubes] if not p.is_file()]
        if missing:
            print(f"skipped: not here: {', '.join(missing)}")
            raise SystemExit(0)
        torch.set_num_threads(options.threads)
        model = load_model(options.model)
        library = load_library(options.library, model.grid)
        measured = library.spectra[library.source != "synthetic"]
        completion = SubspaceCompletion.fit(measured, rank=12)
        cubes = {
            path.stem: load_airborne_cube(path, model.grid, completion=completion)
            for path in options.cubes
        }
        return cls(
            model=model,
            sensor=load_sensor(options.sensor),
            cubes=cubes,
            library=library,
            seed=options.seed,
            cameras=options.cameras,
        )

    @cached_property
    def ridge(self) -> LinearMap:
        """The baseline."""
        return fit_ridge(self.library, self.sensor, seed=self.seed)

    @cached_property
    def family(self) -> ResponseFamily:
        """The nominal responses of the sensor and their spread."""
        return ResponseFamily.of(self.sensor, self.model.grid)

    def seeds(self, number: int) -> Iterator[int]:
        """Random seeds of the cameras of a scene."""
        first = self.seed * 100_000 + number * 1000
        return iter(range(first, first + self.cameras))

    def print_header(self) -> None:
        """Print the model, the sensor and the number of scenes, above the table."""
        model = self.model
        print(f"Model {model.name} ({model.sha256[:12]}), sensor {self.sensor.name},")
        print(f"{len(self.cubes)} scenes, {self.cameras} random cameras each, seed {self.seed}.\n")
