"""Checksums of what the commands compute: pixels, STFs, weights and losses, never of file bytes.

    python scripts/checksums.py --out after.json [--package FOLDER] [--orchard FILE]
        [--against before.json]

Run it before and after a change that must not move a number. `--package` names the clone whose
code runs (this one by default), `--orchard` a five-band MicaSense orthomosaic of which a crop of
512 x 512 pixels is reconstructed too. Prints what differs from `--against` and then exits with 1.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import rasterio
import xarray as xr
import zarr
from rasterio.windows import Window
from safetensors.numpy import load_file

HERE = Path(__file__).resolve().parents[1]
FIELD = HERE / "examples" / "field.tif"
SMALL = (
    *("--components", "3", "--stages", "1", "--width", "8", "--set", "network.stf_width=8"),
    *("--steps", "20", "--rank", "6", "--set", "training.size=8", "--set", "training.batch=2"),
    *("--set", "training.checkpoint=20", "--set", "training.prior_scenes=20"),
    *("--set", "training.validate=0", "--set", "training.bags=2", "--set", "training.bag_pool=4"),
)
"""A training of twenty steps that takes seconds."""


class Commands:
    """Runs `uavssr` of one clone, on one thread, in a folder for its outputs.

    Args:
        package: the clone.
        folder: where outputs are written.
    """

    def __init__(self, package: Path, folder: Path) -> None:
        self.folder = folder
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self.environment = {**os.environ, **threads, "PYTHONPATH": str(package)}

    def run(self, *words: object) -> None:
        """Run one command.

        Raises:
            CalledProcessError: it failed.
        """
        command = [sys.executable, "-m", "uavssr", "-q", *map(str, words)]
        subprocess.run(command, check=True, env=self.environment, cwd=self.folder)


def main() -> int:
    """Write the checksums and compare them; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--package", type=Path, default=HERE)
    parser.add_argument("--orchard", type=Path)
    parser.add_argument("--against", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        commands = Commands(options.package.resolve(), Path(name))
        sums = field_sums(commands) | derived_sums(commands)
        if options.orchard:
            sums |= orchard_sums(commands, options.orchard.resolve())
    options.out.write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")
    if options.against is None:
        return 0
    before = json.loads(options.against.read_text(encoding="utf-8"))
    different = sorted(key for key in before if before[key] != sums.get(key))
    for key in different:
        print(f"{key}: {before[key]} -> {sums.get(key)}")
    print(f"{len(before) - len(different)} of {len(before)} are equal")
    return 1 if different else 0


def field_sums(commands: Commands) -> dict[str, str]:
    """The example field in every format and with every product."""
    run, folder = commands.run, commands.folder
    products = ("--uncertainty", "se.tif", "--quality", "quality.tif")
    run("reconstruct", FIELD, "-o", "hsi.tif", *products)
    run("reconstruct", FIELD, "-o", "float.tif", "--dtype", "float32")
    run("reconstruct", FIELD, "-o", "part.tif", "--wavelengths", "450-900", "--tile", "128")
    run("reconstruct", FIELD, "-o", "cog.tif", "--format", "cog")
    run("reconstruct", FIELD, "-o", "coefficients.tif", "--format", "coefficients")
    run("reconstruct", FIELD, "-o", "envi.dat")
    run("reconstruct", FIELD, "-o", "store.zarr")
    run("reconstruct", FIELD, "-o", "local.tif", "--stf-scope", "tile", "--tile", "128")
    run("expand", "coefficients.tif", "-o", "expanded.tif")
    names = ("hsi.tif", "float.tif", "part.tif", "cog.tif", "coefficients.tif", "envi.dat")
    names += ("local.tif", "expanded.tif", "se.tif", "quality.tif")
    sums = {name: raster_sum(folder / name) for name in names}
    store = zarr.open_group(folder / "store.zarr", mode="r")
    sums["store.zarr"] = digest([store["reflectance"][...]])
    for name in ("hsi.stf.nc", "local.stf.nc"):
        sums |= {f"{name}: {key}": value for key, value in dataset_sums(folder / name).items()}
    return sums


def derived_sums(commands: Commands) -> dict[str, str]:
    """Simulation, calibration with a reference, adaptation and training, from the field's cube."""
    run, folder = commands.run, commands.folder
    spectra_of(folder / "hsi.tif", folder / "library.npz")
    run("simulate", "hsi.tif", "--sensor", "p4m", "-o", "seen.tif", "--stf-out", "true.stf.nc")
    run("estimate-stf", "seen.tif", "--reference", "hsi.tif", "-o", "calibrated.nc")
    run("reconstruct", "seen.tif", "--stf", "calibrated.nc", "-o", "paired.tif")
    run("adapt", "library.npz", "-o", "adapted")
    run("train", "--spectra", "library.npz", "-o", "run", *SMALL)
    sums = {name: raster_sum(folder / name) for name in ("seen.tif", "paired.tif")}
    for name in ("true.stf.nc", "calibrated.nc"):
        sums |= {f"{name}: {key}": value for key, value in dataset_sums(folder / name).items()}
    weights = load_file(folder / "adapted" / "model.safetensors")
    sums["adapted"] = digest(weights[key] for key in sorted(weights))
    with (folder / "run" / "log.csv").open(newline="", encoding="utf-8") as file:
        losses = [row["loss"] for row in csv.DictReader(file)]
    return {**sums, "losses": " ".join(losses)}


def orchard_sums(commands: Commands, orchard: Path) -> dict[str, str]:
    """A crop of a real orthomosaic: cube, standard errors, quality, STF."""
    run, folder = commands.run, commands.folder
    window = Window(300, 200, 512, 512)
    with rasterio.open(orchard) as file:
        profile = {**file.profile, "width": 512, "height": 512}
        profile["transform"] = file.window_transform(window)
        numbers, names = file.read(window=window), file.descriptions
    with rasterio.open(folder / "orchard.tif", "w", **profile) as file:
        file.write(numbers)
        file.descriptions = names
    camera = ("--sensor", "rededge3", "--scale", "1/32768")
    products = ("--uncertainty", "ose.tif", "--quality", "oquality.tif")
    run("reconstruct", "orchard.tif", *camera, "-o", "ohsi.tif", *products)
    names = ("ohsi.tif", "ose.tif", "oquality.tif")
    sums = {name: raster_sum(folder / name) for name in names}
    stf = dataset_sums(folder / "ohsi.stf.nc")
    return sums | {f"ohsi.stf.nc: {key}": value for key, value in stf.items()}


def spectra_of(cube: Path, out: Path) -> None:
    """Every eleventh row and column of a cube as a spectral library."""
    with rasterio.open(cube) as file:
        stored = file.read(masked=True)[:, ::11, ::11]
        centres = [float(file.tags(band)["wavelength"]) for band in file.indexes]
        widths = [float(file.tags(band)["fwhm"]) for band in file.indexes]
    valid = ~np.ma.getmaskarray(stored).any(axis=0)
    spectra = stored.data[:, valid].T.astype(np.float32) * np.float32(1e-4)
    words = {"kind": np.full(len(spectra), "other"), "source": np.full(len(spectra), "field")}
    np.savez(out, spectra=spectra, **words, wavelength_nm=centres, fwhm_nm=widths)


def raster_sum(path: Path) -> str:
    """Of all decoded pixels."""
    with rasterio.open(path) as file:
        return digest(file.read(band) for band in file.indexes)


def dataset_sums(path: Path) -> dict[str, str]:
    """Of each numeric variable of a netCDF file."""
    with xr.open_dataset(path, engine="h5netcdf") as data:
        kinds = {key: data[key].dtype.kind for key in data.data_vars}
        return {str(key): digest([data[key].values]) for key in data if kinds[key] in "fiub"}


def digest(arrays: Iterable[np.ndarray]) -> str:
    """Of shapes, types and numbers."""
    sums = hashlib.sha256()
    for array in arrays:
        sums.update(f"{array.shape}{array.dtype}".encode())
        sums.update(np.ascontiguousarray(array).tobytes())
    return sums.hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main())
