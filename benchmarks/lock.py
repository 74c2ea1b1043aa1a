"""How long the interpreter's lock is held by each part of a run's work on a tile.

    python benchmarks/lock.py [--parts read,network,...] [--seconds 3] [--json FILE]

One thread does a part on the same 16 tiles of 256 x 256 pixels and 270 wavelengths over and over:
`CPU` is its processor time per tile. The same is done on tiles of 16 x 16 pixels, where nearly all
of the time is the interpreter's own and holds the lock, as the libraries release it while they work
on large arrays: `lock`. Processor time does not depend on what else the machine does. However many
the cores, tiles cannot take less than `lock` each. The speed of n cores is predicted as the least
of 1 / lock and n / CPU.

With py-spy (`pip install py-spy`) the lock is also sampled, which finds copies that hold it:
`sampled`. Turns of pure Python, which hold it all the time, lie between and tell what a sample is
worth. That needs an idle machine: who holds the lock and waits for a core counts as well.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scaling import cpu, field

from uavssr.io.hsi import CubeBasis
from uavssr.io.msi import open_msi
from uavssr.io.writers import CubeTarget, Format, Journal, TileRecord, open_writer
from uavssr.reconstruction import ReconstructionOptions, plan_reconstruction
from uavssr.reconstruction.devices import freed_memory_reused, torch_threads
from uavssr.reconstruction.fitted_scene import FittedScene
from uavssr.reconstruction.products import CubeRender, ErrorRender
from uavssr.sensors import SENSORS

GRID, TILES = 4, 16
"""Tiles along a side, and in all."""
TILE, SMALL = 256, 16
"""Pixels along a tile, and along one without work for libraries."""
RATE = 250
"""Samples per second."""
BANDS = [band.role for band in SENSORS["p4m"].bands]
CORES = (1, 2, 4, 8, 16)
RUNS = {
    "GeoTIFF": ("read", "record", "journal", "cube", "gtiff"),
    "GeoTIFF, errors": ("read", "record", "journal", "cube", "gtiff", "errors", "gtiff"),
    "Zarr": ("read", "record", "journal", "cube", "zarr"),
    "ENVI": ("read", "record", "journal", "cube", "envi"),
    "coefficients": ("read", "record", "journal", "coefficients"),
}
"""The parts of whole runs beside the network."""
Cost = dict[str, float]
Step = Callable[[int], object]


def main() -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--tile", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        measure(options.part, options.folder, options.seconds, options.tile)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for tile in (TILE, SMALL):
            field(folder / f"{tile}.tif", GRID * tile)
        costs = {part: cost_of(part, folder, options.seconds) for part in options.parts.split(",")}
    show(costs)
    if options.json:
        options.json.write_text(json.dumps(costs, indent=1) + "\n", encoding="utf-8")
    return 0


def cost_of(part: str, folder: Path, seconds: float) -> Cost:
    """Milliseconds per tile of one part."""
    samples = folder / "samples.txt"
    spy = ["py-spy", "record", "--gil", "--nonblocking", "--rate", str(RATE), "--format", "raw"]
    spy = [*spy, "--output", str(samples), "--"] if shutil.which("py-spy") else []
    large = apart(part, folder, seconds, TILE, spy)
    small = apart(part, folder, seconds / 2, SMALL, [])
    cost = {"cpu_ms": 1000 * large["cpu_s"], "lock_ms": 1000 * small["cpu_s"]}
    if spy:
        cost["sampled_ms"] = 1000 * held_s(samples, large["spun_s"]) / large["tiles"]
    return cost


def apart(part: str, folder: Path, seconds: float, tile: int, under: list[str]) -> Cost:
    """What a process of its own measures."""
    words = [*under, sys.executable, __file__, "--part", part, "--tile", str(tile)]
    words += ["--folder", str(folder), "--seconds", str(seconds)]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    result = folder / f"{tile}.json"
    if not result.exists():
        raise SystemExit(f"{part}: {run.stderr[-2000:]}")
    told = json.loads(result.read_text(encoding="utf-8"))
    result.unlink()
    return told


def held_s(samples: Path, spun_s: float) -> float:
    """Seconds that the part held the lock."""
    spun = held = 0
    for line in samples.read_text(encoding="utf-8").splitlines():
        stack, _, count = line.rpartition(" ")
        spun += int(count) * (";spin (lock.py" in stack)
        # of pools' threads too, which have no work of their own before the measurement
        held += int(count) * (";repeat (lock.py" in stack or "_bootstrap (" in stack.split(";")[0])
    return held * spun_s / max(spun, 1)


def show(costs: dict[str, Cost]) -> None:
    """The tables."""
    cores = " | ".join(f"{count}" for count in CORES)
    print(f"{cpu()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end\n")
    print(f"| part | CPU ms | lock ms | sampled ms | tiles/s on {cores} cores |")
    print("|---" * (4 + len(CORES)) + "|")
    rows = dict(costs)
    for name, parts in RUNS.items():
        if all(part in costs for part in parts):
            rows[name] = {
                key: sum(costs[part].get(key, 0) for part in parts) for key in costs[parts[0]]
            }
    for name, cost in rows.items():
        lock, work = cost["lock_ms"], cost["cpu_ms"]
        speeds = (1000 / max(lock, work / count) for count in CORES)
        told = " | ".join(f"{speed:.0f}" for speed in speeds)
        print(f"| {name} | {work:.1f} | {lock:.2f} | {cost.get('sampled_ms', 0):.1f} | {told} |")


# --- in the process of one part ------------------------------------------------------------------


def measure(part: str, folder: Path, seconds: float, tile: int) -> None:
    """Turns of pure Python and of a part, and what they took."""
    msi = open_msi(folder / f"{tile}.tif", sensor="p4m", bands=BANDS, scale="1/10000")
    options = ReconstructionOptions(device="cpu", workers=1, tile=tile)
    scene = plan_reconstruction(msi, options).scene
    spun = cpu_s = 0.0
    tiles = 0
    with torch_threads(1), freed_memory_reused(), PARTS[part](scene, folder) as step:
        for index in range(TILES):  # memory, handles and tables that later tiles find
            step(index)
        end = time.perf_counter() + 2 * seconds
        while time.perf_counter() < end:
            spun += spin(seconds / 8)
            before = time.process_time()
            tiles += repeat(step, seconds / 8)
            cpu_s += time.process_time() - before
    told = {"spun_s": spun, "cpu_s": cpu_s / tiles, "tiles": tiles}
    (folder / f"{tile}.json").write_text(json.dumps(told), encoding="utf-8")


def spin(seconds: float) -> float:
    """Hold the lock; the processor seconds."""
    start, end = time.thread_time(), time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
    return time.thread_time() - start


def repeat(step: Step, seconds: float) -> int:
    """A step on one tile after the other; the number of tiles."""
    end, count = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        step(count % TILES)
        count += 1
    return count


@contextmanager
def reading(scene: FittedScene, _: Path) -> Iterator[Step]:
    """A tile with its halo, filled."""
    engine = scene.engine(quality=True)
    yield lambda index: engine.read([index])


@contextmanager
def network(scene: FittedScene, _: Path) -> Iterator[Step]:
    """The network on a tile."""
    engine = scene.engine(quality=True)
    inputs = [engine.read([index]) for index in range(TILES)]
    yield lambda index: engine.begin(inputs[index])


@contextmanager
def recording(scene: FittedScene, _: Path) -> Iterator[Step]:
    """A tile's own STF, and its marks."""
    engine = scene.engine(quality=True)
    pending = [engine.begin(engine.read([index]))[0] for index in range(TILES)]
    yield lambda index: pending[index]()


