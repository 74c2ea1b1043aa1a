"""Estimate of a pass over spectra beforehand: memory and disk by formula, time by a trial."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from uavssr.analysis.spectral_source import SpectralSource, SpectralTile
from uavssr.errors import InputRefused
from uavssr.io.checks import BLOCK_CACHE, size_text
from uavssr.reconstruction import CPU_COUNT, PROGRAM_BYTES, duration_text
from uavssr.tiling import TileGrid, Window

TRIED_TILES: Final = 4
"""Tiles of the trial."""

TrialPass = Callable[[SpectralSource, Path], object]
"""Does the work of a command on a source, with its outputs in a folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PassEstimate:
    """Memory, disk space and time of a pass over the tiles of an image or a cube."""

    tiles: int
    """Tiles that are read."""
    workers: int
    """Tiles at a time."""
    memory_bytes: int
    """Most bytes of memory."""
    output_bytes: int
    """Bytes of the outputs without compression."""
    free_bytes: int
    """Free bytes on their disk."""
    tile_seconds: float
    """Processor seconds of a tile."""
    seconds: float
    """Seconds of the whole pass, without the estimate of the STF."""

    @property
    def fits(self) -> bool:
        """Whether the disk has enough free space in the worst case."""
        return self.output_bytes <= self.free_bytes

    def __add__(self, other: PassEstimate) -> PassEstimate:
        """Two passes, one after the other."""
        return replace(
            self,
            tiles=self.tiles + other.tiles,
            memory_bytes=max(self.memory_bytes, other.memory_bytes),
            output_bytes=self.output_bytes + other.output_bytes,
            tile_seconds=max(self.tile_seconds, other.tile_seconds),
            seconds=self.seconds + other.seconds,
        )

    def to_dict(self) -> dict[str, int | float | bool]:
        """The fields and `fits`, for JSON."""
        return asdict(self) | {"fits": self.fits}

    def lines(self) -> dict[str, str]:
        """The fields as text, by topic."""
        need, free = size_text(self.output_bytes), size_text(self.free_bytes)
        disk = f"at most {need}, {free} are free"
        return {
            "tiles": f"{self.tiles}, {self.workers} at a time",
            "memory": size_text(self.memory_bytes),
            "disk": disk if self.fits else f"{disk}: TOO LITTLE",
            "time": f"{duration_text(self.seconds)}: {self.tile_seconds:.2f} s of computing and "
            "writing a tile, shared by all cores",
        }


def estimate_pass(
    source: SpectralSource,
    run: TrialPass,
    *,
    tiles: int | None = None,
    pixel_bytes: int,
    output_bytes: int,
    folder: Path,
) -> PassEstimate:
    """Do the work on one tile, then on some more, and extrapolate from these.

    What the first tile costs more than others comes once.

    Args:
        source: the spectra.
        run: the work.
        tiles: number of tiles that are read; by default all.
        pixel_bytes: bytes of a pixel's results while they are computed and wait.
        output_bytes: bytes of the outputs without compression.
        folder: their folder.

    Raises:
        InputRefused: no tile has a valid pixel.
    """
    chosen = _tiles_with_pixels(source)
    tile_seconds = first = _processor_seconds(_strip(source, chosen[:1]), run)
    if len(chosen) > 1:
        further = _processor_seconds(_strip(source, chosen[1:]), run)
        tile_seconds = further / (len(chosen) - 1)
    count, workers = len(source.tiles) if tiles is None else tiles, source.workers
    side = min(source.tiles.tile, max(source.height, source.width))
    tile_bytes = source.tile_bytes + 2 * side**2 * pixel_bytes  # one computed, one waiting
    once = max(first - tile_seconds, 0.0)
    return PassEstimate(
        tiles=count,
        workers=workers,
        memory_bytes=PROGRAM_BYTES + BLOCK_CACHE + workers * tile_bytes,
        output_bytes=output_bytes,
        free_bytes=shutil.disk_usage(folder.absolute()).free,
        tile_seconds=tile_seconds,
        seconds=once + math.ceil(count / min(workers, CPU_COUNT)) * tile_seconds,
    )


def _tiles_with_pixels(source: SpectralSource) -> list[int]:
    """Up to `TRIED_TILES` numbers of tiles of one size with valid pixels, near the middle."""
    grid, chosen = source.tiles, list[int]()
    size = min(grid.tile, grid.height), min(grid.tile, grid.width)
    middle = len(grid) // 2
    for index in sorted(range(len(grid)), key=lambda index: abs(index - middle)):
        core = grid[index].core
        if (core.height, core.width) == size and source.read(core, index) is not None:
            chosen.append(index)
            if len(chosen) == TRIED_TILES:
                break
    if not chosen:
        raise InputRefused(
            "no whole tile has a valid pixel, so that there is no time to try",
            path=source.path,
            remedy="leave out --dry-run: so small an image takes little time",
        )
    return chosen


def _strip(source: SpectralSource, chosen: Sequence[int]) -> SpectralSource:
    """Some tiles beside each other, as an image of their own."""
    side, core = source.tiles.tile, source.tiles[chosen[0]].core

    def read(window: Window, index: int) -> SpectralTile | None:
        number = chosen[index]
        tile = source.read(source.tiles[number].core, number)
        return None if tile is None else replace(tile, window=window, index=index)

    width = core.width * len(chosen)
    tiles = TileGrid(height=core.height, width=width, tile=side)
    return replace(source, height=core.height, width=width, tiles=tiles, read=read)


def _processor_seconds(source: SpectralSource, run: TrialPass) -> float:
    with tempfile.TemporaryDirectory(prefix="uavssr-") as name:
        start = time.process_time()
        run(source, Path(name))
        return time.process_time() - start
