"""Square patches of the scenes of a manifest, kept on disk so that a training step can read any.

They are built once per run, whole or not at all. Must not say what a patch is for, or draw any.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from uavssr.data.manifest import Manifest, ManifestRefused, Problem, Row, digest
from uavssr.data.pair_sources import DataConfig, Scene, Sources, open_sources
from uavssr.errors import InputRefused, OutputError
from uavssr.io.raster import Transform
from uavssr.sensors import Band, Float32Array, IndexArray, Sensor, WavelengthGrid
from uavssr.tiling import Progress, TileGrid, Window

Array16 = npt.NDArray[np.float16]

FOLDER: Final = "patches"
_INDEX: Final = "index.json"
_FORMAT: Final = 1

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatchSet:
    """The patches of one row, n squares of the same side."""

    row: Row
    """What the manifest says of them."""
    sensor: Sensor | None
    """The camera of the image, or that which the row names."""
    crs_wkt: str
    """Of the pixels."""
    transform: Transform
    """From (column, row) to coordinates."""
    windows: tuple[Window, ...]
    """Where each patch lies."""
    facts: Mapping[str, Any]
    """How the row was understood, as plain values for the card."""
    _hsi: Array16
    _msi: Array16 | None

    @property
    def side(self) -> int:
        """Of a patch in pixels."""
        return int(self._hsi.shape[-1])

    @property
    def real(self) -> bool:
        """Whether there is an image too: the row is a pair."""
        return self._msi is not None

    def cubes(self, chosen: IndexArray) -> Float32Array:
        """Reflectance (k, C, side, side) of the chosen patches, read from disk.

        It is kept in half precision, 0.05 % of a value: well below the noise of any camera.
        """
        return self._hsi[chosen].astype(np.float32)

    def images(self, chosen: IndexArray) -> Float32Array:
        """The image (k, c, side, side) of the chosen patches of a pair.

        Raises:
            ValueError: there is none.
        """
        if self._msi is None:
            raise ValueError(f"line {self.row.line} has no image")
        return self._msi[chosen].astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patches:
    """The patches of a manifest on one wavelength grid."""

    grid: WavelengthGrid
    """Their bands."""
    sets: tuple[PatchSet, ...]
    """Of every row with pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """Everything that the patches depend on."""

    manifest: Manifest
    config: DataConfig
    grid: WavelengthGrid | None
    side: int
    seed: int

    def key(self) -> str:
        """A digest that is another one as soon as the patches would be."""
        rows = [row for row in self.manifest.rows if row.kind != "spectra"]
        stats = [path.stat() for row in rows for path in row.files]
        said = [
            _FORMAT,
            [repr(row) for row in rows],
            [(stat.st_size, stat.st_mtime_ns) for stat in stats],
            [self.config.patches, self.config.max_shift, self.config.grid, self.side, self.seed],
            None if self.grid is None else self.grid.centres.tolist(),
        ]
        return sha256(json.dumps(said).encode()).hexdigest()


def prepare_patches(
    out: Path,
    manifest: Manifest,
    config: DataConfig,
    *,
    side: int,
    seed: int,
    grid: WavelengthGrid | None = None,
    progress: Progress | None = None,
) -> Patches:
    """The patches of a manifest in `out`/patches: those of an earlier run, or built now.

    Args:
        out: folder of the run.
        manifest: its rows, and the problems of its text.
        config: how many patches, and what is refused.
        side: of a patch in pixels.
        seed: of which patches are taken where there are more than are kept.
        grid: wavelengths of the model to start from.
        progress: told of rows opened and patches read.

    Raises:
        ManifestRefused: anything is wrong with any row; all of it is in the message.
        OutputError: there is no room.
    """
    request = _Request(manifest=manifest, config=config, grid=grid, side=side, seed=seed)
    folder = out / FOLDER
    if not manifest.problems:
        found = _load(folder, request)
        if found is not None:
            return found
    sources = open_sources(manifest, config, grid=grid, progress=progress)
    if sources.problems:
        raise ManifestRefused(manifest.path, sources.problems)
    out.mkdir(parents=True, exist_ok=True)
    _check_room(out, sources, request)
    part = out / f".{FOLDER}.part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir()
        _build(part, sources, request, progress)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    except OSError as err:
        raise OutputError(
            f"the patches could not be written ({err.strerror})",
            path=folder,
            remedy="free some space, or keep fewer with --set data.patches=500",
        ) from err
    finally:
        shutil.rmtree(part, ignore_errors=True)
    built = _load(folder, request)
    if built is None:
        raise InputRefused("files changed while they were read", path=manifest.path)
    return built


def _check_room(out: Path, sources: Sources, request: _Request) -> None:
    bands = len(sources.grid) + 10
    needed = request.config.patches * bands * request.side**2 * 2 if sources.scenes else 0
    free = shutil.disk_usage(out).free
    if needed > free:
        raise OutputError(
            f"patches need up to {needed / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free",
            path=out,
            remedy="free some space, or keep fewer with --set data.patches=500",
        )


