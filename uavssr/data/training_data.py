"""Training and validation data of a run: libraries, cubes and pairs, drawn by their weights.

All random draws follow from their seeds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from uavssr.data.batches import Batch, observe_batch
from uavssr.data.manifest import Manifest, file_sha256
from uavssr.data.manifest_row import ManifestRow
from uavssr.data.pair_sources import DataConfig
from uavssr.data.patch_store import PatchSet
from uavssr.data.patches import PatchRequest, prepare_patches
from uavssr.data.random_cameras import MAX_BAND_SHIFT
from uavssr.data.scenes import simulate_batch
from uavssr.data.splits import TRAIN, VALIDATE, SplitMethod, split_patches
from uavssr.errors import InputRefused
from uavssr.io.manifests import ManifestRefused
from uavssr.model import ResponseFamily, SpectralBasis
from uavssr.sensors import Float32Array, FloatArray, IndexArray, WavelengthGrid
from uavssr.spectra import SpectralLibrary, concatenate, load_library
from uavssr.tiling import Progress

_BASIS_SCENE_SIDE: Final = 16
"""Side in pixels of the scenes whose spectra the spectral basis is fitted to."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SceneSplit:
    """Patches of one row, divided into training and validation."""

    patches: PatchSet
    """All patches of the row."""
    train: IndexArray
    """Indices of the training patches."""
    validate: IndexArray
    """Indices of the validation patches."""

    @property
    def row(self) -> ManifestRow:
        """The row of the manifest."""
        return self.patches.row

    @property
    def cube_weight(self) -> float:
        """How often random cameras observe the cube; half the weight where there is an image."""
        return self.row.weight / 2 if self.patches.has_image else self.row.weight

    def facts(self) -> dict[str, Any]:
        """The row's facts, and the numbers of training, validation and guard patches."""
        train, validate = int(self.train.size), int(self.validate.size)
        guard = len(self.patches.windows) - train - validate
        return {**self.patches.facts, "train": train, "validate": validate, "guard": guard}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingData:
    """The data of a run on one wavelength grid."""

    grid: WavelengthGrid
    """Wavelengths of the model, C bands."""
    library: SpectralLibrary | None = None
    """Spectra of all libraries."""
    library_weight: float = 1.0
    """How often scenes are simulated from the library, relative to the rows' weights."""
    splits: tuple[SceneSplit, ...] = ()
    """Cubes and pairs."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The data as plain values, for the model card."""
    digest: str = ""
    """Changes with every file, row or option that changes a draw."""

    @classmethod
    def of(cls, library: SpectralLibrary, *, path: Path | None = None) -> TrainingData:
        """Return the data of a library alone, and of the file that it was read from, if any."""
        rows = [_library_facts(library, path)]
        return cls(
            grid=library.grid,
            library=library,
            facts={"rows": rows, "validation": "none", "grid": library.grid.name},
            digest=sha256(library.spectra.tobytes()).hexdigest(),
        )

    @property
    def trained(self) -> list[SceneSplit]:
        """The cubes and pairs with training patches."""
        return [split for split in self.splits if split.train.size]

    @property
    def scene_weight(self) -> float:
        """How often scenes are drawn that random cameras observe, relative to pairs' images."""
        return sum(self._scene_weights())

    @property
    def pairs(self) -> list[SceneSplit]:
        """The pairs with training patches."""
        return [split for split in self.trained if split.patches.has_image]

    def draw(self, *, seed: int, step: int, shard: int, count: int, size: int) -> Batch:
        """Draw one shard of a training step.

        It holds either real images of one pair, or simulated scenes and cubes that random cameras
        observe. A pair is drawn equally often for its image and for its cube: only random cameras
        show how other cameras respond, and how certain an STF can be.

        Args:
            seed: of the run.
            step: number of the training step.
            shard: number of the shard; several GPUs compute one shard of a step each.
            count: number of images.
            size: side of an image in pixels.
        """
        rng = np.random.default_rng([seed, step, shard])
        if self.trained:
            rng = np.random.default_rng([seed, step, shard, 9])
            pairs = self.pairs
            weights = [self.scene_weight, *(pair.row.weight / 2 for pair in pairs)]
            chosen = _draw_index(rng, weights)
            if chosen > 0:
                return draw_real_batch(rng, pairs[chosen - 1], self.grid, count)
        scenes = self.draw_scenes(rng, count, size + 2 * MAX_BAND_SHIFT)
        return observe_batch(rng, scenes, self.grid)

    def draw_scenes(self, rng: np.random.Generator, count: int, side: int) -> Float32Array:
        """Draw training scenes (count, C, side, side), simulated or cut from cubes.

        `side` is at most that of the patches where there are cubes.
        """
        trained = self.trained
        if self.library is not None and not trained:
            return simulate_batch(self.library, rng, count, side)
        weights = self._scene_weights()
        scenes = np.empty((count, len(self.grid), side, side), np.float32)
        simulated = rng.random(count) < weights[0] / sum(weights)
        if self.library is not None and simulated.any():
            scenes[simulated] = simulate_batch(self.library, rng, int(simulated.sum()), side)
        for i in np.flatnonzero(~simulated):
            split = trained[_draw_index(rng, weights[1:])]
            patch = split.patches.cubes(rng.choice(split.train, 1))[0]
            top, left = rng.integers(0, patch.shape[1] - side + 1, 2)
            cut = patch[:, top : top + side, left : left + side]
            scenes[i] = _reoriented(cut, _draw_orientation(rng))
        return scenes

    def _scene_weights(self) -> list[float]:
        """Weights of the library, and of the cube of each row with training patches."""
        own = 0.0 if self.library is None else self.library_weight
        return [own, *(split.cube_weight for split in self.trained)]

    def draw_spectra(self, rng: np.random.Generator, scenes: int) -> FloatArray:
        """Draw the spectra (n, C) of all pixels of `scenes` small training scenes."""
        drawn = self.draw_scenes(rng, scenes, self.side_up_to(_BASIS_SCENE_SIDE))
        return drawn.transpose(0, 2, 3, 1).reshape(-1, len(self.grid)).astype(np.float64)

    def side_up_to(self, side: int) -> int:
        """Return the largest side of a scene, at most `side`, that fits into every patch."""
        return min([side, *(split.patches.side for split in self.splits)])


