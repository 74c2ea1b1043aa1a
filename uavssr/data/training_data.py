"""All that a run trains and validates on: libraries, cubes and pairs, drawn by their weights.

Every draw follows from its seeds alone. Must not know of losses, networks or optimisers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uavssr.data.batches import MARGIN, Batch, draw_batch, seen_by_cameras
from uavssr.data.manifest import Manifest, ManifestRefused, Row, digest
from uavssr.data.pair_sources import DataConfig
from uavssr.data.patches import PatchSet, prepare_patches
from uavssr.data.scenes import simulate_batch
from uavssr.data.splits import TRAIN, VALIDATE, Ground, How, split_ground
from uavssr.errors import InputRefused
from uavssr.model import ResponseFamily
from uavssr.sensors import Float32Array, FloatArray, IndexArray, Sensor, WavelengthGrid
from uavssr.spectra import SpectralLibrary, concatenate, load_library
from uavssr.tiling import Progress

_PRIOR_SIDE = 16  # of the simulated scenes whose spectra the basis is fitted to


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Field:
    """The patches of one row, by what they are for."""

    patches: PatchSet
    """All of them."""
    train: IndexArray
    """Those to train on."""
    validate: IndexArray
    """Those to validate on."""

    @property
    def row(self) -> Row:
        """What the manifest says."""
        return self.patches.row

    @property
    def camera(self) -> Sensor:
        """The camera of a pair.

        Raises:
            ValueError: the row names none, as a cube's may.
        """
        if self.patches.sensor is None:
            raise ValueError(f"line {self.row.line} has no camera")
        return self.patches.sensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingData:
    """What a run learns from, on one wavelength grid."""

    grid: WavelengthGrid
    """Of the cubes that the model makes."""
    library: SpectralLibrary | None = None
    """All spectra of the libraries."""
    library_weight: float = 1.0
    """How often scenes are simulated from it, relative to the fields' weights."""
    fields: tuple[Field, ...] = ()
    """Cubes and pairs."""
    how: How = "none"
    """How validation was set apart."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The data as plain values, for the card."""
    digest: str = ""
    """Changes with any file, row or choice that changes what is drawn."""

    @classmethod
    def of(cls, library: SpectralLibrary, *, path: Path | None = None) -> TrainingData:
        """Data that are a library, of a file where there is one, and nothing else."""
        said = _library_facts(library, path)
        return cls(
            grid=library.grid,
            library=library,
            facts={"rows": [said], "validation": "none", "grid": library.grid.name},
            digest=sha256(library.spectra.tobytes()).hexdigest(),
        )

    @property
    def pairs(self) -> tuple[Field, ...]:
        """The fields with an image and something to train on."""
        return tuple(f for f in self.fields if f.patches.real and f.train.size)

    def draw(self, *, seed: int, step: int, shard: int, count: int, size: int) -> Batch:
        """The data of one shard of a step: simulated, of cubes seen by random cameras, or real.

        A pair is drawn as often for its image as for its cube seen by random cameras: nothing else
        teaches what another camera would see, or how sure an STF can be.
        """
        rng = np.random.default_rng([seed, step, shard, 9])
        kinds: list[Field | None] = [None, *self.pairs]
        weights = [self._simulated_weight(), *(f.row.weight / 2 for f in self.pairs)]
        drawn = kinds[_pick(rng, weights)]
        if drawn is not None:
            return _real(rng, drawn, self.grid, count)
        if self.library is not None and self._share_of_library() == 1:
            return draw_batch(
                self.library, seed=seed, step=step, shard=shard, count=count, size=size
            )
        return seen_by_cameras(rng, self.scenes(rng, count, size + 2 * MARGIN), self.grid)

    def scenes(self, rng: np.random.Generator, count: int, side: int) -> Float32Array:
        """Scenes (count, C, side, side) to train on, simulated or cut from cubes.

        Args:
            rng: of everything random.
            count: how many.
            side: in pixels; at most that of the patches where there are cubes.
        """
        if self.library is not None and self._share_of_library() == 1:
            return simulate_batch(self.library, rng, count, side)
        found = np.empty((count, len(self.grid), side, side), np.float32)
        simulated = rng.random(count) < self._share_of_library()
        if self.library is not None and simulated.any():
            found[simulated] = simulate_batch(self.library, rng, int(simulated.sum()), side)
        fields = [f for f in self.fields if f.train.size]
        for i in np.flatnonzero(~simulated):
            chosen = fields[_pick(rng, [_cube_weight(f) for f in fields])]
            patch = chosen.patches.cubes(rng.choice(chosen.train, 1))[0]
            top, left = rng.integers(0, patch.shape[1] - side + 1, 2)
            found[i] = _turned(patch[:, top : top + side, left : left + side], _turn(rng))
        return found

    def spectra(self, rng: np.random.Generator, scenes: int) -> FloatArray:
        """Spectra (n, C) of the pixels of so many small scenes to train on."""
        drawn = self.scenes(rng, scenes, self.side_up_to(_PRIOR_SIDE))
        return drawn.transpose(0, 2, 3, 1).reshape(-1, len(self.grid)).astype(np.float64)

    def side_up_to(self, side: int) -> int:
        """The largest side of a scene that every patch can give, and at most `side`."""
        return min([side, *(f.patches.side for f in self.fields)])

    def _share_of_library(self) -> float:
        """Of the scenes that are seen by random cameras."""
        if self.library is None:
            return 0.0
        return self.library_weight / self._simulated_weight()

    def _simulated_weight(self) -> float:
        own = self.library_weight if self.library is not None else 0.0
        return own + sum(_cube_weight(f) for f in self.fields if f.train.size)


