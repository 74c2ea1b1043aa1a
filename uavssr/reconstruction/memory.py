"""What a run takes of memory and disk, from its settings alone, and how it is made to fit.

Must not measure anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from uavssr.errors import OutputError, UsageError
from uavssr.io.checks import BLOCK_CACHE, size_text
from uavssr.model import PGUNetConfig
from uavssr.reconstruction.pipeline import ThreadCounts
from uavssr.tiling import TileGrid

BASE: Final = 900 * 10**6
"""Python, torch and GDAL with the weights, and what the sample of the scene leaves behind."""
FLOAT: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Bytes of memory at the worst moment of a run, and of the disk at its end."""

    config: PGUNetConfig
    """Sizes of the network."""
    stages: int
    """Stages that run."""
    msi_bands: int
    """Bands of the camera."""
    tiles: TileGrid
    """Tiles and halos."""
    batch: int
    """Most tiles in one forward pass."""
    crew: ThreadCounts
    """Threads."""
    pixel_bytes: int
    """Bytes per pixel of what is written."""
    gpu: bool
    """Whether the network runs elsewhere."""
    extra: int = 0
    """Maps per pixel that are kept beside the coefficients."""

    @property
    def network(self) -> int:
        """One group of tiles in the network."""
        side = self.tiles.tile + 2 * self.tiles.halo
        each = 0 if self.gpu else network_bytes(self.config, self.stages)
        return self.batch * side**2 * each

    @property
    def waiting(self) -> int:
        """One group between two steps: its image and its coefficients."""
        return (
            self.batch
            * self.tiles.tile**2
            * FLOAT
            * (self.msi_bands + self.config.rank + self.extra)
        )

    @property
    def writing(self) -> int:
        """One tile while it is expanded, some wavelengths at a time in float32, and written."""
        return self.tiles.tile**2 * (self.pixel_bytes + FLOAT * (32 + 2 * self.config.rank))

    @property
    def total(self) -> int:
        """The most that the run takes."""
        crew = self.crew
        parts = crew.workers * self.network + crew.writers * self.writing
        return BASE + BLOCK_CACHE + parts + crew.in_flight * self.waiting

    def explained(self) -> str:
        """The sum with its parts."""
        crew, parts = self.crew, (self.network, self.writing, self.waiting)
        network, writing, waiting = map(size_text, parts)
        return (
            f"{size_text(self.total)} = {size_text(BASE)} program + {size_text(BLOCK_CACHE)} GDAL "
            f"+ {crew.workers} workers x {network} + {crew.writers} writers x {writing} "
            f"+ {crew.in_flight} waiting x {waiting}"
        )

    def within(self, limit: int | None) -> Budget:
        """The same run with as many workers as `limit` bytes allow.

        Raises:
            OutputError: one worker is too much.
        """
        if limit is None:
            return self
        for workers in range(self.crew.workers, 0, -1):
            fewer = replace(self, crew=thread_counts(workers))
            if fewer.total <= limit:
                return fewer
        raise OutputError(
            f"one worker needs {fewer.explained()}, and --mem-limit is {size_text(limit)}",
            remedy="use a smaller --tile, or allow more",
        )

    @property
    def journal(self) -> int:
        """Bytes of the journal on disk when all tiles are finished."""
        pixels, curves = self.tiles.height * self.tiles.width, self.msi_bands * self.config.bands
        kept = pixels * FLOAT * (self.config.rank + self.extra)
        return kept + pixels // 8 + len(self.tiles) * _per_tile(curves)


def network_bytes(config: PGUNetConfig, stages: int) -> int:
    """Bytes of a pixel in the network: r maps per stage, and what its widest moment takes."""
    widest = max(6 * config.width, 3 * config.components)
    return FLOAT * ((stages + 8) * config.rank + widest)


def _per_tile(curves: int) -> int:
    """Bytes of a tile's file besides its pixels: the STF with its errors, the head, a block."""
    return 2 * FLOAT * curves + 8192


def thread_counts(workers: int) -> ThreadCounts:
    """The threads that go with so many in the network."""
    return ThreadCounts(workers=workers, readers=max(1, workers // 4), writers=max(2, workers // 2))


def parse_size(text: str) -> int:
    """`4GB`, `900MB` or a number of bytes.

    Raises:
        UsageError: it is none of these.
    """
    form = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kMGT]?)i?B?\s*", text, re.IGNORECASE)
    size = 0.0 if form is None else float(form[1]) * 1000.0 ** " KMGT".index(form[2].upper() or " ")
    if size < 1:
        raise UsageError(f"--mem-limit must be a size such as 4GB, got {text!r}")
    return int(size)
