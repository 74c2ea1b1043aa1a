"""What a reconstruction would take, told beforehand: tiles, memory, disk, and time by trial.

Must not write anything but one tile in the system's temporary folder.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from uavssr.errors import InputRefused
from uavssr.io.checks import size_text
from uavssr.io.writers import SUFFIXES, TileRecord
from uavssr.reconstruction.options import OutputOptions
from uavssr.reconstruction.output_files import (
    cube_product,
    output_bytes,
    pixel_bytes,
    with_doubts,
)
from uavssr.reconstruction.plan import THREADS, Preparation
from uavssr.reconstruction.tile_engine import torch_threads
from uavssr.tiling import Window

if TYPE_CHECKING:
    from uavssr.reconstruction.tile_engine import TileEngine


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEstimate:
    """The plan of a run in numbers."""

    tiles: int
    """Tiles of the scene."""
    tile: int
    """Side of a tile in pixels."""
    halo: int
    """Context read around each, in pixels."""
    batch: int
    """Tiles in one forward pass."""
    workers: int
    """Groups of tiles in the network at a time."""
    device: str
    """Where the network runs."""
    precision: str
    """Of the proximal networks."""
    memory_bytes: int
    """The most that the run takes."""
    memory: str
    """How that number comes about."""
    output_bytes: int
    """The most that cube, standard errors and flags take: what they take uncompressed."""
    journal_bytes: int
    """What the finished tiles take until the cube is complete."""
    free_bytes: int
    """Room on the disk of the output."""
    sample_seconds: float
    """What it took to find the scene's STF."""
    compute_seconds: float
    """What one tile took in the network, on one thread."""
    write_seconds: float
    """What one tile took to be expanded, packed and written, on all threads together."""
    seconds: float
    """What the run is expected to take."""

    @property
    def fits(self) -> bool:
        """Whether the disk has room for the worst case."""
        return self.output_bytes + self.journal_bytes <= self.free_bytes

    def to_dict(self) -> dict[str, str | int | float | bool]:
        """All of it for JSON."""
        return asdict(self) | {"fits": self.fits}

    def lines(self) -> dict[str, str]:
        """All of it for people."""
        need, free = size_text(self.output_bytes), size_text(self.free_bytes)
        room = f"at most {need} and {size_text(self.journal_bytes)} of journal, {free} are free"
        return {
            "tiles": f"{self.tiles} of {self.tile} x {self.tile} pixels, halo {self.halo}",
            "network": f"{self.device}, {self.precision}, {self.workers} workers x {self.batch}",
            "memory": self.memory,
            "disk": room if self.fits else f"{room}: TOO LITTLE",
            "time": f"{_duration(self.seconds)}: {self.sample_seconds:.1f} s for the scene's STF, "
            f"then {self.compute_seconds:.2f} s of computing and {self.write_seconds:.2f} s of "
            "writing a tile, shared by all cores",
        }


def forecast(plan: Preparation, options: OutputOptions, *, cores: int) -> RunEstimate:
    """Find the scene's STF, run one tile and write it elsewhere, and reckon from that.

    Raises:
        OutputError: not even one worker fits into the plan's memory limit.
    """
    plan = with_doubts(plan, options)
    budget = plan.budget(pixel_bytes(plan, options))
    start = time.perf_counter()
    engine = plan.engine
    sample = time.perf_counter() - start
    with torch_threads(THREADS):
        start = time.perf_counter()
        record = _some_tile(engine)
        compute = time.perf_counter() - start
        write = _time_to_write(plan, record, options)
    gpu = plan.device.type == "cuda"
    count, workers = len(plan.tiles), budget.crew.workers
    shared = (write if gpu else compute + write) / cores
    return RunEstimate(
        tiles=count,
        tile=plan.settings.tile,
        halo=plan.settings.halo,
        batch=plan.settings.batch,
        workers=workers,
        device=plan.settings.device,
        precision=plan.settings.precision,
        memory_bytes=budget.total,
        memory=budget.explained(),
        output_bytes=output_bytes(plan, options),
        journal_bytes=budget.journal,
        free_bytes=shutil.disk_usage(Path(options.cube).absolute().parent).free,
        sample_seconds=sample,
        compute_seconds=compute,
        write_seconds=write,
        seconds=sample + count * max(compute / (1 if gpu else workers), shared),
    )


def _some_tile(engine: TileEngine) -> TileRecord:
    """The first record with pixels, from the middle of the scene on."""
    count = len(engine.tiles)
    for index in sorted(range(count), key=lambda index: abs(index - count // 2)):
        record = engine.record(index)
        if record.maps:
            return record
    raise InputRefused("no tile has a valid pixel")


def _time_to_write(plan: Preparation, record: TileRecord, options: OutputOptions) -> float:
    """Processor seconds to make a file of one tile, in a folder that is removed."""
    height, width = record.valid.shape
    with tempfile.TemporaryDirectory(prefix="uavssr-") as folder:
        form = options.cube_format
        trial = replace(options, cube=Path(folder) / f"tile{SUFFIXES[form][0]}", format=form)
        product = cube_product(plan, trial, size=(height, width))
        start = time.process_time()
        with product.sink:
            product.add(Window(0, 0, height, width), record)
            product.sink.finish()
        return time.process_time() - start


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