def _build(part: Path, sources: Sources, request: _Request, progress: Progress | None) -> None:
    """Write the patches of every scene, and then the index, which makes them valid.

    Raises:
        ManifestRefused: a row has no patch that is valid in all pixels.
    """
    entries, problems = [], []

    def told(row: Row) -> None:
        if progress is not None:
            progress(f"reading patches, line {row.line}", 1, request.config.patches)

    for number, scene in enumerate(sources.scenes):
        places = _places(scene, request)
        quota = min(max(request.config.patches // len(sources.scenes), 1), len(places))
        windows = _write(part, number, scene, sources.grid, places, quota, told)
        if not windows:
            side = request.side
            text = (
                f"no square of {side} x {side} pixels is valid in every band of all its pixels; "
                "check nodata and footprints, or make patches smaller: --set training.size=16"
            )
            problems.append(Problem(scene.row.line, text))
        entries.append(_entry(scene, windows, request.manifest.path.parent))
    if problems:
        raise ManifestRefused(request.manifest.path, problems)
    grid = sources.grid
    index = {
        "key": request.key(),
        "side": request.side,
        "grid": [grid.name, grid.centres.tolist(), grid.fwhm.tolist()],
        "sets": entries,
    }
    (part / _INDEX).write_text(json.dumps(index), encoding="utf-8")


def _places(scene: Scene, request: _Request) -> list[Window]:
    """Where patches may lie, side by side, in the order in which they are tried."""
    side = request.side
    tiles = TileGrid(height=scene.place.height, width=scene.place.width, tile=side)
    whole = [t.core for t in tiles if t.core.height == side and t.core.width == side]
    rng = np.random.default_rng([request.seed, scene.row.line, 31])
    return [whole[i] for i in rng.permutation(len(whole))]


def _write(
    part: Path,
    number: int,
    scene: Scene,
    grid: WavelengthGrid,
    places: Sequence[Window],
    quota: int,
    told: Callable[[Row], None],
) -> list[Window]:
    """Write the first `quota` patches that are valid in every pixel; returns where they lie."""
    kept: list[Window] = []
    with (
        (part / f"{number}.hsi").open("wb") as cubes,
        (part / f"{number}.msi").open("wb") as images,
    ):
        for place in places:
            if len(kept) == quota:
                break
            msi, hsi, valid = scene.read(place, grid)
            if not valid.all():
                continue
            cubes.write(hsi.astype(np.float16).tobytes())
            if msi is not None:
                images.write(msi.astype(np.float16).tobytes())
            kept.append(place)
            told(scene.row)
    return kept


def _entry(scene: Scene, windows: Sequence[Window], folder: Path) -> dict[str, Any]:
    """What the index says of a row."""
    row, place, sensor = scene.row, scene.place, scene.sensor
    facts: dict[str, Any] = {
        "line": row.line,
        "kind": row.kind,
        "files": {os.path.relpath(path, folder): digest(path) for path in row.files},
        "pixels": [place.height, place.width],
        "patches": len(windows),
    }
    if scene.registration is not None:
        facts["registration"] = scene.registration.facts()
        _log.info("line %s: registered: %s", row.line, facts["registration"])
    if warned := scene.warnings():
        facts["warnings"] = warned
    return {
        "crs": place.crs_wkt,
        "transform": place.transform,
        "windows": [[window.row, window.col] for window in windows],
        "sensor": None if sensor is None else asdict(sensor),
        "facts": facts,
    }


def _load(folder: Path, request: _Request) -> Patches | None:
    """The patches in a folder, None where they are not those asked for, or not whole."""
    try:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        if index["key"] != request.key():
            return None
        name, centres, fwhm = index["grid"]
        grid = WavelengthGrid(name, np.array(centres), np.array(fwhm))
        rows = {row.line: row for row in request.manifest.rows}
        sets = [
            _patch_set(folder, number, entry, rows[entry["facts"]["line"]], grid, request.side)
            for number, entry in enumerate(index["sets"])
        ]
    except (OSError, ValueError, KeyError):
        return None  # of a killed run or damaged: they are built anew
    return Patches(grid=grid, sets=tuple(sets))


def _patch_set(
    folder: Path, number: int, entry: dict[str, Any], row: Row, grid: WavelengthGrid, side: int
) -> PatchSet:
    count, sensor = len(entry["windows"]), _sensor(entry["sensor"])

    def stored(name: str, bands: int) -> Array16:
        path, shape = folder / f"{number}.{name}", (count, bands, side, side)
        if path.stat().st_size != 2 * math.prod(shape):
            raise ValueError(f"{path} is not whole")
        return np.memmap(path, np.float16, "r", shape=shape)

    return PatchSet(
        row=row,
        sensor=sensor,
        crs_wkt=entry["crs"],
        transform=tuple(entry["transform"]),
        windows=tuple(Window(top, left, side, side) for top, left in entry["windows"]),
        _hsi=stored("hsi", len(grid)),
        _msi=stored("msi", len(sensor)) if row.msi and sensor is not None else None,
        facts=entry["facts"],
    )


def _sensor(said: dict[str, Any] | None) -> Sensor | None:
    if said is None:
        return None
    bands = [
        Band(**{**band, "curve": band["curve"] and tuple(map(tuple, band["curve"]))})
        for band in said["bands"]
    ]
    return Sensor(**{**said, "bands": tuple(bands)})