@contextmanager
def journal(scene: FittedScene, folder: Path) -> Iterator[Step]:
    """A record into the journal."""
    records = made(scene)
    with Journal(folder / "cube.tif", overwrite=True) as store:
        store.begin({}, scene.stf.numbers())
        yield lambda index: store.store("tile", records[index])
        store.clear()


@contextmanager
def rendering(scene: FittedScene, _: Path) -> Iterator[Step]:
    """The counts of a cube from coefficients."""
    records, render = made(scene), CubeRender(basis=scene.plan.basis, dtype="uint16")
    yield lambda index: render(records[index].maps["coefficients"], records[index].valid)


@contextmanager
def errors(scene: FittedScene, _: Path) -> Iterator[Step]:
    """The counts of standard errors from their maps."""
    records = made(scene, error_maps=True)
    render = ErrorRender(uncertainty=scene.quality().uncertainty, dtype="uint16")
    yield lambda index: render(records[index].maps["error_maps"], records[index].valid)


def made(scene: FittedScene, *, error_maps: bool = False) -> list[TileRecord]:
    """The records of all tiles."""
    engine = scene.engine(quality=True, error_maps=error_maps)
    return [engine.record(index) for index in range(TILES)]


def writing(form: Format) -> Callable[[FittedScene, Path], contextmanager]:
    """What writes rendered tiles in a format."""

    @contextmanager
    def opened(scene: FittedScene, folder: Path) -> Iterator[Step]:
        plan, basis = scene.plan, scene.plan.basis
        target = CubeTarget(
            path=folder / f"cube-{form}{'.zarr' if form == 'zarr' else '.tif'}",
            format=form,
            height=plan.tiles.height,
            width=plan.tiles.width,
            block=plan.tiles.tile,
            grid=plan.model.grid,
            crs_wkt=plan.source.crs_wkt,
            # as in a run whose writers are as many as its cores
            creation_options={} if form in ("zarr", "envi") else {"NUM_THREADS": "1"},
            transform=plan.source.transform,
            basis=CubeBasis(
                grid=basis.grid, mean=basis.mean.numpy(), components=basis.components.numpy()
            ),
        )
        records, render = made(scene), CubeRender(basis=basis, dtype="uint16")
        numbers = [record.maps["coefficients"] for record in records]
        if form != "coefficients":
            numbers = [render(r.maps["coefficients"], r.valid) for r in records]
        with open_writer(target) as writer:
            yield lambda i: writer.write_quantised(plan.tiles[i].core, numbers[i])

    return opened


PARTS = {
    "read": reading,
    "network": network,
    "record": recording,
    "journal": journal,
    "cube": rendering,
    "errors": errors,
    **{form: writing(form) for form in ("gtiff", "coefficients", "zarr", "envi")},
}


if __name__ == "__main__":
    raise SystemExit(main())
