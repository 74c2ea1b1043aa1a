"""Square patches of the scenes of a manifest, built once per run, completely or not at all."""

from __future__ import annotations

import itertools
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np

from uavssr.data.manifest import Manifest, file_sha256
from uavssr.data.pair_sources import DataConfig, PatchSource, SceneSource, open_sources
from uavssr.data.patch_store import Patches, load_patches, write_index
from uavssr.data.plot_sources import PlotSource
from uavssr.errors import InputRefused, OutputError
from uavssr.io.manifests import ManifestProblem, ManifestRefused
from uavssr.model import SpectralBasis
from uavssr.sensors import Float32Array, WavelengthGrid
from uavssr.tiling import Progress, TileGrid, Window

_FORMAT: Final = 2
"""Version of the stored patches."""
_MAX_IMAGE_BANDS: Final = 10
"""Bands of an image that the check of the free space allows for."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchRequest:
    """Everything that determines the patches of a run."""

    manifest: Manifest
    """The rows, and the problems of the manifest's text."""
    config: DataConfig
    """The number of patches, and the limits."""
    side: int
    """Side of a patch in pixels."""
    seed: int
    """Seed of the choice of patches where there are more than are stored."""
    basis: SpectralBasis | None = None
    """Spectral basis of the initial model; None without one."""

    @property
    def grid(self) -> WavelengthGrid | None:
        """Wavelengths of the initial model; None without one."""
        return None if self.basis is None else self.basis.grid

    def key(self) -> str:
        """A digest that changes whenever the patches would."""
        rows = [row for row in self.manifest.rows if row.kind != "spectra"]
        stats = [path.stat() for row in rows for path in row.files]
        values = [
            _FORMAT,
            [repr(row) for row in rows],
            [(stat.st_size, stat.st_mtime_ns) for stat in stats],
            [self.config.patches, self.config.max_shift, self.config.grid, self.side, self.seed],
            self.config.accept,
            None if self.basis is None else self._basis_values(self.basis),
        ]
        return sha256(json.dumps(values).encode()).hexdigest()

    def _basis_values(self, basis: SpectralBasis) -> list[object]:
        """What decides on the grid, and on the completion of the plots' spectra."""
        plots = any(row.kind == "plots" for row in self.manifest.rows)
        digest = sha256(basis.components.detach().cpu().numpy().tobytes()) if plots else None
        return [basis.grid.centres.tolist(), digest and digest.hexdigest()]

    def load(self, folder: Path) -> Patches | None:
        """Open the patches in a folder; None where others lie there, or damaged ones."""
        return load_patches(folder, key=self.key(), rows=self.manifest.rows, side=self.side)


def prepare_patches(
    out: Path, request: PatchRequest, *, progress: Progress | None = None
) -> Patches:
    """Open the patches of a run in `out`/patches, or build them if they are not there.

    `progress` is called after every row and every patch.

    Raises:
        ManifestRefused: a row has a problem; the message lists all problems of all rows.
        OutputError: there is not enough free space.
    """
    folder, manifest = out / "patches", request.manifest
    if not manifest.problems and (stored := request.load(folder)) is not None:
        return stored
    grid, scenes = open_sources(
        manifest, request.config, grid=request.grid, basis=request.basis, progress=progress
    )
    out.mkdir(parents=True, exist_ok=True)
    if scenes:
        _check_free_space(out, len(grid), request)
    with _replaced(folder) as part:
        _build(part, grid, scenes, request, progress)
    built = request.load(folder)
    if built is None:
        raise InputRefused("files changed while they were read", path=manifest.path)
    return built


def _check_free_space(out: Path, bands: int, request: PatchRequest) -> None:
    needed = request.config.patches * (bands + _MAX_IMAGE_BANDS) * request.side**2 * 2
    free = shutil.disk_usage(out).free
    if needed > free:
        raise OutputError(
            f"patches need up to {needed / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free",
            path=out,
            remedy="free some space, or store fewer with --set data.patches=500",
        )


@contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """Yield a new folder that replaces `folder` after the body; an error leaves neither."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir()
        yield part
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    except OSError as err:
        raise OutputError(
            f"the patches could not be written ({err.strerror})",
            path=folder,
            remedy="free some space, or store fewer with --set data.patches=500",
        ) from err
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _build(
    part: Path,
    grid: WavelengthGrid,
    scenes: Sequence[PatchSource],
    request: PatchRequest,
    progress: Progress | None,
) -> None:
    """Write the patches of every scene, then the index."""
    stored = []
    quota = max(request.config.patches // max(len(scenes), 1), 1)
    for number, scene in enumerate(scenes):
        valid_patches = _valid_patches(scene, grid, request)
        windows = []
        for window in _write(part / str(number), itertools.islice(valid_patches, quota)):
            windows.append(window)
            if progress is not None:
                task = f"reading patches, line {scene.row.line}"
                progress(task, 1, request.config.patches)
        stored.append((scene, windows, _facts(scene, windows, request.manifest.path.parent)))
    text = (
        f"no square of {request.side} x {request.side} pixels is valid in all bands; check nodata "
        "and footprints, or make patches smaller: --set training.size=16"
    )
    problems = [
        ManifestProblem(scene.row.line, text) for scene, windows, _ in stored if not windows
    ]
    if problems:
        raise ManifestRefused(request.manifest.path, problems)
    write_index(part, key=request.key(), grid=grid, scenes=stored)


def _write(
    stem: Path, patches: Iterable[tuple[Window, Float32Array | None, Float32Array]]
) -> Iterator[Window]:
    """Write the image, if any, and the cube of each patch, and yield its window."""
    with (
        stem.with_suffix(".hsi").open("wb") as cubes,
        stem.with_suffix(".msi").open("wb") as images,
    ):
        for window, msi, hsi in patches:
            cubes.write(hsi.astype(np.float16).tobytes())
            if msi is not None:
                images.write(msi.astype(np.float16).tobytes())
            yield window


def _valid_patches(
    scene: PatchSource, grid: WavelengthGrid, request: PatchRequest
) -> Iterator[tuple[Window, Float32Array | None, Float32Array]]:
    """Draw mosaics of plots; of scenes read adjacent patches that are wholly valid, at random."""
    if isinstance(scene, PlotSource):
        yield from scene.mosaics(grid, request.basis, side=request.side, seed=request.seed)
        return
    tiles = TileGrid(height=scene.place.height, width=scene.place.width, tile=request.side)
    cores = [tile.core for tile in tiles]
    whole = [core for core in cores if core.height == core.width == request.side]
    rng = np.random.default_rng([request.seed, scene.row.line, 31])
    for i in rng.permutation(len(whole)):
        msi, hsi, valid = scene.read(whole[i], grid)
        if valid.all():
            yield whole[i], msi, hsi


def _facts(scene: PatchSource, windows: Sequence[Window], folder: Path) -> dict[str, Any]:
    """Files, sizes, registration and warnings of a row, for the model card."""
    row = scene.row
    facts: dict[str, Any] = {
        "line": row.line,
        "kind": row.kind,
        "files": {os.path.relpath(path, folder): file_sha256(path) for path in row.files},
        "patches": len(windows),
    }
    if isinstance(scene, PlotSource):
        facts |= scene.facts()
    else:
        facts["pixels"] = [scene.place.height, scene.place.width]
    if isinstance(scene, SceneSource) and scene.registration is not None:
        facts["registration"] = scene.registration.facts()
        _log.info("line %s: registered: %s", row.line, facts["registration"])
    if warnings := scene.warnings():
        facts["warnings"] = warnings
    return facts
