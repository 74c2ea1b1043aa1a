"""Measured spectra, from a table or a cube of any place, at their own wavelengths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from uavssr.errors import InputRefused
from uavssr.io.hsi import READ_TILE, CubeSource, open_cube_source
from uavssr.io.raster import parse_scale
from uavssr.sensors import FloatArray
from uavssr.spectra.field_table import read_spectra_table
from uavssr.tiling import TileGrid

MAX_SPECTRA: Final = 4000
"""Spectra that are taken from a cube at most; more of one scene hardly differ."""
_WINDOWS: Final = 64
"""Random windows of a cube that spectra are taken from; more if they hold too few."""
_ENOUGH: Final = 100
"""Spectra after which no further windows are read."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredSpectra:
    """Spectra as a file holds them."""

    path: Path
    """The table, or the cube's data."""
    nm: FloatArray
    """(W,) wavelengths, increasing."""
    reflectance: FloatArray
    """(n, W) unchecked; NaN where a table has a gap."""
    warnings: tuple[str, ...] = ()
    """Doubtful facts, such as a cube that uavssr made."""


def open_spectra(path: Path, *, scale: str | None = None) -> MeasuredSpectra:
    """The rows of a table, or up to 4000 pixels of a cube.

    Args:
        path: a table (.csv), else anything that `open_cube_source` reads, also an ENVI header.
        scale: reflectance = stored number x scale; a table's numbers are reflectance without it.

    Raises:
        UsageError: the scale makes no sense.
        InputRefused: there is no such file, or it cannot be read.
    """
    if path.suffix.lower() == ".csv":
        factor = 1.0 if scale is None else parse_scale(scale)
        nm, reflectance = read_spectra_table(path, scale=factor)
        return MeasuredSpectra(path=path, nm=nm, reflectance=reflectance)
    cube = open_cube_source(path, scale=scale)
    made = f"{path.name} was made by uavssr ({cube.model}): its spectra are not measured"
    return MeasuredSpectra(
        path=cube.path,
        nm=cube.grid.centres,
        reflectance=sample_pixels(cube),
        warnings=(*cube.warnings, made) if cube.model else cube.warnings,
    )


def sample_pixels(cube: CubeSource, *, most: int = MAX_SPECTRA, seed: int = 0) -> FloatArray:
    """Reflectance (n, C) of up to `most` random valid pixels, from windows all over a cube."""
    rng = np.random.default_rng(seed)
    tiles = TileGrid(height=cube.height, width=cube.width, tile=READ_TILE)
    cores = [tiles[index].core for index in rng.permutation(len(tiles)).tolist()]
    area = sum(core.height * core.width for core in cores[:_WINDOWS])
    samples: list[FloatArray] = []
    for number, core in enumerate(cores):
        if number >= _WINDOWS and sum(map(len, samples)) >= _ENOUGH:
            break
        part, valid = cube.read(core)
        pixels = part[:, valid].T
        share = -(-most * core.height * core.width // area)
        samples.append(np.asarray(pixels[rng.permutation(len(pixels))[:share]], float))
    spectra = np.concatenate(samples)
    if not len(spectra):
        raise InputRefused("no valid pixel", path=cube.path)
    return spectra[rng.permutation(len(spectra))[:most]]
