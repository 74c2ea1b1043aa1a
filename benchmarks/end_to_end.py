"""The whole command against the slower of the network alone and the writing of its bytes alone.

    python benchmarks/end_to_end.py [--size 1024] [--runs 3] [--workers 2] [--json FILE]

Network alone: the same tiles with their margins, in memory already, through the network to all
wavelengths, as in forward.py, and nothing else. Writing alone: GDAL stores the numbers of the
finished cube, in memory already, with the same blocks and compression, no overviews, nothing read
back. Neither counts the start of its process. The command is `uavssr reconstruct` in a process of
its own, from the start of the interpreter to its end: it also finds the STFs and writes their
files. All three take turns, on a made-up field of `size x size` pixels and on one of half its side:
what differs between the two is the cost of pixels, without what a run costs however small it is.
Processor seconds tell more than the clock where the machine is busy otherwise; of each the least of
all runs is shown.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import rasterio
import torch
from scaling import cpu, field
from writing import TILE, by_gdal, window_of

from uavssr.io.msi import open_msi
from uavssr.reconstruction import ReconstructionOptions, plan_reconstruction
from uavssr.reconstruction.devices import freed_memory_reused, torch_threads
from uavssr.reconstruction.pixels import Patch
from uavssr.sensors import SENSORS
from uavssr.tiling import TileGrid

Cost = dict[str, float]
BANDS = [band.role for band in SENSORS["p4m"].bands]
SCALE = "1/10000"
KINDS = ("cpu_s", "wall_s")


def main() -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--model", default="p4m-nano")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.part and options.size < 2 * TILE:
        parser.error(f"--size must be at least {2 * TILE}: half of it is measured too")
    if options.part:
        print(json.dumps(PARTS[options.part](options)))
        return 0
    with tempfile.TemporaryDirectory() as name:
        found = {size: measured(Path(name), size, options) for size in halves(options.size)}
    report = {"machine": machine(), "workers": options.workers, "model": options.model}
    report |= {"sizes": found, "ratios": ratios(found, options.size)}
    show(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


def halves(size: int) -> tuple[int, int]:
    """Half the side in whole tiles, and the side."""
    return max(TILE, size // 2 // TILE * TILE), size


def machine() -> str:
    """Processor, cores and load."""
    return f"{cpu()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end"


# --- the three, in turn --------------------------------------------------------------------------


def measured(folder: Path, size: int, options: argparse.Namespace) -> dict[str, Cost]:
    """The least cost of each of the three."""
    image = field(folder / f"{size}.tif", size)
    best: dict[str, Cost] = {}
    for _ in range(options.runs):
        costs = {"command": command(image, options)}  # first, as it makes what is written
        costs |= {part: apart(part, folder, size, options) for part in PARTS}
        for name, cost in costs.items():
            before = best.get(name, cost)
            best[name] = {kind: min(cost[kind], before[kind]) for kind in KINDS}
    return best


def command(image: Path, options: argparse.Namespace) -> Cost:
    """The whole command, whose own use of the machine the system tells."""
    words = [sys.executable, "-m", "uavssr", "-q", "reconstruct", str(image), "--overwrite"]
    words += ["--out", str(cube_of(image)), "--sensor", "p4m", "--bands", ",".join(BANDS)]
    words += ["--scale", SCALE, "--model", options.model, "--workers", str(options.workers)]
    cube_of(image).unlink(missing_ok=True)  # to let go of gigabytes takes time of its own
    start = time.perf_counter()
    process = subprocess.Popen(words)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{image.stem}: exit code {process.returncode}")
    return {"cpu_s": used.ru_utime + used.ru_stime, "wall_s": time.perf_counter() - start}


def cube_of(image: Path) -> Path:
    """Where the command puts the cube."""
    return image.with_name(f"cube-{image.name}")


def apart(part: str, folder: Path, size: int, options: argparse.Namespace) -> Cost:
    """A part in a process of its own, which measures itself once it is ready."""
    words = [sys.executable, __file__, "--part", part, "--folder", str(folder)]
    words += ["--size", str(size), "--workers", str(options.workers), "--model", options.model]
    told = subprocess.run(words, check=True, capture_output=True, text=True)
    return json.loads(told.stdout)


def network(options: argparse.Namespace) -> Cost:
    """All tiles through the network."""
    msi = open_msi(options.folder / f"{options.size}.tif", sensor="p4m", bands=BANDS, scale=SCALE)
    plan = plan_reconstruction(
        msi, ReconstructionOptions(model=options.model, device="cpu", workers=options.workers)
    )
    scene = plan.scene
    engine = scene.engine()
    cores = [engine.read([index])[0].own for index in range(len(engine.tiles))]
    patches = [patch for patch in cores if patch is not None]

    @torch.inference_mode()
    def run(patch: Patch) -> None:
        rows, cols = patch.window.within(patch.outer)
        result = engine.network(patch.image[None], engine.scene_stf, estimate_stf=False)
        engine.basis.expand(result.coefficients[:, :, rows, cols])

    with torch_threads(1), freed_memory_reused(), ThreadPoolExecutor(options.workers) as pool:
        start, before = time.perf_counter(), time.process_time()
        list(pool.map(run, patches))
        return {"cpu_s": time.process_time() - before, "wall_s": time.perf_counter() - start}


def writing(options: argparse.Namespace) -> Cost:
    """The numbers of the finished cube, as GDAL stores them."""
    path = cube_of(options.folder / f"{options.size}.tif")
    with rasterio.open(path) as file:
        tiles = [
            (tile.core, file.read(window=window_of(tile.core)))
            for tile in TileGrid(height=options.size, width=options.size, tile=TILE)
        ]
    how = argparse.Namespace(size=options.size, threads=options.workers)
    alone = path.with_name("gdal.tif")
    alone.unlink(missing_ok=True)
    cost = by_gdal(alone, tiles, how, whole=False)
    return {"cpu_s": cost["cpu_s"], "wall_s": cost["all_s"]}


PARTS = {"network": network, "writing": writing}


# --- tables --------------------------------------------------------------------------------


def ratios(found: dict[int, dict[str, Cost]], size: int) -> dict[str, Cost]:
    """The command over the slower of the two: of the whole field, and of its pixels alone."""
    small, large = found[halves(size)[0]], found[size]
    pixels = {
        name: {kind: large[name][kind] - small[name][kind] for kind in KINDS} for name in large
    }
    return {"field": ratio(large), "pixels": ratio(pixels)}


def ratio(costs: dict[str, Cost]) -> Cost:
    """The command over the slower of the two."""
    return {
        kind: costs["command"][kind] / max(costs[part][kind] for part in PARTS) for kind in KINDS
    }


def show(report: dict) -> None:
    """The tables."""
    print(f"{report['machine']}; {report['model']}, {report['workers']} workers\n")
    print("| size | what | CPU seconds | seconds |\n|---|---|---|---|")
    for size, costs in report["sizes"].items():
        for name in (*PARTS, "command"):
            print(f"| {size} | {name} | {costs[name]['cpu_s']:.2f} | {costs[name]['wall_s']:.2f} |")
    print("\n| command / slower of the others | CPU | clock |\n|---|---|---|")
    for name, each in report["ratios"].items():
        print(f"| {name} | {each['cpu_s']:.2f} | {each['wall_s']:.2f} |")


if __name__ == "__main__":
    raise SystemExit(main())
