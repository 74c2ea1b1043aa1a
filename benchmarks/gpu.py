"""One look at a GPU machine: the network, whole commands, their parts, cores, and CPU against GPU.

    python benchmarks/gpu.py [--device cuda] [--small] [--json FILE]

Prints, for the model p4m-nano and five bands: the network and the mixture alone by batch in float32
and bf16; `uavssr reconstruct` on 4096 x 4096 pixels to a GeoTIFF, to coefficients, to Zarr and to
five wavelengths; the seconds that all threads together spend in each part of a run; the command on
1 to 16 cores; and the stored numbers of a cube by GPU against those by CPU. With `--small` the
sizes are tiny: with `--device cpu` that only tries the program. The field is that of
`benchmarks/scaling.py`, seed 0.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import rasterio
import torch
from scaling import cpu, field

from uavssr.io.msi import open_msi
from uavssr.io.writers import Journal
from uavssr.model import PGUNet, ResponseFamily, Stf, load_model
from uavssr.reconstruction import OutputOptions, ReconstructionOptions, plan_reconstruction
from uavssr.reconstruction.devices import full_float32
from uavssr.reconstruction.products import Product
from uavssr.reconstruction.tile_engine import TileEngine
from uavssr.sensors import SENSORS

ROOT = Path(__file__).resolve().parents[1]
SENSOR = SENSORS["p4m"]
INPUT = ("--sensor", "p4m", "--bands", ",".join(SENSOR.roles), "--scale", "1/10000")
Row = dict[str, Any]


class Sizes(NamedTuple):
    """Sides of images in pixels, and what is tried on them."""

    tile: int
    batches: tuple[int, ...]
    command: int
    cores: tuple[int, ...]
    scaling: int
    compared: int
    repeats: int


FULL = Sizes(280, (1, 8, 32), 4096, (1, 2, 4, 8, 16), 2048, 600, 10)
SMALL = Sizes(40, (1, 2), 96, (1, 2), 64, 64, 1)


def main() -> int:
    """Print the tables; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the program")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    sizes, device = SMALL if options.small else FULL, torch.device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU"
    print(f"{name}, torch {torch.__version__}, {cpu()}, {os.cpu_count()} cores")
    report: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        report["network alone"] = network_alone(device, sizes)
        report["whole command"] = whole_commands(work, options.device, sizes)
        report["thread seconds by part"] = by_part(work, options.device)
        report["cores"] = by_cores(work, options.device, sizes)
        report[f"stored numbers, {options.device} against cpu"] = against_cpu(
            work, options.device, sizes
        )
    for title, rows in report.items():
        show(title, rows)
    if options.json:
        text = json.dumps({"machine": name, "small": options.small} | report, indent=1)
        options.json.write_text(text, encoding="utf-8")
    return 0


def network_alone(device: torch.device, sizes: Sizes) -> list[Row]:
    """Mpx/s of the network, and of the mixture (no stage), by batch and precision."""
    network: PGUNet = load_model("p4m-nano").network.to(device)
    stf = Stf.from_prior(ResponseFamily.of(SENSOR, network.grid).to(device))
    rows = []
    for batch in sizes.batches:
        shape = (batch, len(SENSOR), sizes.tile, sizes.tile)
        msi = 0.4 * torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device)
        row: Row = {"batch": batch}
        for title, settings in (
            ("float32 Mpx/s", {}),
            ("bf16 Mpx/s", {"bfloat16": True}),
            ("mixture Mpx/s", {"stages": 0}),
        ):
            seconds = median_seconds(
                lambda msi=msi, settings=settings: network(
                    msi, stf, estimate_stf=False, **settings
                ),
                device,
                sizes.repeats,
            )
            row[title] = batch * sizes.tile**2 / seconds / 1e6
        if device.type == "cuda":
            row["peak MB"] = torch.cuda.max_memory_allocated(device) / 1e6
        rows.append(row)
    return rows


