"""The SLURM recipe of docs/scaling.md: two jobs of one worker each, and one of them is cancelled.

What a run on the jobs writes must equal, number by number, what a run without a cluster writes. Run
it through slurm_trial.sh, or on a SLURM of yours with a folder that its nodes see.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio
import xarray as xr
from dask_jobqueue import SLURMCluster

import uavssr
from uavssr.io.writers import journal_path
from uavssr.reconstruction.cluster import connect

FIELD = Path(__file__).resolve().parents[1] / "examples" / "field.tif"


def main() -> int:
    """Print what was run, its seconds and exit codes; 0 if the outputs are equal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="seen by all nodes")
    parser.add_argument("--size", type=int, default=1024, help="side of the image in pixels")
    parser.add_argument("--queue", default="cpu", help="the partition")
    parser.add_argument("--memory", default="2GB", help="of one job")
    parser.add_argument("--lose-after", type=int, default=4, help="tiles; then a job is cancelled")
    given = parser.parse_args()
    folder = given.folder.resolve()
    image = enlarged(folder / "field.tif", given.size)
    reconstruct(folder, image, "local")
    with jobs(folder, given.queue, given.memory) as (cluster, scheduler_file):
        reconstruct(folder, image, "two jobs", "--scheduler", str(scheduler_file))
        began = time.perf_counter()
        recipe(cluster, image, folder / "recipe.tif")
        print(f"from Python: {time.perf_counter() - began:.1f} s", flush=True)
        began = time.perf_counter()
        run = start(folder, image, "lost", "--scheduler", str(scheduler_file))
        lose_a_job(cluster, folder / "lost.tif", run, given.lose_after)
        finish(run, "with a job lost", began)
    same = all(equal(folder, name) for name in ("two jobs", "recipe", "lost"))
    print("outputs equal those without a cluster" if same else "OUTPUTS DIFFER")
    return 0 if same else 1


def enlarged(path: Path, size: int) -> Path:
    """The example field, mirrored to a square of `size` pixels."""
    with rasterio.open(FIELD) as field:
        profile, image = field.profile, field.read()
        texts, tags = field.descriptions, field.tags()
        scales, offsets = field.scales, field.offsets
    repeats = [(0, 0), *((0, max(0, size - length)) for length in image.shape[1:])]
    image = np.pad(image, repeats, mode="symmetric")[:, :size, :size]
    profile.update(height=size, width=size)
    with rasterio.open(path, "w", **profile) as out:
        out.write(image)
        out.descriptions, out.scales, out.offsets = texts, scales, offsets
        out.update_tags(**tags)
    return path


@contextlib.contextmanager
def jobs(folder: Path, queue: str, memory: str) -> Iterator[tuple[SLURMCluster, Path]]:
    """A scheduler here and two jobs of one worker with one thread each; its scheduler file."""
    scheduler_file = folder / "scheduler.json"
    with SLURMCluster(
        queue=queue,
        walltime="00:30:00",
        cores=1,
        processes=1,
        memory=memory,
        worker_extra_args=["--memory-limit", "0"],
        log_directory=str(folder),
        local_directory=str(folder),
        python=sys.executable,
        job_script_prologue=[f"export PYTHONPATH={os.environ.get('PYTHONPATH', '')}"],
        scheduler_options={"dashboard": False},
    ) as cluster:
        print(cluster.job_script())
        scheduler_file.write_text(json.dumps(cluster.scheduler.identity()))
        cluster.scale(jobs=2)
        cluster.wait_for_workers(2, timeout=180)
        print(subprocess.check_output(["squeue", "-o", "%i %T %C cores %m"], text=True))
        yield cluster, scheduler_file


def start(folder: Path, image: Path, name: str, *options: str) -> subprocess.Popen[bytes]:
    """`uavssr reconstruct` in a process of its own."""
    command = [sys.executable, "-m", "uavssr", "-q", "reconstruct", str(image)]
    return subprocess.Popen([*command, "--out", str(folder / f"{name}.tif"), *options])


def finish(run: subprocess.Popen[bytes], name: str, began: float) -> None:
    """Wait for a run, and print its exit code and seconds."""
    code = run.wait()
    print(f"{name}: exit code {code}, {time.perf_counter() - began:.1f} s", flush=True)
    if code:
        raise SystemExit(code)


def reconstruct(folder: Path, image: Path, name: str, *options: str) -> None:
    """Run `uavssr reconstruct` to its end."""
    began = time.perf_counter()
    finish(start(folder, image, name, *options), name, began)


def recipe(jobs: SLURMCluster, image: Path, cube: Path) -> None:
    """The lines of docs/scaling.md."""
    with connect(jobs.scheduler_address) as cluster:
        msi = uavssr.open_msi(image)
        options = uavssr.ReconstructionOptions(cluster=cluster, workers=4)
        output = uavssr.OutputOptions(cube=cube, resume=True)
        uavssr.plan_reconstruction(msi, options).write(output)


def lose_a_job(cluster: SLURMCluster, out: Path, run: subprocess.Popen[bytes], tiles: int) -> None:
    """Cancel a job with SLURM once the run's journal holds some tiles."""
    records = journal_path(out)
    while run.poll() is None and sum(1 for _ in records.rglob("*.npz")) < tiles:
        time.sleep(0.02)
    if run.poll() is not None:
        raise SystemExit("the run ended before a job was cancelled: use a larger --size")
    job = next(iter(cluster.workers.values())).job_id
    subprocess.check_call(["scancel", str(job)])
    print(f"job {job} cancelled after {tiles} tiles", flush=True)


def equal(folder: Path, name: str) -> bool:
    """Whether a run's cube and STF file are those of the local run."""
    paths = [folder / "local", folder / name]
    one, two = (xr.load_dataset(f"{path}.stf.nc", engine="h5netcdf") for path in paths)
    if not one.equals(two):
        return False
    with rasterio.open(f"{paths[0]}.tif") as cube, rasterio.open(f"{paths[1]}.tif") as other:
        windows = [window for _, window in cube.block_windows(1)]
        return all(np.array_equal(cube.read(window=w), other.read(window=w)) for w in windows)


if __name__ == "__main__":
    raise SystemExit(main())
