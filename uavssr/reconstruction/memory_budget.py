"""Memory and disk space that a run needs, computed from its settings, and workers that fit."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import torch

from uavssr.errors import OutputError, UsageError
from uavssr.io.checks import BLOCK_CACHE, size_text
from uavssr.model import CORRECTION_DIRECTIONS, VARIANCE_MAPS, PGUNetConfig
from uavssr.reconstruction.pipeline import ThreadCounts

if TYPE_CHECKING:
    from uavssr.reconstruction.plan import Plan

CUDA_LIBRARIES: Final = 0 if torch.version.cuda is None else 550 * 10**6
"""Bytes that a CUDA build of torch takes beyond a CPU build, without a GPU too; measured, 2.13."""
PROGRAM_BYTES: Final = 900 * 10**6 + CUDA_LIBRARIES
"""Bytes of Python, torch, GDAL, the weights, and the sample of the scene; measured."""
EXPANDED_BANDS: Final = 32
"""Wavelengths of a tile that exist as float32 at a time while it is expanded."""
TILE_FILE_BYTES: Final = 8192
"""Bytes of a tile's journal file besides its maps and its STF: header and a block of the disk."""
FLOAT: Final = 4
"""Bytes of a float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBudget:
    """Most bytes of memory during a run, and of disk at its end."""

    threads: ThreadCounts
    """Threads."""
    network: int
    """Bytes of one batch in the network; 0 if that runs on a GPU or in other processes."""
    waiting: int
    """Bytes of one batch between two steps: image, coefficients, further maps."""
    writing: int
    """Bytes of one tile while it is expanded and written."""
    journal: int
    """Bytes of the journal on disk when all tiles are finished."""

    @property
    def total(self) -> int:
        """Most bytes of memory of the run."""
        threads = self.threads
        batches = threads.workers * self.network + threads.in_flight * self.waiting
        return PROGRAM_BYTES + BLOCK_CACHE + batches + threads.writers * self.writing

    def explained(self) -> str:
        """The total and its terms in one line."""
        threads, parts = self.threads, (self.network, self.writing, self.waiting)
        network, writing, waiting = map(size_text, parts)
        return (
            f"{size_text(self.total)} = {size_text(PROGRAM_BYTES)} program "
            f"+ {size_text(BLOCK_CACHE)} GDAL + {threads.workers} workers x {network} "
            f"+ {threads.writers} writers x {writing} + {threads.in_flight} waiting x {waiting}"
        )

    def within(self, limit: int | None) -> MemoryBudget:
        """The same run with as many workers as `limit` bytes allow (None: no limit).

        Raises:
            OutputError: one worker needs more.
        """
        if limit is None:
            return self
        for threads in _fewer(self.threads):
            fewer = replace(self, threads=threads)
            if fewer.total <= limit:
                return fewer
        needed, allowed = math.ceil(fewer.total / 1e6), math.floor(limit / 1e6)
        raise OutputError(
            f"one worker needs {needed} MB, and --mem-limit is {allowed} MB ({fewer.explained()})",
            remedy=f"use a smaller --tile, or --mem-limit {needed}MB",
        )


def memory_budget(plan: Plan, pixel_bytes: int, *, error_maps: bool) -> MemoryBudget:
    """Memory and disk of a run, within its limit; `pixel_bytes` are of a pixel being written."""
    tiles, config, bands = plan.tiles, plan.network.config, len(plan.source.sensor)
    maps = config.rank + (VARIANCE_MAPS + 1 if error_maps else 0)
    maps += CORRECTION_DIRECTIONS if plan.references else 0
    elsewhere = plan.device.type == "cuda" or plan.options.cluster is not None
    side = tiles.tile + 2 * tiles.halo
    network = 0 if elsewhere else plan.batch * side**2 * network_bytes(config, plan.stages)
    pixels = tiles.height * tiles.width
    # responses and standard errors
    stf_bytes = 2 * FLOAT * bands * config.bands if plan.options.tile_stf == "on" else 0
    return MemoryBudget(
        threads=plan.threads,
        network=network,
        waiting=plan.batch * tiles.tile**2 * FLOAT * (bands + maps),
        writing=tiles.tile**2 * (pixel_bytes + FLOAT * (EXPANDED_BANDS + 2 * config.rank)),
        journal=pixels * FLOAT * maps + pixels // 8 + len(tiles) * (stf_bytes + TILE_FILE_BYTES),
    ).within(plan.options.mem_limit)


def network_bytes(config: PGUNetConfig, stages: int) -> int:
    """Bytes of a pixel in the network: r maps per stage, and its widest intermediate result."""
    widest = max(6 * config.width, 3 * config.components)
    return FLOAT * ((stages + 8) * config.rank + widest)


def thread_counts(workers: int, *, host_cores: int | None = None) -> ThreadCounts:
    """Threads to read and to write that keep `workers` batches in the network.

    They share the workers' cores, or have `host_cores` if the network runs elsewhere.
    """
    if host_cores is None:
        readers, writers = workers // 4, workers * 3 // 4
    else:
        readers, writers = host_cores // 4, host_cores
    return ThreadCounts(workers=workers, readers=max(1, readers), writers=max(2, writers))


def _fewer(threads: ThreadCounts) -> Iterator[ThreadCounts]:
    """These threads, then ever fewer, down to one worker."""
    yield threads
    for count in range(max(threads.workers, threads.writers) - 1, 0, -1):
        most = thread_counts(count)
        yield replace(
            threads,
            workers=min(threads.workers, count),
            readers=min(threads.readers, most.readers),
            writers=min(threads.writers, most.writers),
        )


def parse_size(text: str) -> int:
    """Bytes that `4GB`, `900MB` or a plain number of bytes means; units are powers of 1000.

    Raises:
        UsageError: the text is none of these.
    """
    form = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kMGT]?)i?B?\s*", text, re.IGNORECASE)
    size = 0.0 if form is None else float(form[1]) * 1000.0 ** " KMGT".index(form[2].upper() or " ")
    if size < 1:
        raise UsageError(f"--mem-limit must be a size such as 4GB, got {text!r}")
    return int(size)
