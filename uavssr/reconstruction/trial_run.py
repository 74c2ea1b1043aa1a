"""A trial of a run: some tiles go the way of all, together, into files that are removed."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple

from uavssr.errors import InputRefused
from uavssr.io.writers import SUFFIXES, Journal, TileRecord
from uavssr.reconstruction.fitted_scene import FittedScene
from uavssr.reconstruction.fitted_stf import PendingRecord
from uavssr.reconstruction.options import OutputOptions
from uavssr.reconstruction.pipeline import ThreadCounts, TilePass
from uavssr.reconstruction.pixels import TileInput
from uavssr.reconstruction.products import OutputWriters
from uavssr.reconstruction.provenance import identity
from uavssr.reconstruction.tile_engine import TileEngine
from uavssr.tiling import Window

TRIAL_TILES: Final = 4
"""Least number of tiles of a trial; more with more workers."""


class TileCost(NamedTuple):
    """What a tile costs."""

    network_seconds: float
    """Processor seconds in the network."""
    network_wall: float
    """Seconds in the network, beside the other threads of the run."""
    other_seconds: float
    """Processor seconds of all else: reading, expanding, compressing, journal, reading back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _TrialComputer:
    """The engine on some tiles, with a clock on the network."""

    engine: TileEngine
    tiles: Sequence[int]
    spent: list[tuple[float, float]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def groups(self) -> Iterator[Sequence[int]]:
        for start in range(0, len(self.tiles), self.engine.batch):
            yield self.tiles[start : start + self.engine.batch]

    def read(self, indices: Sequence[int]) -> list[TileInput]:
        return self.engine.read(indices)

    def begin(self, inputs: Sequence[TileInput]) -> list[PendingRecord]:
        processor, wall = time.thread_time(), time.perf_counter()
        pending = self.engine.begin(inputs)
        with self.lock:
            self.spent.append((time.thread_time() - processor, time.perf_counter() - wall))
        return pending


def tile_cost(
    scene: FittedScene, engine: TileEngine, output: OutputOptions, threads: ThreadCounts
) -> TileCost:
    """The cost of a tile, by a pass over some tiles with the threads and files of the run.

    Raises:
        InputRefused: no tile has a valid pixel.
    """
    count = max(TRIAL_TILES, 2 * threads.workers * engine.batch)
    tiles, height, width = _tiles(engine, count)
    engine.record(tiles[0])  # the first tile costs more: memory is got from the system
    computer = _TrialComputer(engine=engine, tiles=tiles)
    start = time.process_time()
    with tempfile.TemporaryDirectory(prefix="uavssr-") as folder:
        trial = _into(Path(folder), output)
        size = height, width * len(tiles)
        writers = OutputWriters.of(scene.plan, trial, overwrite=False, size=size)
        products = writers.products(scene)

        def deliver(record: TileRecord) -> None:
            window = Window(0, width * tiles.index(record.index), height, width)
            for product in products:
                product.add(window, record)

        with ExitStack() as stack, Journal(trial.cube, resume=False, overwrite=False) as journal:
            journal.begin(identity(scene.plan, error_maps=engine.error_maps), scene.numbers())
            for product in products:
                stack.enter_context(product.sink)
            TilePass(
                computer=computer, store=journal, kind="tile", deliver=deliver, threads=threads
            ).run()
            for product in products:
                product.sink.finish()
    total = (time.process_time() - start) / len(tiles)
    network, wall = (sum(times) / len(tiles) for times in zip(*computer.spent, strict=True))
    return TileCost(network, wall, max(total - network, 0.0))


def _tiles(engine: TileEngine, count: int) -> tuple[list[int], int, int]:
    """Up to `count` tiles of one size with valid pixels, near the middle; rows and columns."""
    grid, chosen = engine.tiles, list[int]()
    middle = len(grid) // 2
    size = min(grid.tile, grid.height), min(grid.tile, grid.width)
    for index in sorted(range(len(grid)), key=lambda index: abs(index - middle)):
        core = grid[index].core
        if (core.height, core.width) == size and engine.read([index])[0].own is not None:
            chosen.append(index)
            if len(chosen) == count:
                break
    if chosen:
        return chosen, *size
    for index in range(len(grid)):  # a scene whose only pixels lie in tiles at its border
        if engine.read([index])[0].own is not None:
            core = grid[index].core
            return [index], core.height, core.width
    raise InputRefused("no tile has a valid pixel")


def _into(folder: Path, output: OutputOptions) -> OutputOptions:
    """The same outputs in a folder."""
    suffix = SUFFIXES[output.cube_format][0]
    errors = None if output.uncertainty is None else folder / f"se{Path(output.uncertainty).suffix}"
    quality = None if output.quality is None else folder / "quality.tif"
    cube, chosen = folder / f"cube{suffix}", output.cube_format
    return replace(output, cube=cube, format=chosen, uncertainty=errors, quality=quality)
