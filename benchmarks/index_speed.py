"""Time and memory of index maps of an image, against the network alone on the same tiles.

    python benchmarks/index_speed.py [--sizes 1000,3000] [--index NDVI,CIre,REIP] [--workers 2]

Each size is a process of its own: a made-up field of `size x size` pixels and five bands, first
every tile by the network alone, then the same tiles to a file of maps with standard errors. No cube
is written. Processor seconds tell more than the clock where the machine is busy otherwise. The last
line extrapolates the cost per pixel of the largest field to 100 Mpx.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.scaling import cpu, field, numbers


class Cost(NamedTuple):
    """What a step took."""

    seconds: float
    """By the clock."""
    processor: float
    """Processor seconds of all threads."""


def main() -> int:
    """Print a line per size; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=numbers, default=[1000, 3000])
    parser.add_argument("--index", default="NDVI,CIre,REIP")
    parser.add_argument("--model", default="p4m-nano")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    print(f"{cpu()}, {options.workers} workers, {options.index}\n")
    print("| Mpx | network s | processor s | index s | processor s | ratio | peak MB | file MB |")
    print("|---|---|---|---|---|---|---|---|")
    for size in options.sizes:
        with (
            tempfile.TemporaryDirectory() as folder,
            multiprocessing.get_context("spawn").Pool(1) as pool,
        ):
            image = field(Path(folder) / "field.tif", size)
            alone, maps, peak, written = pool.apply(measure, (image, options))
        print(
            f"| {size**2 / 1e6:.1f} | {alone.seconds:.1f} | {alone.processor:.1f} "
            f"| {maps.seconds:.1f} | {maps.processor:.1f} "
            f"| {maps.processor / alone.processor:.2f} | {peak / 1e6:.0f} | {written / 1e6:.1f} |",
            flush=True,
        )
    factor = 1e8 / size**2
    print(f"\n100 Mpx, extrapolated: network {alone.seconds * factor / 60:.0f} min, ", end="")
    print(f"index {maps.seconds * factor / 60:.0f} min by the clock")
    return 0


def measure(path: Path, options: argparse.Namespace) -> tuple[Cost, Cost, float, int]:
    """Cost of the network alone and of the maps, peak memory and size of the file in bytes."""
    import torch

    from uavssr.analysis import IndexRequest, of_image, write_index_maps
    from uavssr.io.msi import open_msi
    from uavssr.reconstruction import ReconstructionOptions, plan_reconstruction

    torch.set_num_threads(1)
    requests = IndexRequest.of(options.index.split(","), [])
    settings = ReconstructionOptions(model=options.model, workers=options.workers)
    image = open_msi(path, sensor="p4m", bands=["blue", "green", "red", "rededge", "nir"],
                     scale="1/10000")  # fmt: skip
    source = of_image(plan_reconstruction(image, settings))
    out = path.with_name("maps.tif")
    alone = cost_of(lambda: sum(source.map(lambda _: 1, progress=None, task="")))
    maps = cost_of(lambda: write_index_maps(source, requests, out))
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return alone, maps, peak, out.stat().st_size


def cost_of(step: Callable[[], object]) -> Cost:
    """The cost of a step."""
    start, processor = time.perf_counter(), time.process_time()
    step()
    return Cost(time.perf_counter() - start, time.process_time() - processor)


if __name__ == "__main__":
    raise SystemExit(main())
