"""Stored patches of training scenes: half-precision files and an index, read by memory mapping."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from uavssr.data.manifest_row import ManifestRow
from uavssr.data.pair_sources import PatchSource
from uavssr.data.splits import PatchLayout
from uavssr.io.bounded import parse_json, read_bytes
from uavssr.sensors import Float32Array, IndexArray, Sensor, WavelengthGrid
from uavssr.tiling import Window

Float16Array = npt.NDArray[np.float16]
"""Reflectance in half precision: 0.05 % of a value, well below the noise of any camera."""

_INDEX: Final = "index.json"
_MAX_INDEX_BYTES: Final = 2**28
_SENSOR: Final = TypeAdapter(Sensor)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatchSet(PatchLayout):
    """n square patches of one row, k of which are read at a time."""

    sensor: Sensor | None
    """The camera: of the image, or named by the row of a cube."""
    facts: Mapping[str, Any]
    """Files, sizes and registration as plain values, for the model card."""
    _hsi: Float16Array
    _msi: Float16Array | None

    @property
    def side(self) -> int:
        """Side of a patch in pixels."""
        return int(self._hsi.shape[-1])

    @property
    def has_image(self) -> bool:
        """Whether the row is a pair."""
        return self._msi is not None

    def cubes(self, chosen: IndexArray) -> Float32Array:
        """Read the reflectance (k, C, side, side) of the cube in the chosen patches."""
        return self._hsi[chosen].astype(np.float32)

    def images(self, chosen: IndexArray) -> Float32Array:
        """Read the reflectance (k, c, side, side) of the image in the chosen patches.

        Raises:
            ValueError: the row has no image.
        """
        if self._msi is None:
            raise ValueError(f"line {self.row.line} has no image")
        return self._msi[chosen].astype(np.float32)


Patches = tuple[WavelengthGrid, tuple[PatchSet, ...]]
"""Wavelengths of the cubes, and a set for every row with pixels."""


def write_index(
    folder: Path,
    *,
    key: str,
    grid: WavelengthGrid,
    scenes: Iterable[tuple[PatchSource, list[Window], dict[str, Any]]],
) -> None:
    """Write windows and facts of all scenes, without which the patches are not valid."""
    entries = [
        {
            "crs": scene.place.crs_wkt,
            "transform": scene.place.transform,
            "windows": [[window.row, window.col] for window in windows],
            "sensor": None if scene.sensor is None else asdict(scene.sensor),
            "row": {"group": scene.row.group, "weight": scene.row.weight},
            "facts": facts,
        }
        for scene, windows, facts in scenes
    ]
    axes = [grid.name, grid.centres.tolist(), grid.fwhm.tolist()]
    text = json.dumps({"key": key, "grid": axes, "sets": entries})
    (folder / _INDEX).write_text(text, encoding="utf-8")


def load_patches(
    folder: Path, *, key: str, rows: Sequence[ManifestRow], side: int
) -> Patches | None:
    """The grid and the patches of a folder; None where it has another key, or is damaged."""
    by_line = {row.line: row for row in rows}
    try:
        index = parse_json(read_bytes(folder / _INDEX, _MAX_INDEX_BYTES))
        if index["key"] != key:
            return None
        name, centres, fwhm = index["grid"]
        grid = WavelengthGrid(name, np.array(centres), np.array(fwhm))
        sets = [
            _patch_set(folder / str(number), entry, by_line[entry["facts"]["line"]], grid, side)
            for number, entry in enumerate(index["sets"])
        ]
    except (OSError, ValueError, KeyError):
        return None  # left by a killed run, or damaged
    return grid, tuple(sets)


def _patch_set(
    stem: Path, entry: dict[str, Any], row: ManifestRow, grid: WavelengthGrid, side: int
) -> PatchSet:
    sensor = None if entry["sensor"] is None else _SENSOR.validate_python(entry["sensor"])

    def stored(suffix: str, bands: int) -> Float16Array:
        path, shape = stem.with_suffix(suffix), (len(entry["windows"]), bands, side, side)
        if path.stat().st_size != 2 * math.prod(shape):
            raise ValueError(f"{path} is truncated")
        return np.memmap(path, np.float16, "r", shape=shape)

    return PatchSet(
        row=replace(row, **entry["row"]),  # plots: the flight
        crs_wkt=entry["crs"],
        transform=tuple(entry["transform"]),
        windows=tuple(Window(top, left, side, side) for top, left in entry["windows"]),
        sensor=sensor,
        facts=entry["facts"],
        _hsi=stored(".hsi", len(grid)),
        _msi=stored(".msi", len(sensor)) if row.has_image and sensor is not None else None,
    )
