"""Round trip of a reconstruction: the cube integrated with the estimated STF against the input.

    python benchmarks/round_trip.py FIELD.tif --sensor rededge3 [--model NAME] [--quicklook PNG]

Runs `uavssr reconstruct`. Prints the RMS difference over the mean of the input, the metadata that
GDAL, rioxarray and SPy read from the cube, and the time of the whole command.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
import rioxarray
import xarray as xr

from uavssr.io.msi import open_msi
from uavssr.tiling import Window


def main() -> int:
    """Print the figures; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("field", type=Path)
    parser.add_argument("--sensor")
    parser.add_argument("--model")
    parser.add_argument("--quicklook", type=Path)
    options = parser.parse_args()
    if not options.field.is_file():
        print(f"skipped: {options.field} is not here")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        cube = Path(folder) / "cube.tif"
        command = [sys.executable, "-m", "uavssr", "reconstruct", str(options.field)]
        command += ["--out", str(cube)]
        for name in ("sensor", "model", "quicklook"):
            if value := getattr(options, name):
                command += [f"--{name}", str(value)]
        start = time.perf_counter()
        subprocess.run(command, check=True)
        print(
            f"command      {time.perf_counter() - start:.1f} s, {cube.stat().st_size / 1e6:.0f} MB"
        )
        _readers(cube)
        _integrate(options.field, options.sensor, cube)
    return 0


def _readers(cube: Path) -> None:
    """Print what other programs read from the cube."""
    with rasterio.open(cube) as dataset:
        tagged = sum("wavelength" in dataset.tags(i) for i in dataset.indexes)
        envi = dataset.tags(ns="ENVI")
        print(f"GDAL         {dataset.count} bands, {tagged} with a wavelength, {dataset.crs}")
    opened = rioxarray.open_rasterio(cube)
    print(f"rioxarray    {dict(opened.sizes)}, {opened.rio.crs}")
    import spectral

    copy = cube.with_suffix(".img")
    rasterio.shutil.copy(cube, copy, driver="ENVI")
    with rasterio.open(copy, "r+") as dataset:
        dataset.update_tags(ns="ENVI", **envi)
    bands = spectral.open_image(str(copy.with_suffix(".hdr"))).bands
    print(f"SPy (ENVI)   {len(bands.centers)} wavelengths, {bands.centers[0]}-{bands.centers[-1]}")


def _integrate(field: Path, sensor: str | None, cube: Path) -> None:
    """Print the RMS of R X - Y by band, over the mean of Y."""
    msi = open_msi(field, sensor=sensor)
    with xr.open_dataset(cube.with_suffix(".stf.nc")) as dataset:
        stf = dataset["scene_stf"].to_numpy()
    squares, total, pixels = np.zeros(len(stf)), np.zeros(len(stf)), 0
    with rasterio.open(cube) as dataset:
        for row in range(0, msi.height, 256):
            window = Window(row, 0, min(256, msi.height - row), msi.width)
            image, valid = msi.read(window)
            counts = dataset.read(window=rasterio.windows.Window(0, row, msi.width, window.height))
            seen = np.einsum("cb,bn->cn", stf, counts[:, valid] * 1e-4)
            squares += ((seen - image[:, valid]) ** 2).sum(1)
            total += image[:, valid].sum(1)
            pixels += int(valid.sum())
    rms, mean = np.sqrt(squares / pixels), total / pixels
    for name, error, level in zip(msi.sensor.roles, rms, mean, strict=True):
        print(f"{name:12} {error / level:.2%} of its mean {level:.3f}")
    print(f"all bands    {np.sqrt((rms**2).mean()) / mean.mean():.2%} of the mean of the input")


if __name__ == "__main__":
    raise SystemExit(main())
