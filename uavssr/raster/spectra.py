"""Spectra to learn from, out of a table or a cube, wherever they were measured.

Must not know what is learned of them, or resample.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from uavssr.bands import FloatArray
from uavssr.errors import InputRefused
from uavssr.raster.cube import TILE, CubeSource, open_cube
from uavssr.raster.fieldtable import read_spectra
from uavssr.raster.grid import TileGrid
from uavssr.raster.scale import parse_scale

MOST_SPECTRA: Final = 4000
"""Of one cube: more say nothing new."""
_PLACES: Final = 64
"""Windows of a cube over which they are spread, where so many hold valid pixels."""
_TABLES: Final = (".csv", ".txt")


def open_spectra(path: Path, *, scale: str | None = None) -> tuple[FloatArray, FloatArray]:
    """Wavelengths (W,) in nm and reflectance (n, W) of a table's rows or of pixels of a cube.

    Args:
        path: a table (.csv, .txt; see `fieldtable.read_spectra`), else anything `open_cube` reads.
        scale: reflectance = stored number x scale; a table's numbers are reflectance without it.

    Raises:
        UsageError: the scale makes no sense.
        InputRefused: neither can be read there.
    """
    if path.suffix.lower() in _TABLES:
        return read_spectra(path, scale=1.0 if scale is None else parse_scale(scale))
    cube = open_cube(path, scale=scale)
    return cube.grid.centres, drawn(cube)


def drawn(cube: CubeSource, *, most: int = MOST_SPECTRA, seed: int = 0) -> FloatArray:
    """Reflectance (n, C) of up to `most` random valid pixels, spread over a cube."""
    rng = np.random.default_rng(seed)
    tiles = TileGrid(height=cube.height, width=cube.width, tile=TILE)
    share = -(-most // min(len(tiles), _PLACES))
    found: list[FloatArray] = []
    for index in rng.permutation(len(tiles)).tolist():
        part, valid = cube.read(tiles[index].core)
        pixels = part[:, valid].T
        chosen = rng.permutation(len(pixels))[:share]
        found.append(np.asarray(pixels[chosen], float))
        if sum(map(len, found)) >= most:
            break
    spectra = np.concatenate(found)[:most]
    if not len(spectra):
        raise InputRefused("no valid pixel", path=cube.path)
    return spectra
