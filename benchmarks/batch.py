"""Many small fields: `uavssr batch`, a loop in Python, and the command line field by field.

    python benchmarks/batch.py [--fields 40] [--size 200] [--commands 5] [--json FILE]

The fields are crops of examples/field.tif at random places (seed 0). The loop is what a user of
Python would write: one process, the model loaded once, one field after the other. The command line
is measured on the first `--commands` fields, since all of them cost the same. Each of the three is
a process of its own; seconds by the clock and CPU seconds of a field include its share of the
start. The cubes of all three are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np
import rasterio
from rasterio.windows import Window

ROOT: Final = Path(__file__).resolve().parents[1]
LOOP: Final = """
import sys
from pathlib import Path
import uavssr
model = uavssr.load_model()
options = uavssr.ReconstructionOptions(model=model)
for name in sys.argv[2:]:
    msi = uavssr.open_msi(name)
    out = Path(sys.argv[1]) / f"{Path(name).stem}_cube.tif"
    uavssr.plan_reconstruction(msi, options).write(out)
"""


def main() -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fields", type=int, default=40)
    parser.add_argument("--size", type=int, default=200)
    parser.add_argument("--commands", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = crops(folder / "in", options.fields, options.size)
        costs = {
            "batch": batch(files, folder / "batch"),
            "loop": loop(files, folder / "loop"),
            "commands": commands(files[: options.commands], folder / "commands"),
        }
        same = compare(folder)
    report = {"cores": os.cpu_count(), "load": os.getloadavg()[0], "costs": costs, "same": same}
    print(f"{options.fields} fields of {options.size} x {options.size} pixels, {report['cores']} ")
    print("cores\n\n| | s a field | CPU s a field |\n|---|---|---|")
    for kind, (wall, cpu) in costs.items():
        print(f"| {kind} | {wall:.2f} | {cpu:.2f} |")
    print(f"\n{same} cubes are the same in all that wrote them; load {report['load']:.1f}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    return 0


def crops(folder: Path, count: int, size: int) -> list[Path]:
    """Crops of the example at random places."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    paths = [folder / f"field{number:03}.tif" for number in range(count)]
    with rasterio.open(ROOT / "examples" / "field.tif") as source:
        for path in paths:
            row, column = rng.integers(0, [source.height - size, source.width - size])
            window = Window(column, row, size, size)
            profile = source.profile | {"height": size, "width": size}
            profile |= {"transform": source.window_transform(window), "tiled": False}
            for name in ("blockxsize", "blockysize"):
                profile.pop(name, None)
            with rasterio.open(path, "w", **profile) as crop:
                crop.write(source.read(window=window))
                crop.descriptions, crop.scales = source.descriptions, source.scales
                crop.update_tags(**source.tags())
    return paths


def batch(files: list[Path], out: Path) -> tuple[float, float]:
    """Cost of a field in `uavssr batch`."""
    words = ["-m", "uavssr", "-q", "batch", *map(str, files), "--out-dir", str(out)]
    return cost([words], len(files))


def loop(files: list[Path], out: Path) -> tuple[float, float]:
    """Cost of a field in a loop in Python."""
    out.mkdir()
    return cost([["-c", LOOP, str(out), *map(str, files)]], len(files))


def commands(files: list[Path], out: Path) -> tuple[float, float]:
    """Cost of a field by the command line."""
    out.mkdir()
    run = ["-m", "uavssr", "-q", "reconstruct"]
    words = [[*run, str(file), "--out", str(out / f"{file.stem}_cube.tif")] for file in files]
    return cost(words, len(files))


def cost(processes: list[list[str]], fields: int) -> tuple[float, float]:
    """Seconds and CPU seconds of a field in processes of Python, one after the other."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    for words in processes:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run(
            [sys.executable, *words], check=True, env=environment, stdout=subprocess.DEVNULL
        )
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return round(seconds / fields, 3), round(cpu / fields, 3)


def compare(folder: Path) -> int:
    """The number of cubes whose pixels are the same in all folders; differences end the run."""
    cubes = sorted((folder / "batch").glob("*.tif"))
    for cube in cubes:
        for kind in ("loop", "commands"):
            other = folder / kind / cube.name
            if other.exists() and not (pixels(cube) == pixels(other)).all():
                raise SystemExit(f"{cube.name} differs between batch and {kind}")
    return len(cubes)


def pixels(path: Path) -> np.ndarray:
    """The stored numbers (C, y, x)."""
    with rasterio.open(path) as file:
        return file.read()


if __name__ == "__main__":
    raise SystemExit(main())
