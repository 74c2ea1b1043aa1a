"""Memory and disk space that a run needs, computed from its settings, and workers that fit."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from uavssr.errors import OutputError, UsageError
from uavssr.io.checks import BLOCK_CACHE, size_text
from uavssr.model import PGUNetConfig
from uavssr.reconstruction.pipeline import ThreadCounts
from uavssr.tiling import TileGrid

PROGRAM_BYTES: Final = 900 * 10**6
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

    config: PGUNetConfig
    """Sizes of the network."""
    stages: int
    """Unrolled stages that run."""
    msi_bands: int
    """Bands of the camera."""
    tiles: TileGrid
    """Tiles and halos."""
    batch: int
    """Most tiles in one forward pass."""
    threads: ThreadCounts
    """Threads."""
    pixel_bytes: int
    """Bytes of one pixel while it is written."""
    network_elsewhere: bool
    """Whether the network runs on a GPU or in other processes: it takes no memory here then."""
    extra_maps: int = 0
    """float32 maps of a tile beside the network's coefficients."""

    @property
    def network(self) -> int:
        """Bytes of one batch in the network."""
        side = self.tiles.tile + 2 * self.tiles.halo
        pixel = 0 if self.network_elsewhere else network_bytes(self.config, self.stages)
        return self.batch * side**2 * pixel

    @property
    def waiting(self) -> int:
        """Bytes of one batch between two steps: image, coefficients, further maps."""
        maps = self.msi_bands + self.config.rank + self.extra_maps
        return self.batch * self.tiles.tile**2 * FLOAT * maps

    @property
    def writing(self) -> int:
        """Bytes of one tile while it is expanded and written."""
        expanded = FLOAT * (EXPANDED_BANDS + 2 * self.config.rank)
        return self.tiles.tile**2 * (self.pixel_bytes + expanded)

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
        """The same run with as many workers as `limit` bytes allow; None for no limit.

        Raises:
            OutputError: one worker needs more.
        """
        if limit is None:
            return self
        for workers in range(self.threads.workers, 0, -1):
            fewer = replace(self, threads=thread_counts(workers))
            if fewer.total <= limit:
                return fewer
        raise OutputError(
            f"one worker needs {fewer.explained()}, and --mem-limit is {size_text(limit)}",
            remedy="use a smaller --tile, or allow more",
        )

    @property
    def journal(self) -> int:
        """Bytes of the journal on disk when all tiles are finished."""
        pixels = self.tiles.height * self.tiles.width
        maps = pixels * FLOAT * (self.config.rank + self.extra_maps) + pixels // 8
        stf = 2 * FLOAT * self.msi_bands * self.config.bands  # responses and standard errors
        return maps + len(self.tiles) * (stf + TILE_FILE_BYTES)


def network_bytes(config: PGUNetConfig, stages: int) -> int:
    """Bytes of a pixel in the network: r maps per stage, and its widest intermediate result."""
    widest = max(6 * config.width, 3 * config.components)
    return FLOAT * ((stages + 8) * config.rank + widest)


def thread_counts(workers: int) -> ThreadCounts:
    """Threads to read and to write that keep `workers` batches in the network."""
    return ThreadCounts(workers=workers, readers=max(1, workers // 4), writers=max(2, workers // 2))


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
