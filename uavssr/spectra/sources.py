"""Spectra to learn from, out of a table or a cube, wherever they were measured.

Must not know what is learned of them, or resample.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from uavssr.errors import InputRefused
from uavssr.io.checks import data_file
from uavssr.io.hsi import READ_TILE, CubeSource, open_cube
from uavssr.io.raster import parse_scale
from uavssr.sensors import FloatArray
from uavssr.spectra.field_table import read_spectra
from uavssr.tiling import TileGrid

MOST_SPECTRA: Final = 4000
"""Of one cube: more say nothing new."""
_PLACES: Final = 64
"""Windows of a cube that are looked at ..."""
_ENOUGH: Final = 100
"""... or more, until so many spectra are found."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeasuredSpectra:
    """Spectra as a file holds them."""

    path: Path
    """The table, or the cube's data."""
    nm: FloatArray
    """(W,) wavelengths, increasing."""
    reflectance: FloatArray
    """(n, W), NaN where a table has a gap; not checked."""
    warnings: tuple[str, ...]
    """What to be wary of."""


def open_spectra(path: Path, *, scale: str | None = None) -> MeasuredSpectra:
    """The rows of a table, or up to 4000 pixels of a cube.

    Args:
        path: a table (.csv; see `fieldtable.read_spectra`), else anything `open_cube` reads, also
            an ENVI header.
        scale: reflectance = stored number x scale; a table's numbers are reflectance without it.

    Raises:
        UsageError: the scale makes no sense.
        InputRefused: there is no such file, or it cannot be read.
    """
    if path.suffix.lower() == ".csv":
        nm, found = read_spectra(path, scale=1.0 if scale is None else parse_scale(scale))
        return MeasuredSpectra(path=path, nm=nm, reflectance=found, warnings=())
    cube = open_cube(data_file(path), scale=scale)
    warnings = cube.warnings
    if cube.model:
        warnings += (f"{path.name} was made by uavssr ({cube.model}): it tells nothing new",)
    return MeasuredSpectra(
        path=cube.path, nm=cube.grid.centres, reflectance=sample_pixels(cube), warnings=warnings
    )


def sample_pixels(cube: CubeSource, *, most: int = MOST_SPECTRA, seed: int = 0) -> FloatArray:
    """Reflectance (n, C) of up to `most` random valid pixels, from windows all over a cube."""
    rng = np.random.default_rng(seed)
    tiles = TileGrid(height=cube.height, width=cube.width, tile=READ_TILE)
    cores = [tiles[index].core for index in rng.permutation(len(tiles)).tolist()]
    area = sum(core.height * core.width for core in cores[:_PLACES])
    found: list[FloatArray] = []
    for number, core in enumerate(cores):
        if number >= _PLACES and sum(map(len, found)) >= _ENOUGH:
            break
        part, valid = cube.read(core)
        pixels = part[:, valid].T
        share = -(-most * core.height * core.width // area)
        found.append(np.asarray(pixels[rng.permutation(len(pixels))[:share]], float))
    spectra = np.concatenate(found)
    if not len(spectra):
        raise InputRefused("no valid pixel", path=cube.path)
    return spectra[rng.permutation(len(spectra))[:most]]