def load_data(
    out: Path,
    manifest: Manifest,
    config: DataConfig,
    *,
    size: int,
    seed: int,
    grid: WavelengthGrid | None = None,
    progress: Progress | None = None,
) -> TrainingData:
    """Everything that a manifest names, checked, cut into patches and split.

    Args:
        out: folder of the run, which keeps the patches.
        manifest: the rows.
        config: limits, and how much is for validation.
        size: side of a training scene in pixels.
        seed: of the choices of patches and blocks.
        grid: wavelengths of the model to start from.
        progress: told of rows and patches.

    Raises:
        ManifestRefused: anything is wrong with any row, or validation would not be apart.
        OutputError: there is no room for the patches.
    """
    patches = prepare_patches(
        out, manifest, config, side=size + 2 * MARGIN, seed=seed, grid=grid, progress=progress
    )
    rows = [row for row in manifest.rows if row.kind == "spectra"]
    libraries = [load_library(row.hsi, patches.grid) for row in rows]
    grounds = [_ground(each) for each in patches.sets]
    splits = split_ground(grounds, share=config.share, guard=config.guard, seed=seed)
    if splits.problems:
        raise ManifestRefused(manifest.path, splits.problems)
    fields = tuple(
        Field(
            patches=each,
            train=np.flatnonzero(share == TRAIN),
            validate=np.flatnonzero(share == VALIDATE),
        )
        for each, share in zip(patches.sets, splits.shares, strict=True)
    )
    if not libraries and not any(f.train.size for f in fields):
        raise InputRefused(
            "nothing is left to train on",
            path=manifest.path,
            remedy="add rows, or take less for validation: data.share, data.guard",
        )
    said = [
        {**f.patches.facts, **_counts(f, len(share))}
        for f, share in zip(fields, splits.shares, strict=True)
    ]
    spectra = [
        {"line": row.line, **_library_facts(library, row.hsi)}
        for row, library in zip(rows, libraries, strict=True)
    ]
    facts = {"rows": [*said, *spectra], "validation": splits.how, "grid": patches.grid.name}
    chosen = [[f.train.tolist(), f.validate.tolist(), f.row.weight] for f in fields]
    told = json.dumps([facts, chosen, patches.grid.centres.tolist()])
    return TrainingData(
        grid=patches.grid,
        library=concatenate(libraries) if libraries else None,
        library_weight=sum(row.weight for row in rows),
        fields=fields,
        how=splits.how,
        facts=facts,
        digest=sha256(told.encode()).hexdigest(),
    )


def _ground(patches: PatchSet) -> Ground:
    row = patches.row
    return Ground(
        line=row.line,
        split=row.split,
        group=row.group,
        crs_wkt=patches.crs_wkt,
        transform=patches.transform,
        windows=patches.windows,
    )


def _counts(f: Field, total: int) -> dict[str, int]:
    train, validate = int(f.train.size), int(f.validate.size)
    return {"train": train, "validate": validate, "guard": total - train - validate}


def _library_facts(library: SpectralLibrary, path: Path | None) -> dict[str, Any]:
    return {
        "kind": "spectra",
        "files": {} if path is None else {path.name: digest(path)},
        "spectra": len(library),
        "kinds": library.counts(),
        "sources": sorted(set(library.source.tolist())),
    }


def _cube_weight(f: Field) -> float:
    """How often a field's cube is seen by random cameras."""
    return f.row.weight / 2 if f.patches.real else f.row.weight


def _pick(rng: np.random.Generator, weights: list[float]) -> int:
    chance = np.array(weights)
    return int(rng.choice(len(weights), p=chance / chance.sum()))


def _turn(rng: np.random.Generator) -> tuple[int, bool]:
    """One of the eight ways in which a square can lie."""
    return int(rng.integers(4)), bool(rng.integers(2))


def _turned(patch: Float32Array, turn: tuple[int, bool]) -> Float32Array:
    quarters, mirrored = turn
    turned = np.rot90(patch, quarters, (1, 2))
    return turned[:, :, ::-1] if mirrored else turned


def _real(rng: np.random.Generator, f: Field, grid: WavelengthGrid, count: int) -> Batch:
    """Patches of one pair: one camera saw them all, and nobody knows its truth."""
    inner = slice(MARGIN, f.patches.side - MARGIN)
    chosen = rng.choice(f.train, count)
    turns = [_turn(rng) for _ in chosen]

    def cut(patches: Float32Array) -> torch.Tensor:
        turned = [_turned(p, turn)[:, inner, inner] for p, turn in zip(patches, turns, strict=True)]
        return torch.from_numpy(np.stack(turned))

    return Batch(
        msi=cut(f.patches.images(chosen)),
        hsi=cut(f.patches.cubes(chosen)),
        family=ResponseFamily.of(f.camera, grid),
        theta=None,
        rows=None,
    )
