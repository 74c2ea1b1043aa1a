"""Time and memory of whole reconstructions: against the scene, against the tile, and after a kill.

    python benchmarks/engine.py [--sizes 512,1024,2048] [--tiles 128,256,512] [--workers 2]
                                [--wavelengths 450-900] [--json FILE]

Every run is the command `uavssr reconstruct` in a process of its own on a made-up field. Printed
are seconds by the clock, processor seconds, and the peak memory as the system tells it.
Tiles are compared on the first size. So is the run that is killed when half of its tiles are in
the journal, and then resumed; its overhead is what both take together beyond the one left alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import Affine
from rasterio.windows import Window

Run = dict[str, float | str]
ROLES = ("blue", "green", "red", "rededge", "nir")
STRIP = 256
"""Rows made at a time: a process counts as its own peak what its parent held when it began."""


def main() -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=_numbers, default=[512, 1024, 2048])
    parser.add_argument("--tiles", type=_numbers, default=[128, 256, 512])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--wavelengths", help="write these alone, to save time")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    extra = ["--workers", str(options.workers)]
    extra += ["--wavelengths", options.wavelengths] if options.wavelengths else []
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs += [
            _run(f"{size} x {size}, tile 256", _field(folder, size), extra)
            for size in options.sizes
        ]
        first = _field(folder, options.sizes[0])
        runs += [
            _run(f"{first.stem}, tile {tile}", first, [*extra, "--tile", str(tile)])
            for tile in options.tiles
        ]
        runs += _killed(first, extra)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    print(f"{machine}\n\n| run | seconds | CPU seconds | peak MB |\n|---|---|---|---|")
    for run in runs:
        print("| {what} | {seconds:.1f} | {cpu:.1f} | {peak:.0f} |".format(**run))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "runs": runs}, indent=1) + "\n")
    return 0


def _field(folder: Path, size: int) -> Path:
    """Smooth fields of vegetation and soil with noise, reflectance x 10000."""
    path = folder / f"field{size}.tif"
    if path.exists():
        return path
    rng = np.random.default_rng(size)
    green = np.array([0.03, 0.07, 0.04, 0.25, 0.45])
    soil = np.array([0.08, 0.12, 0.17, 0.22, 0.28])
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=size,
        height=size,
        count=5,
        dtype="uint16",
        crs="EPSG:32650",
        transform=Affine(0.1, 0, 500000, 0, -0.1, 4000000),
        tiled=True,
    ) as file:
        file.descriptions = ROLES
        file.scales = (0.0001,) * 5
        for row in range(0, size, STRIP):
            y, x = np.mgrid[row : min(row + STRIP, size), :size] / 60.0
            share = 0.5 + 0.25 * (np.sin(x) + np.cos(y * 1.3))
            clean = share * green[:, None, None] + (1 - share) * soil[:, None, None]
            noisy = clean * (1 + 0.02 * rng.standard_normal(clean.shape))
            window = Window(0, row, size, len(share))
            file.write((noisy * 10000).astype("uint16"), window=window)
    return path


def _command(field: Path, extra: list[str]) -> list[str]:
    out = field.with_name("hsi.tif")
    words = [sys.executable, "-m", "uavssr", "-q", "reconstruct", str(field), "--out", str(out)]
    return [*words, "--sensor", "p4m", "--scale", "0.0001", *extra]


def _run(what: str, field: Path, extra: list[str]) -> Run:
    """One command to its end, whose own use of the machine the system tells."""
    start = time.perf_counter()
    again = [] if "--resume" in extra else ["--overwrite"]
    process = subprocess.Popen(_command(field, [*extra, *again]))
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{what}: exit code {process.returncode}")
    cpu = used.ru_utime + used.ru_stime
    peak = used.ru_maxrss / 1000
    return {"what": what, "seconds": time.perf_counter() - start, "cpu": cpu, "peak": peak}


def _killed(field: Path, extra: list[str]) -> list[Run]:
    """The same scene left alone, and killed in the middle and resumed."""
    alone = _run(f"{field.stem}, left alone", field, extra)
    out = field.with_name("hsi.tif")
    for old in out.parent.glob("hsi.*"):
        old.unlink()
    size = int(field.stem.removeprefix("field"))
    half = (-(-size // 256)) ** 2 // 2
    start = time.perf_counter()
    process = subprocess.Popen(_command(field, [*extra, "--overwrite"]))
    journal = out.with_name(f".{out.name}.uavssr")
    while process.poll() is None and len(list(journal.glob("tile-*.npz"))) < half:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = -9
    first = time.perf_counter() - start
    resumed = _run("resumed", field, [*extra, "--resume"])
    return [
        alone,
        {
            "what": f"{field.stem}, killed at half and resumed",
            "seconds": first + float(resumed["seconds"]),
            "cpu": used.ru_utime + used.ru_stime + float(resumed["cpu"]),
            "peak": float(resumed["peak"]),
        },
    ]


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    raise SystemExit(main())
