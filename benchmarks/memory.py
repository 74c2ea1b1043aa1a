"""Peak memory of runs with every product, against what `--dry-run` promises.

    python benchmarks/memory.py [--size 1200] [--formats gtiff,cog,envi,zarr,coefficients]
                                [--tiles 128,256,512] [--stages 1] [--wavelengths 400-1000]
                                [--dtype uint16] [--model p4m-nano] [--folder DIR]

Each run is a process of its own with two workers, standard errors and quality flags, on a made-up
field of `size x size` pixels. The peak is that of its resident memory. The exit code is 1 if one
is above the promise.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import cast

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.scaling import field


def main() -> int:
    """Print a line per run; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1200)
    parser.add_argument("--formats", default="gtiff,cog,envi,zarr,coefficients")
    parser.add_argument("--tiles", default="128,256,512")
    parser.add_argument("--stages", type=int)
    parser.add_argument("--wavelengths")
    parser.add_argument("--dtype", default="uint16")
    parser.add_argument("--model", default="p4m-nano")
    parser.add_argument("--folder", type=Path, help="where the files go; about as large as a cube")
    options = parser.parse_args()
    worst = 0.0
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        image = field(Path(name) / "field.tif", options.size)
        for form in options.formats.split(","):
            for tile in map(int, options.tiles.split(",")):
                start = time.perf_counter()
                peak, promised = in_process(image, form, tile, options)
                seconds = time.perf_counter() - start
                worst = max(worst, peak / promised)
                print(
                    f"{form:12} tile {tile:4}  peak {peak / 1e6:7.0f} MB  "
                    f"promised {promised / 1e6:7.0f} MB  {peak / promised:.2f}  "
                    f"{seconds:.0f} s",
                    flush=True,
                )
    return int(worst > 1)


def in_process(
    image: Path, form: str, tile: int, options: argparse.Namespace
) -> tuple[float, float]:
    """Peak and promise in bytes of a run in a new process; its files are removed."""
    with (
        tempfile.TemporaryDirectory(dir=image.parent) as folder,
        multiprocessing.get_context("spawn").Pool(1) as pool,
    ):
        return pool.apply(run, (image, Path(folder), form, tile, options))


def run(
    image: Path, folder: Path, form: str, tile: int, options: argparse.Namespace
) -> tuple[float, float]:
    """Reconstruct in this process; its peak and the promise in bytes."""
    import torch

    from uavssr.io.msi import open_msi
    from uavssr.io.writers import SUFFIXES, CubeDtype, Format
    from uavssr.reconstruction import OutputOptions, ReconstructionOptions, plan_reconstruction
    from uavssr.reconstruction.memory_budget import memory_budget
    from uavssr.reconstruction.products import OutputWriters

    torch.set_num_threads(1)
    source = open_msi(image, sensor="p4m", bands=["blue", "green", "red", "rededge", "nir"],
                      scale="1/10000")  # fmt: skip
    settings = ReconstructionOptions(
        model=options.model, tile=tile, stages=options.stages, workers=2
    )
    plan = plan_reconstruction(source, settings)
    kind = cast("Format", form)
    output = OutputOptions(
        cube=folder / f"cube{SUFFIXES[kind][0]}",
        format=kind,
        dtype=cast("CubeDtype", options.dtype),
        wavelengths=options.wavelengths,
        uncertainty=folder / f"se{SUFFIXES[kind][0]}",
        quality=folder / "quality.tif",
    )
    writers = OutputWriters.of(plan.plan, output, overwrite=True)
    budget = memory_budget(plan.plan, writers.pixel_bytes, error_maps=True)
    plan.write(output)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, budget.total


if __name__ == "__main__":
    raise SystemExit(main())
