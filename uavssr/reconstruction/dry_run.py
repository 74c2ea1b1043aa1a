"""Estimate of a run beforehand: memory and disk by formula, time by a trial on some tiles."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from uavssr.io.checks import size_text
from uavssr.reconstruction.devices import CPU_COUNT, torch_threads
from uavssr.reconstruction.fitted_scene import FittedScene
from uavssr.reconstruction.memory_budget import memory_budget
from uavssr.reconstruction.options import OutputOptions
from uavssr.reconstruction.plan import Plan
from uavssr.reconstruction.products import OutputWriters
from uavssr.reconstruction.trial_run import tile_cost


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEstimate:
    """Size, memory, disk space and time of a run."""

    tiles: int
    """Tiles of the scene."""
    tile: int
    """Side of a tile in pixels."""
    halo: int
    """Pixels that are read around each tile."""
    batch: int
    """Tiles in one forward pass."""
    workers: int
    """Groups of tiles in the network at a time."""
    device: str
    """Where the network runs."""
    precision: str
    """Number type of the proximal networks."""
    tile_stf: str
    """Whether the tiles' own STFs are estimated, `on` or `off`."""
    memory_bytes: int
    """Most bytes of memory of the run."""
    memory: str
    """The terms of that sum, as text."""
    output_bytes: int
    """Bytes of cube, standard errors and flags without compression."""
    journal_bytes: int
    """Bytes of the finished tiles until the cube is complete."""
    free_bytes: int
    """Free bytes on the disk of the output."""
    sample_seconds: float
    """Seconds to fit the scene's STF."""
    compute_seconds: float
    """Processor seconds of one tile in the network; on a GPU, seconds."""
    write_seconds: float
    """Processor seconds of one tile for all else: read, expand, compress, write, read back."""
    seconds: float
    """Seconds of the whole run."""

    @property
    def fits(self) -> bool:
        """Whether the disk has enough free space in the worst case."""
        return self.output_bytes + self.journal_bytes <= self.free_bytes

    def to_dict(self) -> dict[str, str | int | float | bool]:
        """The fields and `fits`, for JSON."""
        return asdict(self) | {"fits": self.fits}

    def lines(self) -> dict[str, str]:
        """The fields as text, by topic."""
        need, free = size_text(self.output_bytes), size_text(self.free_bytes)
        disk = f"at most {need} and {size_text(self.journal_bytes)} of journal, {free} are free"
        return {
            "tiles": f"{self.tiles} of {self.tile} x {self.tile} pixels, halo {self.halo}, "
            f"own STFs {self.tile_stf}",
            "network": f"{self.device}, {self.precision}, {self.workers} workers x {self.batch}",
            "memory": self.memory,
            "disk": disk if self.fits else f"{disk}: TOO LITTLE",
            "time": f"{duration_text(self.seconds)}: "
            f"{self.sample_seconds:.1f} s for the scene's STF, "
            f"then {self.compute_seconds:.2f} s of computing and {self.write_seconds:.2f} s of "
            "writing a tile, shared by all cores if nothing else runs",
        }


def estimate_run(
    plan: Plan, output: OutputOptions, *, fit: Callable[[], FittedScene]
) -> RunEstimate:
    """Fit the scene's STF, run some tiles into files elsewhere, and extrapolate.

    Raises:
        OutputError: one worker needs more than the plan's memory limit, or an output exists.
        InputRefused: the scene has no valid pixel.
    """
    writers = OutputWriters.of(plan, output, overwrite=True)
    error_maps = bool(output.extra_files)
    budget = memory_budget(plan, writers.pixel_bytes, error_maps=error_maps)
    start = time.perf_counter()
    scene = fit()
    engine = scene.engine(quality=True, error_maps=error_maps)
    sample_seconds = time.perf_counter() - start
    with torch_threads():
        cost = tile_cost(scene, engine, output, budget.threads)
    on_gpu = plan.device.type == "cuda"
    count, workers = len(plan.tiles), budget.threads.workers
    # the cores share all work; no faster than the workers' network, or the one on a GPU
    shared = cost.other_seconds + (0.0 if on_gpu else cost.network_seconds)
    tile_seconds = max(cost.network_wall / (1 if on_gpu else workers), shared / CPU_COUNT)
    return RunEstimate(
        tiles=count,
        tile=plan.tiles.tile,
        halo=plan.tiles.halo,
        batch=plan.batch,
        workers=workers,
        device=plan.device_kind,
        precision=plan.precision,
        tile_stf=plan.options.tile_stf,
        memory_bytes=budget.total,
        memory=budget.explained(),
        output_bytes=writers.output_bytes,
        journal_bytes=budget.journal,
        free_bytes=shutil.disk_usage(Path(output.cube).absolute().parent).free,
        sample_seconds=sample_seconds,
        compute_seconds=cost.network_wall if on_gpu else cost.network_seconds,
        write_seconds=cost.other_seconds,
        seconds=sample_seconds + count * tile_seconds,
    )


def duration_text(seconds: float) -> str:
    """A duration in seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
