"""Readers of the scenes of CAVE: .npz cubes, and the original folders of PNG files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import numpy as np

from uavssr.data import read_scaled_cube
from uavssr.errors import InputRefused
from uavssr.io.bounded import is_folder
from uavssr.io.pictures import read_picture
from uavssr.sensors import Float32Array, WavelengthGrid

CAVE_GRID: Final = WavelengthGrid.regular("cave", 400.0, 700.0, 31)
"""The bands of the scenes: 31, 10 nm apart."""
_HALVED_FROM: Final = 512
"""Side in pixels of the original scenes, which are halved; the .npz ones are halved already."""
_SOURCE: Final = "https://cave.cs.columbia.edu/repository/Multispectral"


def read_cave(folder: Path, *, halved: bool) -> dict[str, Float32Array]:
    """The scenes (C, y, x) of a folder by name, 0..1: NAME.npz, or folders NAME_ms of PNG files.

    Args:
        folder: with the scenes; where a scene is there in both forms, the .npz file is read.
        halved: whether scenes of 512 pixels are averaged over 2 x 2 pixels.

    Raises:
        InputRefused: no folder, no scene in it, or a scene that is damaged.
    """
    inside = sorted(folder.iterdir()) if is_folder(folder) else []
    scenes = {path.stem: _read_npz(path) for path in inside if path.suffix == ".npz"}
    for path in inside:
        name = path.name.removesuffix("_ms")
        if is_folder(path) and name != path.name and name not in scenes:
            cube = _read_pictures(path)
            scenes[name] = _halved(cube) if halved and cube.shape[1] >= _HALVED_FROM else cube
    if not scenes:
        raise InputRefused(
            "no scene of CAVE here (NAME.npz, or folders NAME_ms of PNG files)",
            path=folder,
            remedy=f"extract the scenes of {_SOURCE} there",
        )
    return dict(sorted(scenes.items()))


def _read_npz(path: Path) -> Float32Array:
    cube, nm = read_scaled_cube(path)
    if nm.shape != CAVE_GRID.centres.shape or np.abs(nm - CAVE_GRID.centres).max() > 1:
        raise InputRefused(
            f"{nm.size} bands of {nm.min():g}-{nm.max():g} nm, not 31 of 400-700 nm",
            path=path,
            remedy="move it out of the folder",
        )
    return np.ascontiguousarray(cube.transpose(2, 0, 1))


def _read_pictures(folder: Path) -> Float32Array:
    """The bands NAME_ms_01.png to NAME_ms_31.png of NAME_ms, or of NAME_ms/NAME_ms."""
    inner = folder / folder.name
    place = inner if is_folder(inner) else folder
    numbered = re.compile(re.escape(folder.name) + r"_(\d\d)\.png")
    matches = [(numbered.fullmatch(path.name), path) for path in sorted(place.iterdir())]
    paths = {int(match[1]): path for match, path in matches if match is not None}
    if sorted(paths) != list(range(1, len(CAVE_GRID) + 1)):
        raise InputRefused(
            f"holds {len(paths)} of 31 bands {folder.name}_01.png to {folder.name}_31.png",
            path=place,
            remedy=f"extract the scene of {_SOURCE} again",
        )
    bands = [_read_band(path) for _, path in sorted(paths.items())]
    if len({band.shape for band in bands}) > 1:
        raise InputRefused("its bands differ in size", path=place, remedy="extract the scene again")
    return np.stack(bands)


def _read_band(path: Path) -> Float32Array:
    """A band (y, x) of a grey picture; "watercolors" has grey ones in colour and with alpha."""
    numbers = read_picture(path)
    colours = numbers[:3] if len(numbers) >= 3 else numbers[:1]
    if not all(np.array_equal(colours[0], other) for other in colours[1:]):
        raise InputRefused(
            "is a picture in colour, not a band of a cube",
            path=path,
            remedy="extract the scene again",
        )
    return colours[0] / np.float32(np.iinfo(numbers.dtype).max)


def _halved(cube: Float32Array) -> Float32Array:
    """Means over 2 x 2 pixels."""
    bands, height, width = cube.shape
    even = cube[:, : height // 2 * 2, : width // 2 * 2]
    return np.asarray(even.reshape(bands, height // 2, 2, width // 2, 2).mean((2, 4)), np.float32)
