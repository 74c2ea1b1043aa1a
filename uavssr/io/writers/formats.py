"""The output formats: their names, their suffixes, and the writer of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from uavssr.errors import UsageError
from uavssr.io.checks import PathLike
from uavssr.io.writers.cog import CogWriter
from uavssr.io.writers.envi import EnviWriter
from uavssr.io.writers.geotiff import GeoTiffWriter
from uavssr.io.writers.target import FORMATS, CubeTarget, Format, Target
from uavssr.io.writers.tile_writer import TileWriter

SUFFIXES: Final[Mapping[Format, tuple[str, ...]]] = {
    "gtiff": (".tif", ".tiff"),
    "cog": (".tif", ".tiff"),
    "envi": (".dat", ".img"),
    "zarr": (".zarr",),
    "coefficients": (".tif", ".tiff"),
}
"""Suffixes that an output of each format may have."""
COEFFICIENT_BLOCK: Final = 128
"""Side of a block of coefficients, in pixels, where a cube's is 256.

A window anywhere is then read in two thirds of the time, and the file is a twelfth larger.
"""


def check_format(path: PathLike, name: str | None = None) -> Format:
    """The format named by `--format`, or by the output's suffix where none is given.

    Raises:
        UsageError: no such format, or a suffix that belongs to another one.
    """
    suffix = Path(path).suffix.lower()
    if name is None:
        for chosen, suffixes in SUFFIXES.items():
            if suffix in suffixes:
                return chosen
        known = sorted({suffix for suffixes in SUFFIXES.values() for suffix in suffixes})
        raise UsageError(
            f"no format is written under the suffix {suffix!r}",
            path=Path(path),
            remedy=f"use one of {' '.join(known)}",
        )
    if name not in FORMATS:
        raise UsageError(f"--format must be one of {', '.join(FORMATS)}, got {name!r}")
    chosen = FORMATS[FORMATS.index(name)]
    if suffix not in SUFFIXES[chosen]:
        raise UsageError(
            f"--format {name} does not go with the suffix {suffix!r}",
            path=Path(path),
            remedy=f"name it {' or '.join(SUFFIXES[chosen])}",
        )
    return chosen


def open_writer(target: Target) -> TileWriter:
    """The writer of the target's format, not yet entered; a GeoTIFF unless it is a cube.

    Raises:
        OutputError: the output would destroy something, or there is not enough free space.
        UsageError: options that do not fit the format.
    """
    if not isinstance(target, CubeTarget):
        return GeoTiffWriter(target)
    if target.creation_options and target.format in ("envi", "zarr"):
        fact = f"--co sets options of GeoTIFF files, and {target.format} is none of them"
        raise UsageError(fact, remedy="leave out --co")
    if target.format == "zarr":
        from uavssr.io.writers.zarr import ZarrWriter

        return ZarrWriter(target)
    if target.format == "envi":
        return EnviWriter(target)
    if target.format == "coefficients":
        block = COEFFICIENT_BLOCK if target.block == 2 * COEFFICIENT_BLOCK else target.block
        return GeoTiffWriter(replace(target, dtype="float32", block=block))
    return CogWriter(target) if target.format == "cog" else GeoTiffWriter(target)
