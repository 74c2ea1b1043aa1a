"""A reconstruction on one, two or more worker processes of this machine.

    python benchmarks/scaling.py [--sizes 512,1024] [--processes 1,2] [--tile 256] [--runs 2]
                                 [--format gtiff] [--model p4m-nano] [--json FILE]

Each run reconstructs a made-up field of `size x size` pixels and five bands; the processes are
started before the clock. The runs of all numbers of processes take turns and the least time of
each counts, so that what else the machine does falls on all alike. From the sizes follow the cost
per pixel and what a run costs however small it is. Processor seconds, of the process that writes
and of all workers together, tell more than the clock where the machine is busy otherwise. Memory is
the peak of each process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import Affine

from uavssr.io.msi import open_msi
from uavssr.reconstruction import OutputOptions, ReconstructionOptions, plan_reconstruction
from uavssr.reconstruction.cluster import Cluster, local_cluster
from uavssr.sensors import SENSORS

Cost = dict[str, float]


def main() -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=numbers, default=[512, 1024])
    parser.add_argument("--processes", type=numbers, default=[1, 2])
    parser.add_argument("--tile", type=int, default=256)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--format", default="gtiff")
    parser.add_argument("--model", default="p4m-nano")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = measured(Path(name), options)
    report = {
        "machine": f"{cpu()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end",
        "tile": options.tile,
        "format": options.format,
        "runs": found,
        "model": [fitted(found, count) for count in options.processes],
    }
    show(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    return 0


def numbers(text: str) -> list[int]:
    """1,2,3."""
    return [int(part) for part in text.split(",")]


def cpu() -> str:
    """The processor's name."""
    names = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return names[0] if names else platform.machine()


def field(path: Path, size: int) -> Path:
    """Smooth vegetation with a tenth of noise, as counts of 1/10000."""
    rng = np.random.default_rng(0)
    typical = np.array([0.04, 0.08, 0.05, 0.2, 0.45], "f4")[:, None, None]
    coarse = rng.uniform(0.4, 1.6, (5, size // 16 + 1, size // 16 + 1)).astype("f4")
    cube = typical * coarse.repeat(16, 1).repeat(16, 2)[:, :size, :size]
    cube = cube * rng.normal(1, 0.1, cube.shape).astype("f4")
    sensor = SENSORS["p4m"]
    with rasterio.open(
        path, "w", driver="GTiff", height=size, width=size, count=len(sensor), dtype="uint16",
        crs="EPSG:32650", transform=Affine(0.1, 0, 500000, 0, -0.1, 3000000), tiled=True,
        blockxsize=256, blockysize=256, nodata=65535,
    ) as file:  # fmt: skip
        file.write(np.clip(cube * 10000, 1, 10000).astype("u2"))
    return path


def measured(folder: Path, options: argparse.Namespace) -> list[Cost]:
    """The least time of each size and number of processes, and the peaks of memory."""
    images = {size: field(folder / f"{size}.tif", size) for size in options.sizes}
    best: dict[tuple[int, int], Cost] = {}
    for _ in range(options.runs):
        for count in options.processes:
            with cluster_of(count) as cluster:
                for size, image in images.items():
                    cost = one(folder / f"out-{size}", image, cluster, options)
                    cost |= {"processes": count, "size": size}
                    before = best.get((count, size))
                    if before is None or cost["seconds"] < before["seconds"]:
                        best[count, size] = cost
    return list(best.values())


@contextmanager
def cluster_of(count: int) -> Iterator[Cluster]:
    """`count` worker processes that have imported the package."""
    with local_cluster(count) as cluster:
        cluster.client.run(warm)
        yield cluster


def warm() -> None:
    """Import the package."""
    import uavssr.reconstruction  # noqa: F401


def one(out: Path, image: Path, cluster: Cluster, options: argparse.Namespace) -> Cost:
    """Cost of one run."""
    roles = [band.role for band in SENSORS["p4m"].bands]
    msi = open_msi(image, sensor="p4m", bands=roles, scale="1/10000")
    plan = plan_reconstruction(
        msi,
        ReconstructionOptions(
            model=options.model, tile=options.tile, device="cpu", cluster=cluster
        ),
    )
    target = out.with_suffix(".zarr" if options.format == "zarr" else ".tif")
    start, here, there = time.perf_counter(), time.process_time(), busy(cluster)
    plan.write(OutputOptions(cube=target, format=options.format, overwrite=True))
    seconds = time.perf_counter() - start
    peaks = cluster.client.run(peak).values()
    return {
        "seconds": seconds,
        "client_cpu": time.process_time() - here,
        "worker_cpu": busy(cluster) - there,
        "tiles": len(plan.plan.tiles),
        "client_MB": peak(),
        "worker_MB": max(peaks),
    }


def busy(cluster: Cluster) -> float:
    """Processor seconds of all workers so far."""
    return sum(cluster.client.run(time.process_time).values())


def peak() -> float:
    """Most memory that this process had so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def fitted(found: list[Cost], count: int) -> Cost:
    """Seconds = fixed + pixels x slope, through the sizes of one number of processes."""
    own = [cost for cost in found if cost["processes"] == count]
    pixels = np.array([cost["size"] ** 2 for cost in own], float)
    seconds = np.array([cost["seconds"] for cost in own])
    if len(own) < 2:
        return {"processes": count, "fixed_s": 0.0, "us_per_pixel": seconds[0] / pixels[0] * 1e6}
    slope, fixed = np.polyfit(pixels, seconds, 1)
    return {"processes": count, "fixed_s": float(fixed), "us_per_pixel": float(slope) * 1e6}


def show(report: dict) -> None:
    """The tables."""
    print(f"{report['machine']}; tile {report['tile']}, {report['format']}")
    print("processes   size  tiles  seconds  client CPU s  worker CPU s  client MB  worker MB")
    for cost in report["runs"]:
        print(
            f"{cost['processes']:9.0f} {cost['size']:6.0f} {cost['tiles']:6.0f} "
            f"{cost['seconds']:8.2f} {cost['client_cpu']:13.2f} {cost['worker_cpu']:13.2f} "
            f"{cost['client_MB']:10.0f} {cost['worker_MB']:10.0f}"
        )
    slopes = [each["us_per_pixel"] for each in report["model"]]
    for each, slope in zip(report["model"], slopes, strict=True):
        print(
            f"{each['processes']} processes: {each['fixed_s']:.2f} s + {slope:.2f} us a pixel, "
            f"{slopes[0] / slope:.2f} times the first"
        )


if __name__ == "__main__":
    raise SystemExit(main())