def median_seconds(call: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median seconds of a call without TF32, after two that are not counted."""
    times = []
    with torch.inference_mode(), full_float32:
        for _ in range(2 + repeats):
            start = time.perf_counter()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - start)
    return float(np.median(times[2:]))


def whole_commands(folder: Path, device: str, sizes: Sizes) -> list[Row]:
    """Seconds of `uavssr reconstruct` in a process of its own."""
    image, pixels = field(folder / "command.tif", sizes.command), sizes.command**2
    kinds: dict[str, tuple[str, tuple[str, ...]]] = {
        "GeoTIFF": ("a.tif", ()),
        "coefficients": ("b.tif", ("--format", "coefficients")),
        "Zarr": ("c.zarr", ()),
        "5 wavelengths": ("d.tif", ("--wavelengths", "450,550,650,750,850")),
    }
    rows = []
    for kind, (out, more) in kinds.items():
        seconds = command_seconds(image, folder / out, device, *more)
        rows.append({"output": kind, "s": seconds, "Mpx/s": pixels / seconds / 1e6})
    return rows


def command_seconds(
    image: Path, out: Path, device: str, *more: str, cores: int | None = None
) -> float:
    """Seconds of one command, on the first of this process's cores if their number is given."""
    options = ["--out", str(out), "--device", device, "--overwrite", *INPUT, *more]
    launch = [sys.executable, "-m", "uavssr", "-q", "reconstruct", str(image), *options]
    if cores is not None:
        chosen = ",".join(map(str, sorted(os.sched_getaffinity(0))[:cores]))
        launch = ["taskset", "-c", chosen, *launch]
    start = time.perf_counter()
    subprocess.run(launch, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    return time.perf_counter() - start


def by_part(folder: Path, device: str) -> list[Row]:
    """Seconds of all threads together in each part of writing coefficients."""
    seconds: Counter[str] = Counter()
    lock = threading.Lock()

    def timed(owner: type, method: str, part: str) -> AbstractContextManager[object]:
        original = getattr(owner, method)

        def measured(*given: object, **named: object) -> object:
            start = time.perf_counter()
            try:
                return original(*given, **named)
            finally:
                with lock:
                    seconds[part] += time.perf_counter() - start

        return patch.object(owner, method, measured)

    msi = open_msi(folder / "command.tif", sensor="p4m", bands=list(SENSOR.roles), scale="1/10000")
    planned = plan_reconstruction(msi, ReconstructionOptions(device=device))
    output = OutputOptions(cube=folder / "parts.tif", format="coefficients", overwrite=True)
    start = time.perf_counter()
    with (
        timed(TileEngine, "read", "reading"),
        timed(TileEngine, "begin", "network"),
        timed(Journal, "store", "journal"),
        timed(Product, "add", "packing and writing"),
    ):
        planned.write(output)
    whole = time.perf_counter() - start
    rows: list[Row] = [{"part": part, "thread s": spent} for part, spent in seconds.items()]
    return [*rows, {"part": "the run, by the clock", "thread s": whole}]


def by_cores(folder: Path, device: str, sizes: Sizes) -> list[Row]:
    """Seconds of the command on the first 1, 2 ... cores that this process may use."""
    image = field(folder / "cores.tif", sizes.scaling)
    available = len(os.sched_getaffinity(0))
    rows = []
    for cores in (count for count in sizes.cores if count <= available):
        row: Row = {"cores": cores}
        for kind, more in (("GeoTIFF", ()), ("coefficients", ("--format", "coefficients"))):
            out = folder / f"cores-{kind}.tif"
            row[f"{kind} s"] = command_seconds(image, out, device, *more, cores=cores)
        rows.append(row)
    return rows


def against_cpu(folder: Path, device: str, sizes: Sizes) -> list[Row]:
    """Largest and mean difference in counts of 1e-4, with the STF estimated, and held."""
    image = field(folder / "compared.tif", sizes.compared)
    reference = folder / "cpu.tif"
    command_seconds(image, reference, "cpu")
    held = ("--stf", str(reference.with_suffix(".stf.nc")), "--stf-only")
    rows = []
    for stf, more in (("estimated", ()), ("held", held)):
        for precision in ("float32", "bf16"):
            out = folder / "other.tif"
            command_seconds(image, out, device, "--precision", precision, *more)
            with rasterio.open(reference) as one, rasterio.open(out) as two:
                difference = np.abs(one.read().astype(int) - two.read())
            largest, mean = int(difference.max()), float(difference.mean())
            rows.append({"STF": stf, "precision": precision, "largest": largest, "mean": mean})
    return rows


def show(title: str, rows: list[Row]) -> None:
    """Print a table."""
    print(f"\n{title}\n\n| {' | '.join(rows[0])} |\n|{'---|' * len(rows[0])}")
    for row in rows:
        cells = (f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row.values())
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    raise SystemExit(main())