def load_data(
    out: Path,
    manifest: Manifest,
    config: DataConfig,
    *,
    size: int,
    seed: int,
    basis: SpectralBasis | None = None,
    progress: Progress | None = None,
) -> TrainingData:
    """Check everything that a manifest names, cut it into patches, and split these.

    Args:
        out: folder of the run, in which the patches are stored.
        manifest: the rows.
        config: limits, and the amount of validation data.
        size: side of a training scene in pixels.
        seed: of the choice of patches and blocks.
        basis: spectral basis of the initial model, which completes the spectra of plots.
        progress: called after every row and every patch.

    Raises:
        ManifestRefused: a row has a problem, or validation would not be separate from training.
        InputRefused: nothing is left to train on.
        OutputError: there is not enough free space for the patches.
    """
    side = size + 2 * MAX_BAND_SHIFT
    request = PatchRequest(manifest=manifest, config=config, side=side, seed=seed, basis=basis)
    grid, sets = prepare_patches(out, request, progress=progress)
    splits, method = _split(request, sets)
    libraries = {row: load_library(row.hsi, grid) for row in manifest.rows if row.kind == "spectra"}
    rows = [split.facts() for split in splits]
    rows += [{"line": row.line, **_library_facts(lib, row.hsi)} for row, lib in libraries.items()]
    facts = {"rows": rows, "validation": method, "grid": grid.name}
    chosen = [[s.train.tolist(), s.validate.tolist(), s.row.weight] for s in splits]
    values = json.dumps([facts, chosen, grid.centres.tolist()])
    return TrainingData(
        grid=grid,
        library=concatenate([*libraries.values()]) if libraries else None,
        library_weight=sum(row.weight for row in libraries),
        splits=splits,
        facts=facts,
        digest=sha256(values.encode()).hexdigest(),
    )


def _split(
    request: PatchRequest, sets: Sequence[PatchSet]
) -> tuple[tuple[SceneSplit, ...], SplitMethod]:
    """Divide the patches of all rows into training and validation."""
    config, manifest = request.config, request.manifest
    splits = split_patches(sets, fraction=config.share, guard=config.guard, seed=request.seed)
    if splits.problems:
        raise ManifestRefused(manifest.path, splits.problems)
    trained = any((roles == TRAIN).any() for roles in splits.roles)
    if not trained and all(row.kind != "spectra" for row in manifest.rows):
        raise InputRefused(
            "nothing is left to train on",
            path=manifest.path,
            remedy="add rows, or use less for validation: data.share, data.guard",
        )
    scenes = tuple(
        SceneSplit(
            patches=patches,
            train=np.flatnonzero(roles == TRAIN),
            validate=np.flatnonzero(roles == VALIDATE),
        )
        for patches, roles in zip(sets, splits.roles, strict=True)
    )
    return scenes, splits.method


def _library_facts(library: SpectralLibrary, path: Path | None) -> dict[str, Any]:
    return {
        "kind": "spectra",
        "files": {} if path is None else {path.name: file_sha256(path)},
        "spectra": len(library),
        "kinds": library.counts(),
        "sources": sorted(set(library.source.tolist())),
    }


def _draw_index(rng: np.random.Generator, weights: list[float]) -> int:
    probability = np.array(weights)
    return int(rng.choice(len(weights), p=probability / probability.sum()))


def _draw_orientation(rng: np.random.Generator) -> tuple[int, bool]:
    """Draw quarter turns and a reflection: one of the eight orientations of a square."""
    return int(rng.integers(4)), bool(rng.integers(2))


def _reoriented(patch: Float32Array, orientation: tuple[int, bool]) -> Float32Array:
    quarters, mirrored = orientation
    turned = np.rot90(patch, quarters, (1, 2))
    return turned[:, :, ::-1] if mirrored else turned


def draw_real_batch(
    rng: np.random.Generator, pair: SceneSplit, grid: WavelengthGrid, count: int
) -> Batch:
    """Draw patches of one pair, all of one camera, whose true response is unknown."""
    patches = pair.patches
    if patches.sensor is None:
        raise ValueError(f"line {pair.row.line} has no camera")
    inner = slice(MAX_BAND_SHIFT, -MAX_BAND_SHIFT)
    chosen = rng.choice(pair.train, count)
    orientations = [_draw_orientation(rng) for _ in chosen]

    def cut(patches: Float32Array) -> torch.Tensor:
        turned = [
            _reoriented(patch, orientation)[:, inner, inner]
            for patch, orientation in zip(patches, orientations, strict=True)
        ]
        return torch.from_numpy(np.stack(turned))

    return Batch(
        msi=cut(patches.images(chosen)),
        hsi=cut(patches.cubes(chosen)),
        family=ResponseFamily.of(patches.sensor, grid),
        theta=None,
        rows=None,
    )
